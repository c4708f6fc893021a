// MQTT: the token is the password of the CONNECT packet. A client comes back
// by itself when it is cut off, with the password that its options have then,
// and sends again what the broker has not acknowledged. In version 5 a client
// may instead renew its token, with AUTH.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { authenticationMethod, MQTTClient, reason, startAedes, startMQTT5 } from "../clients/mqtt.js";
import { startGates } from "../lib/dialects.js";

// ended is what a client is told when its token ends: version 3 has no word
// for it.
const versions = [
	{ version: "3.1", broker: "aedes", options: { protocolId: "MQIsdp", protocolVersion: 3 }, refused: 5, ended: [] },
	{ version: "3.1.1", broker: "aedes", options: { protocolVersion: 4 }, refused: 5, ended: [] },
	{
		version: "5", broker: "mqtt5", options: { protocolVersion: 5 },
		refused: reason.notAuthorized, ended: [reason.notAuthorized],
	},
];

// The options of clients that can renew their token.
const renewing = { protocolVersion: 5, properties: { authenticationMethod } };

/** How far apart in time a gate's end and an app's last message may seem. */
const slack = 500;

describe("mqtt", () => {
	let apps, gates;
	const clients = [];
	before(async () => {
		apps = { aedes: await startAedes(), mqtt5: await startMQTT5() };
		const words = `
			from first_message
			dialect mqtt {
				pass strip
			}`;
		gates = await startGates({
			aedes: { app: apps.aedes.address, words },
			mqtt5: { app: apps.mqtt5.address, words },
			renew: {
				app: apps.mqtt5.address,
				words: `
					from first_message
					dialect mqtt {
						credential auth_data
						auth_method ${authenticationMethod}
						pass strip
					}
					on_expiry renew {
						warn 1s
						grace 5s
						# The library sends a packet in seven messages.
						hold 8192 4MiB
					}`,
			},
		});
	});
	after(async () => {
		await Promise.all(clients.map((client) => client.close()));
		await gates?.close();
		await apps?.aedes.close();
		await apps?.mqtt5.close();
	});

	function open(gate, user, password, options) {
		const client = new MQTTClient(gates.socket(gate, "/mqtt"), user, password, options);
		clients.push(client);
		return client;
	}

	describe("a connection of", { concurrency: true }, () => {
		for (const { version, broker, options, refused, ended } of versions) {
			const app = () => apps[broker];

			test(`${version} with a good token`, async () => {
				const user = `good ${version}`;
				const token = gates.token(user, 60);
				const client = open(broker, user, () => token, options);
				await app().converse(user, client, () => app().bothReceive(user, 50));
				await client.diary.nth("packet pingresp", 2);
				app().up.check(user, 50, { all: true });
				app().down.check(user, 50);
				assert.deepEqual(client.diary.of("close"), []);
			});

			test(`${version} with a bad token`, async () => {
				const user = `bad ${version}`;
				const client = open(broker, user, () => gates.badToken(user), options);
				assert.deepEqual(await client.diary.nth("error"),
					{ code: refused, message: "Connection refused: Not authorized" });
				await client.diary.nth("close");
				assert.deepEqual(client.diary.of("connect"), []);
				assert.equal(client.client.reconnecting, false, "the library has not given up");
			});

			test(`${version} with a bad token, then a good one`, async () => {
				const user = `mallory ${version}`;
				const good = gates.token(user, 60);
				const tokens = [gates.badToken(user)];
				const client = open(broker, user, () => tokens.shift() ?? good, { ...options, reconnectOnConnackError: true });
				await client.say(app().up.next(user));
				app().up.check(user, 1, { all: true });
				assert.deepEqual(client.diary.of("error").map(({ code }) => code), [refused]);
			});

			for (const name of ["alice", "bob"]) {
				test(`${version}, when the token of ${name} ends, twice`, async () => {
					const user = `${name} ${version}`;
					const client = open(broker, user, () => gates.token(user, 2), options);
					await app().converse(user, client, async () => {
						for (let ends = 1; ends <= 2; ends++) {
							await gates.ended(user, "expired", ends);
							await client.diary.nth("connect", ends + 1);
							await app().bothReceive(user, 20);
						}
					});
					// The library sends again what was not acknowledged.
					app().up.check(user, 60, { again: true });
					app().down.check(user, 60, { again: true });
					assert.deepEqual(client.diary.of("error"), []);
					assert.deepEqual(client.diary.of("disconnect"), [...ended, ...ended]);
				});
			}
		}

		for (const [when, late] of Object.entries({ before: -1000, after: 1000 })) {
			test(`5, renewed ${when} its end, twice`, () => tryRenewal(`renews ${when}`, late));
		}

		// Longer than what is read of a message, so that it passes unread.
		test("5, renewed behind a large packet", { timeout: 10_000 }, async () => {
			const user = "renews behind much";
			const client = open("renew", user, () => gates.token(user, 60), renewing);
			await client.diary.nth("connect");
			await client.client.publishAsync("elsewhere", Buffer.alloc(100_000, "x"), { qos: 1 });
			client.renew(gates.token(user, 70));
			assert.equal(await client.diary.nth("packet auth"), reason.success);
			assert.deepEqual(client.diary.of("close"), []);
		});

		test("5, renewed by somebody else", { timeout: 10_000 }, async () => {
			const user = "renews badly";
			const client = open("renew", user, () => gates.token(user, 60), renewing);
			await client.diary.nth("connect");
			client.renew(gates.token("mallory", 60));
			assert.equal(await client.diary.nth("disconnect"), reason.notAuthorized);
			await client.diary.nth("connect", 2);
		});
	});

	/** Renews a token twice, so many milliseconds after it has ended. */
	async function tryRenewal(user, late) {
		const { up, down } = apps.mqtt5;
		let { token, expires } = gates.issuer.issue(user, 2);
		const client = open("renew", user, () => token, renewing);
		await apps.mqtt5.converse(user, client, async () => {
			for (let renewals = 1; renewals <= 2; renewals++) {
				await pause(expires - Date.now() + late);
				const renewed = Date.now();
				const ended = expires;
				({ token, expires } = gates.issuer.issue(user, 2));
				client.renew(token);
				assert.equal(await client.diary.nth("packet auth", renewals), reason.success);
				await apps.mqtt5.bothReceive(user, 20);
				up.checkSilence(user, ended + slack, renewed);
				down.checkSilence(user, ended + slack, renewed);
			}
		});
		up.check(user, 60, { all: true });
		down.check(user, 60, { all: true });
		// The library pings each second, and would not bear to get no answer.
		assert.deepEqual(client.diary.of("close"), []);
	}

	test("the brokers have seen no token", () => {
		const { aedes, mqtt5 } = apps;
		assert.ok(aedes.logins.length > 0 && mqtt5.logins.length > 0);
		for (const { username, password, properties } of [...aedes.logins, ...mqtt5.logins]) {
			assert.deepEqual({ username, password }, { username: "app", password: undefined });
			assert.equal(properties?.authenticationData, undefined);
		}
	});

	test("no token in the log", () => gates.assertNoTokenLogged());
});
