// Home Assistant: the token comes in the first message. The library comes back
// by itself when it is cut off, and fetches a token if the last has ended; it
// gives up when it is told that its token is bad.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { ERR_INVALID_AUTH } from "home-assistant-js-websocket";

import { connectHomeAssistant, startHomeAssistant } from "../clients/homeassistant.js";
import { startGates } from "../lib/dialects.js";

/** How far apart in time a gate's end and an app's last message may seem. */
const slack = 500;

describe("home_assistant", () => {
	let strict, legacy, gates;
	const clients = [];
	before(async () => {
		strict = await startHomeAssistant({ login: true });
		legacy = await startHomeAssistant({ login: false });
		const consume = `
			from first_message
			dialect home_assistant {
				pass consume
			}`;
		gates = await startGates({
			// The app checks the token, too, and speaks first.
			forward: {
				app: strict.address,
				words: `
					from first_message {
						early
					}
					dialect home_assistant`,
			},
			// The gate speaks for an app that knows no tokens.
			consume: { app: legacy.address, words: consume },
			renew: {
				app: legacy.address,
				words: `
					${consume}
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
		await strict?.close();
		await legacy?.close();
	});

	async function open(gate, fetch) {
		const client = await connectHomeAssistant(gates.origin(gate), fetch);
		clients.push(client);
		return client;
	}

	const bad = (user) => ({ token: gates.badToken(user), expires: Date.now() + 60_000 });

	describe("connects", { concurrency: true }, () => {
		for (const gate of ["forward", "consume"]) {
			const app = () => (gate === "forward" ? strict : legacy);

			test(`${gate}: a good token`, async () => {
				const user = `good ${gate}`;
				const client = await open(gate, () => gates.issuer.issue(user, 60));
				await client.connection.ping();
				await app().converse(user, client, () => app().bothReceive(user, 50));
				app().up.check(user, 50, { all: true });
				app().down.check(user, 50, { all: true });
				assert.deepEqual(client.diary.of("disconnected"), []);
			});

			test(`${gate}: a bad token`, async () => {
				const refused = open(gate, () => bad(`bad ${gate}`));
				await assert.rejects(refused, (error) => error === ERR_INVALID_AUTH);
			});

			for (const name of ["alice", "bob"]) {
				test(`${gate}: the token of ${name} ends, twice`, async () => {
					const user = `${name} ${gate}`;
					let fetched = 0;
					const client = await open(gate, () => {
						fetched++;
						return gates.issuer.issue(user, 2);
					});
					await app().converse(user, client, async () => {
						for (let ends = 1; ends <= 2; ends++) {
							await client.diary.nth("disconnected", ends);
							await client.diary.nth("ready", ends);
							await app().bothReceive(user, 20);
						}
					});
					app().up.check(user, 60);
					app().down.check(user, 60);
					assert.equal(fetched, 3);
					assert.deepEqual(client.diary.of("reconnect-error"), []);
				});
			}

			test(`${gate}: the next token is bad`, async () => {
				const user = `carol ${gate}`;
				const tokens = [gates.issuer.issue(user, 2), bad(user)];
				const client = await open(gate, () => tokens.shift());
				assert.equal(await client.diary.nth("reconnect-error"), ERR_INVALID_AUTH);
				assert.deepEqual(client.diary.of("ready"), []);
			});
		}

		test("renewed, the second time too late", async () => {
			const user = "dave";
			let { token, expires } = gates.issuer.issue(user, 2);
			const client = await open("renew", () => ({ token, expires }));
			await legacy.converse(user, client, async () => {
				for (const late of [-1000, 1000]) {
					await pause(expires - Date.now() + late);
					const renewed = Date.now();
					const ended = expires;
					({ token, expires } = gates.issuer.issue(user, 2));
					client.renew(token);
					await legacy.bothReceive(user, 20);
					legacy.up.checkSilence(user, ended + slack, renewed);
					legacy.down.checkSilence(user, ended + slack, renewed);
				}
			});
			legacy.up.check(user, 60, { all: true });
			legacy.down.check(user, 60, { all: true });
			assert.deepEqual(client.diary.of("disconnected"), []);
		});
	});

	test("only the app that checks tokens has got any", () => {
		const tokens = strict.logins.map(({ token }) => token);
		assert.equal(tokens.length, 1 + 6 + 1);
		assert.ok(tokens.every((token) => gates.issuer.issued.includes(token)));
	});

	test("no token in the log", () => gates.assertNoTokenLogged());
});
