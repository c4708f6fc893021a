// A certified OpenID Connect provider: a person logs in with a browser, the
// socket lives by the access token, and ends when the person logs out. The
// provider changes its keys, and goes away.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { WebSocket } from "ws";

import { startBackend } from "../lib/backend.js";
import { launchBrowser } from "../lib/browser.js";
import { logFilter, startCaddy } from "../lib/caddy.js";
import { freePorts } from "../lib/listen.js";
import { audience, keyOf, startProvider } from "../lib/oidc.js";
import { openSocket } from "../lib/socket.js";

const revoked = { code: 3000, reason: "revoked", wasClean: true };

/** How soon a logout has to reach the page, in milliseconds. */
const soon = 1000;

/** How long a test waits for it, in milliseconds. */
const patience = 5000;

describe("OpenID Connect", () => {
	let browser, stack;
	before(async () => { browser = await launchBrowser(); });
	after(() => browser?.close());
	beforeEach(async () => {
		stack = null;
		stack = await startStack(browser);
	});
	afterEach(async () => {
		await stack?.close();
		stack?.assertNoTokenLogged();
	});

	test("a logout ends the sockets of that session", async () => {
		const [home, work, others] = await Promise.all([stack.person("alice"), stack.person("alice"), stack.person("bob")]);
		const alice = await home.login("bySession");
		const atWork = await work.login("bySession");
		const bob = await others.login("bySession");
		const unused = await alice.another();
		assert.notEqual(alice.claims.sid, atWork.claims.sid);
		const ending = [await home.open(alice.token), await home.open(await alice.another())];
		const staying = [await work.open(atWork.token), await others.open(bob.token)];
		for (const socket of [...ending, ...staying]) {
			assert.equal(await socket.echo("hello"), "hello");
		}
		const sessions = await stack.sessions("subject=alice");
		assert.deepEqual(sessions.map(({ sid }) => sid), [alice.claims.sid, alice.claims.sid, atWork.claims.sid]);
		for (const { issuer, state, verifier } of sessions) {
			assert.deepEqual({ issuer, state, verifier }, { issuer: stack.provider.url, state: "open", verifier: "jwt" });
		}

		await stack.logout(alice);
		await assertEnded(stack, ending);
		for (const socket of staying) {
			assert.equal(await socket.echo("still here"), "still here");
		}

		// Neither what she had nor a token that was never shown lets her in.
		await assertRefused(stack, alice.token);
		await assertRefused(stack, unused);
		assert.equal(await stack.handshake(atWork.token), 101);
		const again = await home.login("bySession");
		assert.equal(await (await home.open(again.token)).echo("back"), "back");
		await stack.assertLogged({ by: "sid", ended: 2 });
	});

	test("a logout without a session ends all of the person's sockets", async () => {
		const [home, work, others] = await Promise.all([stack.person("alice"), stack.person("alice"), stack.person("bob")]);
		const alice = await home.login("byUser");
		const atWork = await work.login("byUser");
		const bob = await others.login("byUser");
		assert.equal(alice.claims.sid, undefined);
		const ending = [await home.open(alice.token), await work.open(atWork.token)];
		const staying = await others.open(bob.token);

		await stack.logout(alice);
		const at = Date.now();
		await assertEnded(stack, ending);
		assert.equal(await staying.echo("still here"), "still here");
		await assertRefused(stack, alice.token);
		await assertRefused(stack, atWork.token);
		await stack.assertLogged({ by: "subject", ended: 2 });

		// Tokens tell when they were issued in whole seconds.
		await pause(1000 - at % 1000);
		const again = await home.login("byUser");
		assert.equal(await (await home.open(again.token)).echo("back"), "back");
	});

	test("a logout from another client ends nothing", async () => {
		const home = await stack.person("alice");
		const alice = await home.login("stray");
		const socket = await home.open(alice.token);
		await alice.logout();
		assert.deepEqual(await stack.provider.answers(1), [400]);
		assert.equal(await socket.echo("still here"), "still here");
		const { reason } = await stack.caddy.logged(({ msg }) => msg === "logout refused");
		assert.equal(reason, "wrong_audience");
	});

	test("no handshake fails while the provider changes its keys", async () => {
		const home = await stack.person("alice");
		const login = await home.login("bySession");
		const socket = await home.open(login.token);
		const old = await manyTokens(login, 20);

		// Old tokens, new ones and both at once, while the change goes on.
		const stop = new AbortController();
		const steady = Promise.all(old.slice(0, 4).map((token) => handshakes(stack, token, stop.signal)));
		await Promise.all(old.slice(4, 12).map((token) => assertAdmitted(stack, token)));
		stack.provider.rotate();
		const fresh = await manyTokens(login, 20);
		assert.equal(new Set([...old, ...fresh].map(keyOf)).size, 2, "the provider has not changed its key");
		await Promise.all([...fresh, ...old.slice(12)].map((token) => assertAdmitted(stack, token)));
		const later = await manyTokens(login, 4);
		await Promise.all(later.map((token) => assertAdmitted(stack, token)));
		stop.abort();
		const counts = await steady;
		assert.ok(counts.every((count) => count >= 2), `only ${counts} handshakes meanwhile`);

		assert.equal(await socket.echo("still here"), "still here");
		const [{ state, keys, key_ids: ids }] = await stack.keySets();
		assert.deepEqual({ state, keys }, { state: "fresh", keys: 2 });
		assert.deepEqual(ids.toSorted(), stack.provider.keys.map(({ kid }) => kid).toSorted());

		// The logout token is signed with the new key, too.
		await stack.logout(login);
		await assertEnded(stack, [socket]);
	});

	test("the last good keys serve while the provider is down", async () => {
		const home = await stack.person("alice");
		const login = await home.login("bySession");
		const socket = await home.open(login.token);
		const [unused, unusedToo] = await manyTokens(login, 2);
		stack.provider.rotate();
		const unknown = await login.another();

		await stack.provider.down();
		await assertAdmitted(stack, unused);
		// A key that only the provider knows: nobody can tell, and it is asked.
		assert.equal(await stack.handshake(unknown), 503);
		await assertAdmitted(stack, unusedToo);
		const [{ state, keys }] = await stack.keySets();
		assert.deepEqual({ state, keys }, { state: "stale", keys: 1 });
		assert.equal(await socket.echo("still here"), "still here");

		// Nor does a reload need it.
		await stack.reload();
		await assertAdmitted(stack, login.token);
		assert.equal(await socket.echo("after the reload"), "after the reload");
		await stack.provider.up();
		await stack.keysAreBack();
		await assertAdmitted(stack, unknown);
		await stack.logout(login);
		await assertEnded(stack, [socket]);
	});
});

/** Checks that sockets were told of the logout that was last, in time. */
async function assertEnded(stack, sockets) {
	for (const { ended } of sockets) {
		const { at, ...end } = await Promise.race([ended, pause(patience, {}, { ref: false })]);
		assert.deepEqual(end, revoked);
		assert.ok(at - stack.loggedOut <= soon, `told ${at - stack.loggedOut} ms after the logout`);
	}
}

async function assertRefused(stack, token) {
	assert.equal(await stack.handshake(token), 401, "a token counts after the logout");
}

async function assertAdmitted(stack, token) {
	assert.equal(await stack.handshake(token), 101);
}

/** Resolves to so many tokens of a login, none of which was ever shown. */
function manyTokens(login, count) {
	return Promise.all(Array.from({ length: count }, () => login.another()));
}

/** Does handshakes until signal aborts; resolves to how many. All succeed. */
async function handshakes(stack, token, signal) {
	let count = 0;
	for (; !signal.aborted; count++) {
		await assertAdmitted(stack, token);
	}
	return count;
}

/** Starts a provider, an app, and Caddy between. */
async function startStack(browser) {
	const stack = new Stack(browser);
	try {
		stack.backend = await startBackend();
		stack.provider = await startProvider();
		// After the others, which might take one of them.
		const [site, admin] = await freePorts(2);
		stack.host = `localhost:${site}`;
		stack.admin = `127.0.0.1:${admin}`;
		stack.provider.register({
			bySession: stack.client("session", true),
			byUser: stack.client("user", false),
			stray: stack.client("user", true),
		});
		stack.caddyfile = caddyfile(stack);
		stack.caddy = await startCaddy(stack.caddyfile);
	} catch (error) {
		await stack.close();
		throw error;
	}
	return stack;
}

class Stack {
	contexts = [];

	constructor(browser) {
		this.browser = browser;
	}

	/** How an app is registered with the provider. */
	client(path, session) {
		const origin = `http://${this.host}`;
		return { redirect: `${origin}/callback`, logout: `${origin}/logout/${path}`, session };
	}

	/** Resolves to somebody with a browser of their own. */
	async person(name) {
		const context = await this.browser.newContext();
		this.contexts.push(context);
		context.setDefaultTimeout(20_000);
		const page = await context.newPage();
		await page.goto(`http://${this.host}`);
		return {
			login: (app) => this.provider.login(context, app, name),
			open: (token) => openSocket(page, `ws://${this.host}/app/echo`, ["bearer", token]),
		};
	}

	/** Resolves to the status of the answer to a handshake with a token. */
	async handshake(token) {
		const socket = new WebSocket(`ws://${this.host}/app/echo`, ["bearer", token]);
		try {
			return await new Promise((resolve, reject) => {
				socket.on("open", () => resolve(101));
				socket.on("unexpected-response", (_, { statusCode }) => resolve(statusCode));
				socket.on("error", reject);
			});
		} finally {
			socket.terminate();
		}
	}

	/** Logs somebody out at the provider, who tells Caddy. */
	async logout(login) {
		const before = this.provider.logouts.length;
		this.loggedOut = Date.now();
		await login.logout();
		assert.deepEqual((await this.provider.answers(before + 1)).slice(before), [200]);
	}

	/** Checks the log of the logout that there was. */
	async assertLogged({ by, ended }) {
		const entry = await this.caddy.logged(({ msg }) => msg === "logout done");
		assert.deepEqual({ by: entry.by, ended: entry.ended, issuer: entry.issuer }, { by, ended, issuer: this.provider.url });
	}

	async sessions(query) {
		return (await this.ask(`sessions?${query}`)).sessions;
	}

	/** Resolves when Caddy says that it has fresh keys, after it had none. */
	keysAreBack() {
		const { caddy } = this;
		return caddy.first(() => {
			const stale = caddy.lines.findIndex((line) => line.includes("older ones serve"));
			return caddy.lines.slice(stale).find((line) => stale >= 0 && line.includes("keys are up to date"));
		});
	}

	async keySets() {
		return (await this.ask("keys")).key_sets;
	}

	async ask(path) {
		return (await this.manage(`websocket_auth/${path}`)).json();
	}

	/** Has Caddy load its configuration once more. */
	async reload() {
		const headers = { "Content-Type": "text/caddyfile", "Cache-Control": "must-revalidate" };
		await this.manage("load", { method: "POST", body: this.caddyfile, headers });
	}

	/** Does a request to Caddy's admin API. */
	async manage(path, { headers, ...options } = {}) {
		// Caddy takes whoever sends Sec-Fetch-Mode, as Node.js does, for a page.
		const all = { ...headers, Origin: `http://${this.admin}` };
		const response = await fetch(`http://${this.admin}/${path}`, { ...options, headers: all });
		assert.ok(response.ok, `${response.status} for ${path}`);
		return response;
	}

	/** Fails if any token that was issued can be read in Caddy's output. */
	assertNoTokenLogged() {
		const { text } = this.caddy;
		assert.match(text, /"user_id"/, "the log is empty");
		for (const token of this.provider.issued) {
			assert.ok(!text.includes(token.split(".")[2]), "a token stands in the log");
		}
	}

	async close() {
		await Promise.all(this.contexts.map((context) => context.close()));
		await this.caddy?.stop();
		this.backend?.close();
		this.provider?.close();
	}
}

function caddyfile({ host, admin, provider, backend }) {
	return `
{
	admin ${admin}
	persist_config off
	grace_period 1s
	storage file_system storage
	log default {
		${logFilter}
	}
}

http://${host} {
	bind 127.0.0.1
	log {
		${logFilter}
	}
	websocket_logout /logout/session {
		issuer ${provider.url}
		audience bySession
	}
	websocket_logout /logout/user {
		issuer ${provider.url}
		audience byUser
	}
	handle_path /app/* {
		websocket_auth {
			verify jwt {
				issuer ${provider.url}
				audience ${audience}
				type at+jwt
			}
		}
		reverse_proxy ${backend.address} {
			header_up X-User {http.auth.user.id}
			stream_close_delay 1h
		}
	}
	handle {
		header Content-Type "text/html; charset=utf-8"
		respond "<!doctype html><title>e2e</title>"
	}
}
`;
}
