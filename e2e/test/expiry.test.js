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
		});
	}

	test("no token in the log", () => stack.assertNoTokenLogged());
});

async function tryLoad(stack, scheme, { name, app, options }) {
	const page = await stack.page(stack[scheme]);
	const user = `${scheme}/${name}`;
	const { token, expires } = stack.issuer.issue(user, 2.5);
	const url = stack.socket(stack[scheme], `/status/${app}`);

	const seen = await dial(page, { url, protocols: ["bearer", token], ...options });

	assertExpired(seen, expires);
	assert.equal(seen.protocol, "bearer");
	const session = stack.backend.session(user);
	if (options.flood) {
		assert.ok(seen.sent > 100, `only ${seen.sent} messages were sent`);
		assert.ok(session.received > 100, `only ${session.received} messages arrived`);
	}
	if (app === "flood") {
		assert.ok(seen.received > 100, `only ${seen.received} messages were received`);
	}
	if (options.say) {
		assert.equal(seen.echoed, true, "the echo did not come back");
		assert.equal(seen.wasClean, true);
	}
	assert.equal(await session.closed, 1001);
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
		const { token, expires } = stack.issuer.issue(user, 1);
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

/** Checks what the access log says of the end, and of the way there. */
async function assertEnd(stack, scheme, user, end) {
	const entry = await stack.caddy.access(user);
	assert.equal(entry.request.proto, protos[scheme]);
	assert.equal(entry.websocket_end, end);
}
