// Action Cable: the token comes in the query, as AnyCable has it, or in the
// parameters of a subscription. At its end the server's disconnect message says
// whether the library comes back, with the URL that a function gives it. An
// application may renew the token with an action of its own.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { ActionCableClient, startActionCable } from "../clients/actioncable.js";
import { startGates } from "../lib/dialects.js";

/** How far apart in time a gate's end and an app's last message may seem. */
const slack = 500;

describe("actioncable", () => {
	let app, gates;
	const clients = [];
	before(async () => {
		app = await startActionCable();
		gates = await startGates({
			query: {
				app: app.address,
				words: `
					from query jid
					dialect actioncable
					reject close`,
			},
			subscription: {
				app: app.address,
				words: `
					from first_message {
						early
					}
					dialect actioncable {
						credential /identifier/token
					}`,
			},
			action: {
				app: app.address,
				words: `
					from query jid
					dialect actioncable {
						credential /data/token
						pass strip
					}
					on_expiry renew {
						warn 1s
						grace 5s
						hold 1024 1MiB
					}`,
			},
		});
	});
	after(async () => {
		clients.forEach((client) => client.close());
		await gates?.close();
		await app?.close();
	});

	/** Opens a client with a token in each URL. */
	function openByQuery(token, { gate = "query", channel } = {}) {
		return keep(new ActionCableClient(() => gates.socket(gate, `/cable?room=1&jid=${token()}`), channel));
	}

	/** Opens a client with a token in its subscription. */
	function openBySubscription(token) {
		const channel = { channel: "ChatChannel", token };
		return keep(new ActionCableClient(gates.socket("subscription", "/cable"), channel));
	}

	function keep(client) {
		clients.push(client);
		return client;
	}

	function check(user, least, rules) {
		app.up.check(user, least, rules);
		app.down.check(user, least, rules);
	}

	async function tryRefused(client) {
		assert.deepEqual(await client.diary.nth("disconnected"), { willAttemptReconnect: false });
		assert.deepEqual(client.diary.of("connected"), []);
		assert.equal(client.consumer.connection.monitor.isRunning(), false);
	}

	describe("connects", { concurrency: true }, () => {
		for (const [way, open] of Object.entries({
			query: (token) => openByQuery(() => token),
			subscription: openBySubscription,
		})) {
			test(`${way}: a good token`, async () => {
				const user = `good ${way}`;
				const client = open(gates.token(user, 60));
				assert.deepEqual(await client.diary.nth("connected"), { reconnected: false });
				await app.converse(user, client, () => app.bothReceive(user, 50));
				check(user, 50);
				assert.deepEqual(client.diary.of("disconnected"), []);
			});
			test(`${way}: a bad token`, () => tryRefused(open(gates.badToken("mallory"))));
			test(`${way}: a token that has ended`, () => tryRefused(open(gates.token("mallory", -1))));
		}

		test("a good token, and the app refuses", async () => {
			const client = openByQuery(() => gates.token("curious", 60), { channel: { channel: "SecretChannel" } });
			await client.diary.nth("rejected");
			assert.deepEqual(client.diary.of("connected"), []);
		});

		for (const user of ["alice", "bob"]) {
			test(`the token of ${user} ends`, async () => {
				const client = openByQuery(() => gates.token(user, 2));
				await app.converse(user, client, async () => {
					assert.deepEqual(await client.diary.nth("disconnected"), { willAttemptReconnect: true });
					await gates.ended(user, "expired");
					assert.deepEqual(await client.diary.nth("connected", 2), { reconnected: true });
					await app.bothReceive(user, 20);
				});
				check(user, 40);
			});
		}

		test("an action renews, the second time too late", async () => {
			const user = "carol";
			let { token, expires } = gates.issuer.issue(user, 2);
			const client = openByQuery(() => token, { gate: "action" });
			await app.converse(user, client, async () => {
				for (const late of [-1000, 1000]) {
					await pause(expires - Date.now() + late);
					const renewed = Date.now();
					const ended = expires;
					({ token, expires } = gates.issuer.issue(user, 2));
					client.renew(token);
					await app.bothReceive(user, 20);
					app.up.checkSilence(user, ended + slack, renewed);
					app.down.checkSilence(user, ended + slack, renewed);
				}
			});
			check(user, 60, { all: true });
			assert.deepEqual(client.diary.of("disconnected"), []);
		});
	});

	test("the app has seen no token in a query, and only the good connections", () => {
		const byQuery = app.logins.filter((url) => url.includes("?"));
		assert.equal(byQuery.length, 1 + 1 + 4 + 1);
		assert.ok(byQuery.every((url) => url === "/cable?room=1"), "a query is changed, or has a token");
	});

	test("no token in the log", () => gates.assertNoTokenLogged());
});
