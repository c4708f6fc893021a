// Every way in which a browser can carry a token: the socket opens, works, is
// answered what the browser accepts, and ends with the token; the app gets the
// claims, and neither the token nor what carried it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { dial } from "../lib/browser.js";
import { assertExpired } from "../lib/expiry.js";
import { cookie, startStack } from "../lib/stack.js";

const base64 = (text) => btoa(text).replaceAll("=", "");
const base64url = (text) => Buffer.from(text).toString("base64url");

// carry returns what the page gives to WebSocket. answers are the protocols
// that it must get: in front of an app that answers what it is offered (echo), and of
// one that answers nothing (mute).
const carriers = [
	{
		name: "bare token", answers: { echo: "itself", mute: "itself" },
		carry: (token) => ({ protocols: token }),
	},
	{
		name: "bare token beside a protocol", answers: { echo: "chat.v1", mute: "chat.v1" },
		carry: (token) => ({ protocols: ["chat.v1", token] }),
	},
	{
		name: "bearer", answers: { echo: "bearer", mute: "bearer" },
		carry: (token) => ({ protocols: ["bearer", token] }),
	},
	{
		name: "bearer beside a protocol", answers: { echo: "chat.v1", mute: "Bearer" },
		carry: (token) => ({ protocols: ["chat.v1", "Bearer", token] }),
	},
	{
		name: "kubernetes", answers: { echo: "v4.channel.k8s.io", mute: "v4.channel.k8s.io" },
		carry: (token) => ({
			protocols: ["v4.channel.k8s.io", `base64url.bearer.authorization.k8s.io.${base64url(token)}`],
		}),
	},
	{
		name: "phoenix", answers: { echo: "phoenix", mute: "phoenix" },
		carry: (token) => ({ protocols: ["phoenix", `base64url.bearer.phx.${base64(token)}`] }),
	},
	{
		name: "jupyter", answers: { echo: "v1.token.websocket.jupyter.org", mute: "v1.token.websocket.jupyter.org" },
		carry: (token) => ({
			protocols: ["v1.token.websocket.jupyter.org",
				`v1.token.websocket.jupyter.org.${encodeURIComponent(token)}`],
		}),
	},
	{
		name: "jupyter beside a protocol", answers: { echo: "v1.kernel", mute: "v1.kernel" },
		carry: (token) => ({
			protocols: ["v1.token.websocket.jupyter.org", "v1.kernel",
				`v1.token.websocket.jupyter.org.${encodeURIComponent(token)}`],
		}),
	},
	{
		name: "appsync", answers: { echo: "graphql-ws", mute: "graphql-ws" },
		carry: (token) => ({
			protocols: ["graphql-ws", `header-${base64url(JSON.stringify({ Authorization: token, host: "e2e" }))}`],
		}),
	},
	{
		name: "prefix", answers: { echo: "realtime", mute: "realtime" },
		carry: (token) => ({ protocols: ["realtime", `openai-insecure-api-key.${token}`] }),
	},
	{
		name: "query", answers: { echo: "", mute: "" },
		carry: (token) => ({ query: `?room=1&access_token=${token}` }),
	},
	{
		name: "query beside a protocol", answers: { echo: "chat.v1", mute: "" },
		carry: (token) => ({ query: `?access_token=${token}`, protocols: ["chat.v1"] }),
		// A browser fails a socket whose protocol is not answered; where the
		// gate removed none it must not answer for the app.
		muteFails: true,
	},
	{
		name: "cookie", answers: { echo: "", mute: "" }, gate: "cookie",
		carry: (token) => ({ cookie: token }),
	},
];

describe("carriers", () => {
	let stack;
	before(async () => { stack = await startStack(); });
	after(() => stack?.close());

	describe("in a browser", { concurrency: true }, () => {
		for (const carrier of carriers) {
			for (const app of ["echo", "mute"]) {
				test(`${carrier.name}, ${app}`, () => tryCarrier(stack, carrier, app));
			}
		}
	});

	test("no token in the log", () => stack.assertNoTokenLogged());
});

async function tryCarrier(stack, { name, answers, carry, gate = "forms", muteFails }, app) {
	const user = `${name}/${app}`;
	const page = await stack.page(stack.http);
	const { token, expires } = stack.issuer.issue(user, 4, { room: name });
	const { query = "", protocols, cookie: value } = carry(token);
	if (value) {
		await page.evaluate((text) => { document.cookie = text; }, `${cookie}=${value}; path=/${gate}/${app}`);
	}
	const url = stack.socket(stack.http, `/${gate}/${app}${query}`);

	const seen = await dial(page, { url, protocols, say: "hello" });

	if (muteFails && app === "mute") {
		assert.equal(seen.opened, false);
		return;
	}
	assertExpired(seen, expires);
	assert.equal(seen.echoed, true, "the echo did not come back");
	const answer = answers[app];
	assert.equal(seen.protocol, answer === "itself" ? token : answer);
	const carrier = [protocols].flat().find((protocol) => protocol?.length >= token.length) ?? token;
	await assertAppSaw(stack.backend.session(user), { name, query, secrets: [token, carrier] });
	const entry = await stack.caddy.accessOf(user);
	assert.equal(entry.request.proto, "HTTP/1.1");
	assert.equal(entry.websocket_end, "expired");
	assert.ok(!JSON.stringify(entry).includes(carrier), "the log has the carrier");
}

/** Checks what reached the app, and how its side of the socket ended. */
async function assertAppSaw(session, { name, query, secrets }) {
	assert.equal(session.headers["x-room"], name);
	for (const secret of secrets) {
		assert.ok(!session.handshake.includes(secret), "the app got the token");
	}
	if (query.includes("room=1")) {
		assert.match(session.handshake, /\?room=1$/m, "the rest of the query is changed");
	}
	assert.equal(await session.closed, 1001);
}
