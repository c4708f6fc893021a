// The demonstration, used as its page tells a person to: tokens, carriers, a
// chat between two, the countdown, the end.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, afterEach, before, describe, test } from "node:test";

import { launchBrowser } from "../lib/browser.js";
import { startDemo } from "../lib/caddy.js";
import { freePorts } from "../lib/listen.js";
import { Pane } from "../lib/pane.js";

const expired = { code: "3000", reason: "token expired", clean: "true" };

// Pictures for a person to look at.
const results = new URL("../results/", import.meta.url);

describe("demonstration", () => {
	let demo, browser, page, alice, bob;
	const problems = []; // what the browser's console complains of
	const tokens = [];

	before(async () => {
		await mkdir(results, { recursive: true });
		const [port] = await freePorts(1);
		demo = await startDemo(port);
		browser = await launchBrowser();
		page = await browser.newPage({ viewport: { width: 1280, height: 1100 } });
		page.on("console", (message) => {
			if (message.type() === "error" || message.type() === "warning") {
				problems.push(message.text());
			}
		});
		page.on("pageerror", (error) => problems.push(error.message));
		page.setDefaultTimeout(30_000);
	});

	afterEach(async () => {
		for (const pane of [alice, bob]) {
			tokens.push(await pane.root.getByLabel(/^The token;/).inputValue());
		}
	});

	after(async () => {
		await browser?.close();
		await demo?.caddy.stop();
	});

	/** Loads the page afresh; it forgets everything. */
	async function load() {
		await page.goto(demo.url);
		[alice, bob] = ["alice", "bob"].map((user) => new Pane(page, user));
	}

	const picture = (name) => page.screenshot({ path: new URL(`${name}.png`, results).pathname, fullPage: true });

	test("alice and bob chat until her token ends", async () => {
		await load();
		await picture("1-start");
		await alice.takeToken(15);
		await bob.takeToken(30);
		await alice.connect("bearer");
		await bob.connect("query");
		await Promise.all([alice.state("open"), bob.state("open")]);
		await alice.line("the chat calls you alice");
		await bob.line("the chat calls you bob");

		await alice.say("hello bob");
		await bob.line("alice", "hello bob");
		await bob.say("hello alice");
		await alice.line("bob", "hello alice");
		await picture("2-chat");
		await alice.countdown(/^alice's token ends in 0:0\d$/);

		assert.deepEqual(await alice.end(), expired);
		await alice.state("ended");
		await alice.countdown("alice's token has ended");
		await bob.line("alice has left; the chat saw close code 1001");
		await bob.state("open");
		await picture("3-end");

		// An old token does not open it again, a fresh one does.
		await alice.connect("bearer");
		assert.deepEqual(await alice.end(), { code: "3000", reason: "invalid_token", clean: "true" });
		await alice.takeToken(60);
		await alice.connect("bearer");
		await alice.state("open");
		await alice.root.getByRole("button", { name: "Disconnect" }).click();
		assert.equal((await alice.end()).code, "1000");
	});

	test("every carrier", async () => {
		await load();
		for (const carrier of ["bearer", "bare", "query", "cookie"]) {
			await alice.takeToken(60);
			const token = await alice.root.getByLabel(/^The token;/).inputValue();
			await alice.connect(carrier);
			await alice.state("open");
			await alice.say(`hello by ${carrier}`);
			await alice.line("alice", `hello by ${carrier}`);
			const seen = await alice.part("seen").textContent();
			assert.match(seen, /^GET \/chat$[^]*^X-User: alice$/m);
			assert.ok(!seen.includes(token), "the chat has seen the token");
			tokens.push(token);
			await alice.root.getByRole("button", { name: "Disconnect" }).click();
			await alice.end();
		}
	});

	test("no token, and a changed one", async () => {
		await load();
		await alice.connect("none");
		assert.deepEqual(await alice.end(), { code: "3000", reason: "missing_credential", clean: "true" });

		await alice.takeToken(60);
		const field = alice.root.getByLabel(/^The token;/);
		const token = await field.inputValue();
		const middle = token.lastIndexOf(".") + 10;
		const changed = token[middle] === "A" ? "B" : "A";
		await field.fill(token.slice(0, middle) + changed + token.slice(middle + 1));
		await alice.connect("bare");
		await alice.part("reason").filter({ hasText: "invalid_token" }).waitFor();
		assert.deepEqual(await alice.end(), { code: "3000", reason: "invalid_token", clean: "true" });
		await picture("4-refused");
	});

	test("narrow, and in the dark", async () => {
		await load();
		await page.setViewportSize({ width: 390, height: 844 });
		await page.emulateMedia({ colorScheme: "dark" });
		await picture("5-narrow");
		const { scroll, view } = await page.evaluate(() => ({
			scroll: document.documentElement.scrollWidth, view: document.documentElement.clientWidth,
		}));
		assert.ok(scroll <= view, `the page is ${scroll} px wide in a window of ${view} px`);
	});

	test("nothing in the browser's console", () => assert.deepEqual(problems, []));

	test("no token in the terminal", () => {
		const { text } = demo.caddy;
		assert.match(text, /"user_id": ?"alice"/);
		for (const token of tokens.filter(Boolean)) {
			assert.ok(!text.includes(token.split(".")[2]), "a token stands in the log");
		}
	});
});
