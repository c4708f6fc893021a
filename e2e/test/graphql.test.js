// graphql-ws: the token comes in connection_init. The protocol knows no renewal;
// the library comes back by itself, with what connectionParams gives it, on the
// codes that it does not take for final.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { GraphQLClient, startGraphQL } from "../clients/graphql.js";
import { startGates, together } from "../lib/dialects.js";

describe("graphql", () => {
	const clients = []; // closed at last, so that none comes back for ever
	let app, gates, url;
	before(async () => {
		app = await startGraphQL();
		gates = await startGates({
			graphql: {
				app: app.address,
				words: `
					from first_message
					dialect graphql`,
			},
		});
		url = gates.socket("graphql", "/graphql");
	});
	after(async () => {
		clients.forEach((client) => client.close());
		await gates?.close();
		await app?.close();
	});

	function connect(token, options) {
		const client = new GraphQLClient(url, token, options);
		clients.push(client);
		return client;
	}

	describe("clients", together, () => {
		for (const user of ["alice", "bob"]) {
			test(`a good token of ${user}`, async () => {
				const client = connect(() => gates.token(user, 60));
				await app.converse(user, client, () => app.bothReceive(user, 50));
				await client.close();
				app.up.check(user, 50, { all: true });
				app.down.check(user, 50);
				assert.deepEqual(client.closes, []);
			});
		}

		test("a bad token, then a good one", async () => {
			const tokens = [gates.badToken("carol"), gates.token("carol", 60)];
			const client = connect(() => tokens.shift());
			await client.say(app.up.next("carol"));
			await client.close();
			app.up.check("carol", 1, { all: true });
			assert.deepEqual(client.closes.map(({ code }) => code), [4403]);
		});

		test("bad tokens only", async () => {
			const tokens = [gates.badToken("dave"), gates.token("dave", -1), "no token", undefined];
			const client = connect(() => tokens.shift(), { retryAttempts: 3 });
			await assert.rejects(client.listen(() => assert.fail("a message for nobody")), { code: 4403 });
			assert.deepEqual(tokens, [], "the library has not asked for every token");
			assert.deepEqual(client.closes.map(({ code }) => code), [4403, 4403, 4403, 4403]);
		});

		test("the token ends, twice", async () => {
			const user = "erin";
			let logins = 0;
			const client = connect(() => {
				logins++;
				return gates.token(user, 2);
			});
			await app.converse(user, client, async () => {
				while (client.closes.length < 2) {
					await app.up.acknowledges(user, 1);
				}
				await app.bothReceive(user, 20);
			});
			await client.close();
			assert.equal(logins, 3);
			assert.deepEqual(client.closes.map(({ code }) => code), [4403, 4403]);
			// The library executes again what was under way when it was cut off.
			app.up.check(user, 100, { again: true });
			app.down.check(user, 100);
		});
	});

	test("the app sees everything but the token", () => {
		assert.ok(app.logins.length >= 5);
		app.logins.forEach((params) => assert.deepEqual(params, { device: "e2e" }));
		app.assertNoTokenRequested(gates.issuer.issued);
		gates.assertNoTokenLogged();
	});
});
