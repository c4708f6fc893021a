// What a page sees of a refusal: nothing but a failure with "reject status",
// code and reason with "reject close". The app sees neither.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { dial } from "../lib/browser.js";
import { startStack } from "../lib/stack.js";

// tokens returns what the page offers; gate is used instead of close.
const refusals = [
	{ name: "no token", status: 401, code: 3000, reason: "missing_credential", token: () => undefined },
	{ name: "an expired token", status: 401, code: 3000, reason: "invalid_token", token: (issue) => issue(-10) },
	{
		name: "a token for another app", status: 401, code: 3000, reason: "invalid_token",
		token: (issue) => issue(60, { aud: "mail" }),
	},
	{
		name: "a changed token", status: 401, code: 3000, reason: "invalid_token",
		token: (issue) => {
			const [header, payload, signature] = issue(60).split(".");
			const claims = JSON.parse(Buffer.from(payload, "base64url"));
			claims.sub = "admin";
			return [header, Buffer.from(JSON.stringify(claims)).toString("base64url"), signature].join(".");
		},
	},
];

const carriers = {
	query: (token) => ({ query: token ? `&access_token=${token}` : "" }),
	bearer: (token) => ({ query: "", protocols: token ? ["bearer", token] : ["chat.v1"] }),
};

describe("refusals", () => {
	let stack;
	before(async () => { stack = await startStack(); });
	after(() => stack?.close());

	for (const scheme of ["http", "https"]) {
		for (const refusal of refusals) {
			for (const carrier of Object.keys(carriers)) {
				for (const gate of ["status", "close"]) {
					const name = `${refusal.name}, ${scheme}, ${carrier}, reject ${gate}`;
					test(name, () => tryRefusal(stack, { ...refusal, name, scheme, carrier, gate }));
				}
			}
		}
		test(`a missing scope, ${scheme}, reject close`, () => tryRefusal(stack, {
			name: `${scheme}/scope`, scheme, carrier: "bearer", gate: "scope",
			code: 3003, reason: "insufficient_scope", token: (issue) => issue(60),
		}));
	}

	test("the app has seen nobody", () => assert.equal(stack.backend.sessions.size, 0));
	test("no token in the log", () => stack.assertNoTokenLogged());
});

async function tryRefusal(stack, { name, scheme, carrier, gate, status, code, reason, token }) {
	const page = await stack.page(stack[scheme]);
	const offered = token((...args) => stack.issuer.issue(name, ...args).token);
	const { query, protocols } = carriers[carrier](offered);
	const id = encodeURIComponent(name);
	const url = stack.socket(stack[scheme], `/${gate}/echo?id=${id}${query}`);

	const seen = await dial(page, { url, protocols });

	const { opened, errors, wasClean } = seen;
	const entry = await stack.caddy.access(({ request }) => request.uri.includes(`?id=${id}`));
	assert.equal(entry.request.proto, scheme === "https" ? "HTTP/2.0" : "HTTP/1.1");
	if (gate === "status") {
		assert.deepEqual({ opened, errors, wasClean, code: seen.code, reason: seen.reason },
			{ opened: false, errors: 1, wasClean: false, code: 1006, reason: "" });
		assert.equal(entry.status, status);
		return;
	}
	assert.deepEqual({ opened, errors, wasClean, code: seen.code, reason: seen.reason },
		{ opened: true, errors: 0, wasClean: true, code, reason });
	assert.equal(seen.received, 0);
}
