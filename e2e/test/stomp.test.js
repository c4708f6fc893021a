// STOMP: the token comes in the CONNECT frame. The protocol knows no renewal;
// the library comes back by itself after every close, with what beforeConnect
// sets.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { startSTOMP, STOMPClient } from "../clients/stomp.js";
import { startGates } from "../lib/dialects.js";

const bearer = (token) => ({ Authorization: `Bearer ${token}` });
const passcode = (token) => ({ login: "app", passcode: token });

// Ways in which applications log in.
const logins = [
	{ name: "Authorization", headers: bearer },
	{ name: "passcode", headers: passcode },
	{ name: "after heart-beats", headers: bearer, options: { early: ["\n", "\r\n", "\n"] } },
	{
		name: "in many messages", headers: bearer,
		options: { splitLargeFrames: true, maxWebSocketChunkSize: 50 },
	},
	{ name: "binary", headers: bearer, options: { forceBinaryWSFrames: true } },
];

describe("stomp", () => {
	let app, gates;
	const clients = [];
	before(async () => {
		app = await startSTOMP();
		gates = await startGates({
			stomp: {
				app: app.address,
				words: `
					from first_message
					dialect stomp
					http pass`,
			},
		});
	});
	after(async () => {
		await Promise.all(clients.map((client) => client.close()));
		await gates?.close();
		await app?.close();
	});

	function open(user, headers, options) {
		const client = new STOMPClient(gates.socket("stomp"), headers, options);
		clients.push(client);
		return client;
	}

	function check(user, least) {
		app.up.check(user, least);
		app.down.check(user, least);
	}

	describe("logs in", { concurrency: true }, () => {
		for (const { name: user, headers, options } of logins) {
			test(user, async () => {
				const token = gates.token(user, 60);
				const client = open(user, () => headers(token), options);
				await app.converse(user, client, async () => {
					await client.diary.nth("connect");
					await app.up.acknowledges(user, 20);
					await client.diary.nth("beat", 3);
				});
				check(user, 20);
				assert.deepEqual(client.diary.of("close"), []);
			});
		}

		test("a bad token, then a good one", async () => {
			const user = "mallory";
			const good = gates.token(user, 60);
			const tokens = [gates.badToken(user)];
			const client = open(user, () => bearer(tokens.shift() ?? good));
			assert.equal(await client.diary.nth("close"), 3000);
			assert.equal(client.diary.of("error").length, 1, "no ERROR frame");
			assert.deepEqual(client.diary.of("connect"), [], "connected with a bad token");
			await client.diary.nth("connect");
			await app.converse(user, client, () => app.up.acknowledges(user, 5));
			check(user, 5);
			assert.equal(client.diary.of("error").length, 1);
		});

		test("no token", async () => {
			const client = open("nobody", () => ({ login: "nobody" }), { reconnectDelay: 0 });
			assert.equal(await client.diary.nth("close"), 3000);
			assert.equal(client.diary.of("error").length, 1, "no ERROR frame");
			assert.deepEqual(client.diary.of("connect"), []);
		});

		for (const user of ["alice", "bob"]) {
			test(`the token of ${user} ends, twice`, async () => {
				const client = open(user, () => bearer(gates.token(user, 2)));
				await app.converse(user, client, async () => {
					for (let ends = 1; ends <= 2; ends++) {
						assert.equal(await client.diary.nth("close", ends), 3000);
						await client.diary.nth("connect", ends + 1);
						await app.up.acknowledges(user, 20);
					}
				});
				check(user, 60);
				await gates.ended(user, "expired", 2);
				assert.deepEqual(client.diary.of("beat lost"), []);
			});
		}
	});

	test("the server has seen no token", () => {
		assert.equal(app.logins.length, logins.length + 1 + 6);
		for (const headers of app.logins) {
			assert.equal(headers.Authorization ?? headers.passcode, undefined);
			assert.equal(headers["accept-version"], "1.2,1.1,1.0", "the rest is changed");
		}
	});

	test("no token in the log", () => gates.assertNoTokenLogged());
});
