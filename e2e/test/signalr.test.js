// SignalR: the token comes with the request for negotiation, and again with
// the socket's handshake. No message carries one; at its end the server's close
// message allows to reconnect, and the library negotiates anew with what
// accessTokenFactory gives it. A token may also be renewed by a plain request.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { libraries, SignalRClient, startSignalR } from "../clients/signalr.js";
import { startGates } from "../lib/dialects.js";

/** How far apart in time a gate's end and an app's last message may seem. */
const slack = 500;

describe("signalr", () => {
	let app, gates;
	const clients = [];
	before(async () => {
		app = await startSignalR();
		const words = `
			from query access_token
			from header
			dialect signalr
			http authenticate`;
		gates = await startGates({
			close: { app: app.address, words },
			renew: {
				app: app.address,
				words: `
					${words}
					on_expiry renew {
						warn 1s
						grace 5s
						hold 1024 1MiB
						path /renew
					}`,
			},
		});
	});
	after(async () => {
		await Promise.all(clients.map((client) => client.close()));
		await gates?.close();
		await app?.close();
	});

	function open(library, token, gate = "close") {
		const client = new SignalRClient(libraries[library], `${gates.origin(gate)}/hub`, token);
		clients.push(client);
		return client;
	}

	function check(user, least, rules) {
		app.up.check(user, least, rules);
		app.down.check(user, least, rules);
	}

	describe("connects", { concurrency: true }, () => {
		for (const library of Object.keys(libraries)) {
			test(`${library}: a good token`, async () => {
				const user = `good ${library}`;
				const client = open(library, () => gates.token(user, 60));
				await client.start();
				await app.converse(user, client, () => app.bothReceive(user, 50));
				check(user, 50);
				assert.deepEqual(client.diary.of("reconnecting"), []);
			});

			test(`${library}: a bad token`, async () => {
				const client = open(library, () => gates.badToken(`bad ${library}`));
				await assert.rejects(client.start(), {
					errorType: "FailedToNegotiateWithServerError",
					message: /Status code '401'/,
				});
			});

			test(`${library}: a token that goes bad after the negotiation`, async () => {
				const user = `worse ${library}`;
				const tokens = [gates.token(user, 60), gates.badToken(user)];
				const client = open(library, () => tokens.shift());
				await assert.rejects(client.start(), /WebSocket failed to connect/);
				assert.deepEqual(tokens, []);
			});

			for (const name of ["alice", "bob"]) {
				test(`${library}: the token of ${name} ends, twice`, async () => {
					const user = `${name} ${library}`;
					const client = open(library, () => gates.token(user, 2));
					await client.start();
					await app.converse(user, client, async () => {
						for (let ends = 1; ends <= 2; ends++) {
							await gates.ended(user, "expired", ends);
							await client.diary.nth("reconnected", ends);
							await app.bothReceive(user, 20);
						}
					});
					check(user, 60);
					assert.deepEqual(client.diary.of("close"), []);
					for (const error of client.diary.of("reconnecting")) {
						assert.match(error, /^Server returned an error on close: .*expired/);
					}
				});
			}
		}

		test("the next token is bad", async () => {
			const good = gates.token("carol", 2);
			const tokens = [good, good];
			const client = open("node", () => tokens.shift() ?? gates.badToken("carol"));
			await client.start();
			await client.diary.nth("reconnecting");
			await client.diary.nth("close");
			assert.deepEqual(client.diary.of("reconnected"), []);
			assert.equal(client.connection.state, "Disconnected");
		});

		test("renewed by a request, the second time too late", async () => {
			const user = "dave";
			let { token, expires } = gates.issuer.issue(user, 2);
			const client = open("browser", () => token, "renew");
			await client.start();
			const session = await client.diary.nth("session");
			await app.converse(user, client, async () => {
				for (const late of [-1000, 1000]) {
					await pause(expires - Date.now() + late);
					const renewed = Date.now();
					const ended = expires;
					({ token, expires } = gates.issuer.issue(user, 2));
					const { ok } = await fetch(`${gates.origin("renew")}/renew?session=${session}`, {
						method: "POST", headers: { Authorization: `Bearer ${token}` },
					});
					assert.equal(ok, true);
					await app.bothReceive(user, 20);
					app.up.checkSilence(user, ended + slack, renewed);
					app.down.checkSilence(user, ended + slack, renewed);
				}
			});
			check(user, 60, { all: true });
			assert.deepEqual(client.diary.of("reconnecting"), []);
		});
	});

	test("the server has seen no token", () => {
		const seen = JSON.stringify(app.logins);
		assert.match(seen, /negotiateVersion=1/);
		for (const token of gates.issuer.issued) {
			assert.ok(!seen.includes(token), "a token was passed on");
		}
		const users = app.logins.map(({ url, headers }) => `${headers["x-user"]} ${url.split("?")[0]}`);
		assert.ok(users.includes("worse node /hub/negotiate"));
		assert.ok(!users.includes("worse node /hub") && !users.includes("bad node /hub/negotiate"));
	});

	test("no token in the log", () => gates.assertNoTokenLogged());
});
