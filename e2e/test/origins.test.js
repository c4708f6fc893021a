// A cookie goes with every handshake, whichever page makes it, so the page's
// origin decides. Another port is another origin, and the same site: SameSite
// does not keep the cookie back.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { dial } from "../lib/browser.js";
import { assertExpired } from "../lib/expiry.js";
import { cookie, startStack } from "../lib/stack.js";

const tries = [
	{ name: "same origin", from: "http", gate: "cookie", admitted: true },
	{ name: "cross-origin", from: "elsewhere", gate: "cookie", admitted: false },
	{ name: "listed origin", from: "elsewhere", gate: "listed", admitted: true },
	{ name: "same origin, but not listed", from: "http", gate: "listed", admitted: false },
];

describe("origins", () => {
	let stack;
	before(async () => { stack = await startStack(); });
	after(() => stack?.close());

	for (const { name, from, gate, admitted } of tries) {
		test(`cookie, ${name}`, async () => {
			const home = await stack.page(stack.http);
			const page = await stack.page(stack[from]);
			const { token, expires } = stack.issuer.issue(name, 3);
			await home.evaluate((text) => { document.cookie = text; }, `${cookie}=${token}; path=/${gate}; SameSite=Strict`);

			const seen = await dial(page, { url: stack.socket(stack.http, `/${gate}/echo`), say: "hello" });

			if (admitted) {
				assertExpired(seen, expires);
				assert.equal(seen.echoed, true, "the echo did not come back");
				return;
			}
			const { code, reason, wasClean, received } = seen;
			assert.deepEqual({ code, reason, wasClean, received },
				{ code: 3003, reason: "forbidden", wasClean: true, received: 0 });
			assert.equal(stack.backend.session(name), undefined, "the app has seen the socket");
		});
	}

	test("token that the page must know, cross-origin", async () => {
		const page = await stack.page(stack.elsewhere);
		const { token, expires } = stack.issuer.issue("cross-origin token", 3);
		const seen = await dial(page, { url: stack.socket(stack.http, "/status/echo"), protocols: token });
		assertExpired(seen, expires);
	});

	test("no token in the log", () => stack.assertNoTokenLogged());
});
