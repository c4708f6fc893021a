// The demonstration, used as its page tells a person to: tokens, carriers, a
// chat between two, the countdown, the end, and renewal.

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
	let demo, browser, page, alice, bob, gate;
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
		gate = page.getByRole("region", { name: "At the gate" });
	}

	/** The rows of a user's sockets, and a row's cell. */
	const row = (user) => gate.locator(`tr[data-user="${user}"]`);
	const cell = (line, name) => line.locator(`[data-cell="${name}"]`);

	/** Has tokens be renewed when they end. */
	const renewable = (pane) => pane.root.getByLabel("When it ends").selectOption("renew");
	const renewNow = (pane) => pane.root.getByRole("button", { name: "Renew now" }).click();

	/** Resolves to the texts of a pane's list, when it has so many lines. */
	async function lines(pane, part, count) {
		const items = pane.part(part).locator("li");
		await items.nth(count - 1).waitFor();
		return items.allInnerTexts();
	}

	/** Resolves to what people have said, in order, as a pane shows it. */
	const talk = (pane) => pane.part("log").locator('[data-type="message"]')
		.evaluateAll((items) => items.map((item) => `${item.childNodes[0].textContent}: ${item.childNodes[1].textContent}`));

	const picture = (name) => page.screenshot({ path: new URL(`${name}.png`, results).pathname, fullPage: true });

	/** Looks at the page in a window as wide as a telephone. */
	async function narrow(name) {
		const before = page.viewportSize();
		await page.setViewportSize({ width: 390, height: 844 });
		await picture(name);
		const { scroll, view } = await page.evaluate(() => ({
			scroll: document.documentElement.scrollWidth, view: document.documentElement.clientWidth,
		}));
		assert.ok(scroll <= view, `the page is ${scroll} px wide in a window of ${view} px`);
		await page.setViewportSize(before);
	}

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

	test("a first message, and what is held until the renewal", async () => {
		await load();
		await alice.takeToken(15);
		await bob.takeToken(15);
		await alice.connect("first");
		await alice.state("open");
		await alice.line("the gate", '"type":"auth_ok"');
		await alice.line("the chat calls you alice");
		await renewable(bob);
		await bob.root.getByLabel("Renew by itself").check();
		await bob.connect("query");
		await bob.state("open");
		const token = await alice.root.getByLabel(/^The token;/).inputValue();
		const seen = await alice.part("seen").textContent();
		assert.match(seen, /^GET \/chat\/renew$[^]*^X-User: alice$/m);
		assert.ok(!seen.includes(token), "the chat has seen the token");
		await alice.say("before");
		await bob.line("alice", "before");

		await alice.line("the gate", '"type":"auth_required"');
		await alice.state("suspended");
		await alice.say("one");
		await bob.say("two");
		await alice.say("three");
		await bob.say("four");
		await bob.line("bob", "four");
		assert.deepEqual(await lines(alice, "outgoing", 2), ["one", "three"]);
		const incoming = await lines(alice, "incoming", 2);
		assert.match(incoming[0], /^no\. \d+\s*bob\s*two$/);
		assert.match(incoming[1], /^no\. \d+\s*bob\s*four$/);
		assert.deepEqual(await talk(alice), ["alice: before"]);
		assert.deepEqual(await talk(bob), ["alice: before", "bob: two", "bob: four"]);
		await alice.part("grace").filter({ hasText: /^0:2[0-8]$/ }).waitFor();
		await picture("5-suspended");
		await narrow("5-suspended-narrow");

		await renewNow(alice);
		await alice.state("open");
		await bob.line("alice", "three");
		await alice.line("alice", "three");
		const all = ["alice: before", "bob: two", "bob: four", "alice: one", "alice: three"];
		assert.deepEqual(await talk(alice), all);
		assert.deepEqual(await talk(bob), all);
		await alice.line("alice", "one", "s late");
		await alice.line("bob", "two", "s late");
		await alice.part("held").waitFor({ state: "hidden" });
		await picture("6-renewed");

		// His socket has been renewed meanwhile, and was never suspended.
		assert.equal(await bob.part("log").getByText("auth_expired").count(), 0);
		assert.equal(await bob.part("log").getByText("auth_ok").count(), 1);
		assert.equal(await alice.part("log").locator(".problem").count(), 0);

		// Somebody else's token renews nothing.
		await alice.root.getByLabel(/^\s*For\b/).selectOption("bob");
		await alice.root.getByRole("button", { name: "Take a token" }).click();
		await alice.countdown(/^bob's token ends/);
		tokens.push(token, await alice.root.getByLabel(/^The token;/).inputValue());
		await renewNow(alice);
		await alice.line("the gate", '"type":"auth_error","reason":"forbidden"');
		await alice.state("open");
	});

	test("a token in every message", async () => {
		await load();
		await alice.takeToken(15);
		await bob.takeToken(60);
		await alice.connect("every");
		await alice.state("open");
		await alice.line("the chat calls you alice");
		await bob.connect("every");
		await bob.line("the chat calls you bob");
		await alice.say("hello bob");
		await bob.line("alice", "hello bob");
		await alice.line("alice", "hello bob");

		// One letter of it, and the gate keeps the message to itself.
		const field = bob.root.getByLabel(/^The token;/);
		const token = await field.inputValue();
		await field.fill(spoil(token));
		await bob.say("with a spoilt token");
		await bob.line("the gate", '"type":"auth_error","reason":"invalid_token"');
		await field.fill(token);
		await bob.say("with a good token");
		await alice.line("bob", "with a good token");
		assert.deepEqual(await talk(alice), ["alice: hello bob", "bob: with a good token"]);

		tokens.push(token, await alice.root.getByLabel(/^The token;/).inputValue());
		await alice.state("suspended");
		await bob.say("are you there?");
		await alice.say("with an old token");
		await alice.line("the gate", '"type":"auth_error","reason":"invalid_token"');
		assert.match((await lines(alice, "outgoing", 1))[0], /^with an old token\s*refused$/);
		assert.match((await lines(alice, "incoming", 1))[0], /bob\s*are you there\?$/);
		await picture("7-every");
		await renewNow(alice);
		await bob.line("alice", "with an old token");
		await alice.line("alice", "with an old token");
		await alice.state("open");
		assert.deepEqual((await talk(alice)).slice(2), ["bob: are you there?", "alice: with an old token"]);

		// The chat has seen nothing of it, neither before nor meanwhile.
		for (const pane of [alice, bob]) {
			const text = await pane.root.innerText();
			assert.ok(!text.includes(token.split(".")[2]), "a token has reached the chat");
		}
	});

	test("no token in time, and a bad first message", async () => {
		await load();
		await renewable(alice);
		await alice.connect("none");
		await alice.state("pending");
		await bob.takeToken(60);
		const field = bob.root.getByLabel(/^The token;/);
		await field.fill(spoil(await field.inputValue()));
		await bob.connect("first");
		assert.deepEqual(await bob.end(), { code: "3000", reason: "invalid_token", clean: "true" });
		assert.deepEqual(await alice.end(), { code: "3008", reason: "timeout", clean: "true" });
	});

	test("no token, and a changed one", async () => {
		await load();
		await alice.connect("none");
		assert.deepEqual(await alice.end(), { code: "3000", reason: "missing_credential", clean: "true" });

		await alice.takeToken(60);
		const field = alice.root.getByLabel(/^The token;/);
		await field.fill(spoil(await field.inputValue()));
		await alice.connect("bare");
		await alice.part("reason").filter({ hasText: "invalid_token" }).waitFor();
		assert.deepEqual(await alice.end(), { code: "3000", reason: "invalid_token", clean: "true" });
		await picture("4-refused");
	});

	test("who looks after the gate sees the sessions, and ends them", async () => {
		await load();
		await gate.getByText("Nobody is connected.").waitFor();
		await alice.takeToken(60);
		await bob.takeToken(60);
		await alice.connect("bearer");
		await alice.state("open");
		await bob.connect("first");
		await bob.state("open");
		const hers = row("alice");
		const his = row("bob");
		await hers.getByText("ends with its token").waitFor();
		await his.getByText("waits for a new token").waitFor();
		assert.equal(await cell(hers, "state").innerText(), "connected");
		assert.match(await cell(hers, "until").innerText(), /\d:\d\d:\d\d/);
		assert.equal(await cell(hers, "in").innerText(), "0 B");
		await alice.say("hello bob");
		await bob.line("alice", "hello bob");
		await cell(hers, "in").filter({ hasText: /^[1-9]\d+ B$/ }).waitFor();
		await picture("9-sessions");
		await narrow("9-sessions-narrow");

		// One socket, of which the other pane knows nothing.
		await his.getByRole("button", { name: "End" }).click();
		assert.deepEqual(await bob.end(), { code: "3003", reason: "closed_by_admin", clean: "true" });
		await gate.getByText("has been ended").waitFor();
		await his.waitFor({ state: "detached" });
		await alice.line("bob has left");
		await alice.state("open");
		assert.equal(await gate.locator('[data-part="total"]').innerText(), "1");

		// Its token is good for another one.
		await bob.connect("first");
		await bob.state("open");
		await his.waitFor();
	});

	test("logged out everywhere", async () => {
		await load();
		await alice.takeToken(60);
		await bob.takeToken(60);
		// Bob's half of the page is a second device of hers.
		await bob.root.getByLabel(/^\s*For\b/).selectOption("alice");
		await bob.root.getByRole("button", { name: "Take a token" }).click();
		await bob.countdown(/^alice's token ends/);
		await alice.connect("bearer");
		await bob.connect("every");
		await Promise.all([alice.state("open"), bob.state("open")]);
		await row("alice").nth(1).waitFor();

		await gate.getByRole("button", { name: "Log alice out everywhere" }).click();
		await gate.getByText("alice is logged out everywhere: 2 sessions have ended").waitFor();
		const revoked = { code: "3000", reason: "revoked", clean: "true" };
		assert.deepEqual(await Promise.all([alice.end(), bob.end()]), [revoked, revoked]);
		await gate.getByText("Nobody is connected.").waitFor();
		await picture("10-logged-out");

		// The old token is worth nothing, a new one is good.
		await alice.connect("query");
		assert.deepEqual(await alice.end(), { code: "3000", reason: "invalid_token", clean: "true" });
		// In doubt of a second, tokens were issued before the logout.
		await page.waitForFunction((second) => Date.now() / 1000 >= second, Math.floor(Date.now() / 1000) + 1);
		tokens.push(await alice.root.getByLabel(/^The token;/).inputValue());
		await alice.takeToken(120);
		await alice.connect("query");
		await alice.state("open");
	});

	test("narrow, and in the dark", async () => {
		await load();
		await page.emulateMedia({ colorScheme: "dark" });
		await narrow("8-narrow");
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

/** Changes one letter in the middle of the signature. */
function spoil(token) {
	const middle = token.lastIndexOf(".") + 10;
	const changed = token[middle] === "A" ? "B" : "A";
	return token.slice(0, middle) + changed + token.slice(middle + 1);
}
