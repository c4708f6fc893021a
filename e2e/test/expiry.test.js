// The end of the token, over HTTP/1.1 and HTTP/2: the close event has code
// 3000, at once, whatever the two sides are doing just then.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { ackEach } from "../lib/backend.js";
import { dial } from "../lib/browser.js";
import { assertExpired } from "../lib/expiry.js";
import { startStack } from "../lib/stack.js";

const protos = { http: "HTTP/1.1", https: "HTTP/2.0" };

const loads = [
	{ name: "quiet", app: "echo", options: { say: "hello" } },
	{ name: "browser sends as fast as it can", app: "sink", options: { flood: true } },
	{ name: "app sends as fast as the page takes it", app: "flood", options: { ackEach } },
	{ name: "both send", app: "flood", options: { flood: true, ackEach } },
	{ name: "echo", app: "echo", options: { flood: true } },
];

describe("expiry", () => {
	let stack;
	before(async () => { stack = await startStack(); });
	after(() => stack?.close());

	for (const [scheme, proto] of Object.entries(protos)) {
		describe(proto, () => {
			for (const load of loads) {
				test(load.name, () => tryLoad(stack, scheme, load));
			}
			test("reconnects with a fresh token", () => tryReconnect(stack, scheme));
			test("max_session ends it sooner", () => tryMaxSession(stack, scheme));
			test("the page hangs up first", () => tryHangUp(stack, scheme));
		});
	}

	test("no token in the log", () => stack.assertNoTokenLogged());
});

async function tryLoad(stack, scheme, { name, app, options }) {
	const page = await stack.page(stack[scheme]);
	const user = `${scheme}/${name}`;
	const { token, expires } = stack.issuer.issue(user, 2);
	const url = stack.socket(stack[scheme], `/status/${app}`);

	const seen = await dial(page, { url, protocols: ["bearer", token], ...options });

	// What lies in the buffers in front of the close frame comes first.
	assertExpired(seen, expires, options.say ? 1000 : 4000);
	assert.equal(seen.protocol, "bearer");
	const session = stack.backend.session(user);
	if (options.flood) {
		assert.ok(seen.sent > 100, `only ${seen.sent} messages were sent`);
		assert.ok(session.received > 100, `only ${session.received} messages arrived`);
	}
	if (app === "flood") {
		assert.ok(seen.received > 0, "nothing was received");
	}
	if (options.say) {
		assert.equal(seen.echoed, true, "the echo did not come back");
		assert.equal(seen.wasClean, true);
	}
	// The page's close event comes when the stream of HTTP/2 ends, so the gate
	// waits a second at most until an app that is behind has read its frame.
	const codes = scheme === "https" && options.flood ? [1001, 1006] : [1001];
	assert.ok(codes.includes(await session.closed), `the app saw ${await session.closed}`);
	await assertEnd(stack, scheme, user, "expired");
}

/**
 * Takes a fresh token three times in a row, as an app's page does on 3000. Over
 * HTTP/2 all sockets share one connection, which must survive their ends.
 */
async function tryReconnect(stack, scheme) {
	const page = await stack.page(stack[scheme]);
	const url = stack.socket(stack[scheme], "/status/echo");
	for (let round = 1; round <= 3; round++) {
		const user = `${scheme}/round ${round}`;
		const { token, expires } = stack.issuer.issue(user, 1.5);
		const seen = await dial(page, { url, protocols: token, say: `hello ${round}` });
		assertExpired(seen, expires);
		assert.equal(seen.echoed, true, `no echo in round ${round}`);
		await assertEnd(stack, scheme, user, "expired");
	}
}

async function tryMaxSession(stack, scheme) {
	const page = await stack.page(stack[scheme]);
	const user = `${scheme}/max session`;
	const { token } = stack.issuer.issue(user, 60);
	const url = stack.socket(stack[scheme], "/limited/echo");
	const { code, reason, wasClean } = await dial(page, { url, protocols: token });
	assert.deepEqual({ code, reason, wasClean }, { code: 3000, reason: "session over", wasClean: true });
	await assertEnd(stack, scheme, user, "max_session");
}

async function tryHangUp(stack, scheme) {
	const page = await stack.page(stack[scheme]);
	const user = `${scheme}/hang up`;
	const { token } = stack.issuer.issue(user, 60);
	const url = stack.socket(stack[scheme], "/status/echo");
	const { code, wasClean } = await dial(page, { url, protocols: token, say: "bye", hangUp: true });
	assert.deepEqual({ code, wasClean }, { code: 1000, wasClean: true });
	assert.equal(await stack.backend.session(user).closed, 1000);
	await assertEnd(stack, scheme, user, "client_closed");
}

/** Checks what the access log says of the end, and of the way there. */
async function assertEnd(stack, scheme, user, end) {
	const entry = await stack.caddy.accessOf(user);
	assert.equal(entry.request.proto, protos[scheme]);
	assert.equal(entry.websocket_end, end);
}
