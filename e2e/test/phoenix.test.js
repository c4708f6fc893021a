// The phoenix client: the token in the join, in the query and in the
// subprotocol; a new one for each connection, or an access_token event, which
// keeps the socket open.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { PhoenixClient, startPhoenix } from "../clients/phoenix.js";
import { startGates, together } from "../lib/dialects.js";

// carry returns the options for tokens that next() returns; close is the code
// on a bad token, which in a handshake cannot be read.
const ways = [
	{
		name: "join", gate: "join", close: 3000,
		carry: (next) => ({ join: () => ({ device: "e2e", token: next() }) }),
	},
	{
		name: "query", gate: "request", close: 1006,
		carry: (next) => ({ params: () => ({ access_token: next() }), join: { device: "e2e" } }),
	},
	{
		name: "subprotocol", gate: "request", close: 1006,
		carry: (next) => ({ authToken: next, join: { device: "e2e" } }),
	},
];

/** How long a socket waits for a renewal, in milliseconds. */
const grace = 2000;

/** How far apart in time a gate's end and an app's last message may seem. */
const slack = 200;

describe("phoenix", () => {
	const clients = []; // closed at last, so that none comes back for ever
	let app, gates;
	before(async () => {
		app = await startPhoenix();
		gates = await startGates({
			join: {
				app: app.address,
				words: `
					from first_message
					dialect phoenix {
						pass strip
					}
					http reject`,
			},
			request: {
				app: app.address,
				words: `
					from subprotocol phoenix
					from query
					dialect phoenix
					http reject`,
			},
			renew: {
				app: app.address,
				words: `
					from first_message
					dialect phoenix {
						pass forward
					}
					on_expiry renew {
						warn 1s
						grace ${grace}ms
					}
					http reject`,
			},
		});
	});
	after(async () => {
		clients.forEach((client) => client.close());
		await gates?.close();
		await app?.close();
	});

	function connect({ gate, carry }, next) {
		const client = new PhoenixClient(gates.socket(gate, "/socket"), carry(next));
		clients.push(client);
		return client;
	}

	describe("clients", together, () => {
		for (const way of ways) {
			describe(way.name, together, () => {
				for (const name of ["alice", "bob"]) {
					test(`a good token of ${name}`, () => tryGood(way, `${name}/${way.name}`));
				}
				test("a bad token, then a good one", () => tryBad(way, `carol/${way.name}`));
				test("the token ends, twice", () => tryExpiry(way, `erin/${way.name}`));
			});
		}
	});

	async function tryGood(way, user) {
		const client = connect(way, () => gates.token(user, 60));
		await app.converse(user, client, () => app.bothReceive(user, 50));
		assert.deepEqual(client.closes, []);
		await client.close();
		assert.equal(client.joins, 1);
		app.up.check(user, 50, { all: true });
		app.down.check(user, 50, { all: true });
	}

	async function tryBad(way, user) {
		const tokens = [gates.badToken(user), gates.token(user, 60)];
		const client = connect(way, () => tokens.shift());
		await client.joined;
		await client.say(app.up.next(user));
		assert.deepEqual(client.closes, [way.close]);
		assert.equal(client.joins, 1);
		await client.close();
		app.up.check(user, 1, { all: true });
		// Only a join has an answer; its reason is a word for the page.
		assert.equal(client.refusals.length, way.gate === "join" ? 1 : 0);
		client.refusals.forEach(({ reason }) => assert.match(reason, /./));
	}

	async function tryExpiry(way, user) {
		const client = connect(way, () => gates.token(user, 2));
		await app.converse(user, client, async () => {
			while (client.joins < 3) {
				await app.up.acknowledges(user, 1);
			}
			assert.deepEqual(client.closes, [3000, 3000]);
			await app.bothReceive(user, 20);
		});
		await client.close();
		app.up.check(user, 100);
		app.down.check(user, 100);
	}

	describe("renewal", together, () => {
		const joining = (token) => ({ gate: "renew", carry: () => ({ join: () => ({ device: "e2e", access_token: token }) }) });

		test("before the end, twice", async () => {
			const user = "frank";
			let { token, expires } = gates.issuer.issue(user, 2);
			const client = connect(joining(token));
			await app.converse(user, client, async () => {
				for (let renewals = 0; renewals < 2; renewals++) {
					await pause(expires - Date.now() - 800);
					({ token, expires } = gates.issuer.issue(user, 2));
					client.renew(token);
				}
				await app.bothReceive(user, 20);
			});
			assert.deepEqual(client.closes, []);
			await client.close();
			assert.equal(client.joins, 1);
			app.up.check(user, 100, { all: true });
			app.down.check(user, 100, { all: true });
		});

		test("after the end", async () => {
			const user = "grace";
			const { token, expires } = gates.issuer.issue(user, 1.5);
			const client = connect(joining(token));
			let renewed;
			await app.converse(user, client, async () => {
				await app.bothReceive(user, 20);
				await pause(expires - Date.now() + 1200);
				renewed = Date.now();
				client.renew(gates.token(user, 60));
				await app.bothReceive(user, 20);
			});
			// Its heartbeats, without which it gives up after a second, were
			// answered meanwhile.
			assert.deepEqual(client.closes, []);
			await client.close();
			assert.equal(client.joins, 1);
			app.up.check(user, 40, { all: true });
			app.down.check(user, 40, { all: true });
			app.up.checkSilence(user, expires + slack, renewed);
			app.down.checkSilence(user, expires + slack, renewed);
		});

		test("of somebody else", async () => {
			const user = "heidi";
			const { token, expires } = gates.issuer.issue(user, 2);
			const client = connect(joining(token));
			const others = gates.token("ivan", 60);
			await app.converse(user, client, async () => {
				await app.bothReceive(user, 20);
				client.renew(others);
				await client.closed;
				const late = Date.now() - expires - grace;
				assert.ok(late >= 0 && late < 1000, `closed ${late} ms after the grace`);
			});
			await client.close();
			app.up.check(user, 20);
			app.down.check(user, 20);
		});
	});

	test("what the app has seen", () => {
		assert.ok(app.heartbeats > 0);
		assert.equal(app.renewals.length, 3);
		const tokens = app.logins.filter(({ token }) => token !== undefined);
		assert.deepEqual(tokens, [], "a token was not taken out of a join");
		assert.ok(app.logins.every(({ device }) => device === "e2e"));
		app.assertNoTokenRequested(gates.issuer.issued);
		gates.assertNoTokenLogged();
	});
});
