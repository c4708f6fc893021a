// subscriptions-transport-ws: the token comes in connection_init, a bad one is
// answered with connection_error, and after any close the library comes back
// with what connectionParams gives it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { GraphQLLegacyClient, startGraphQLLegacy } from "../clients/graphql_legacy.js";
import { startGates, together } from "../lib/dialects.js";

describe("graphql_legacy", () => {
	const clients = []; // closed at last, so that none comes back for ever
	let app, gates, url;
	before(async () => {
		app = await startGraphQLLegacy();
		gates = await startGates({
			graphql: {
				app: app.address,
				words: `
					from first_message
					dialect graphql_legacy`,
			},
		});
		url = gates.socket("graphql", "/graphql");
	});
	after(async () => {
		clients.forEach((client) => client.close());
		await gates?.close();
		await app?.close();
	});

	function connect(token) {
		const client = new GraphQLLegacyClient(url, token);
		clients.push(client);
		return client;
	}

	describe("clients", together, () => {
		for (const user of ["alice", "bob"]) {
			test(`a good token of ${user}`, async () => {
				const client = connect(() => gates.token(user, 60));
				await app.converse(user, client, () => app.bothReceive(user, 50));
				client.close();
				app.up.check(user, 50, { all: true });
				app.down.check(user, 50);
				assert.deepEqual(client.answers, [undefined]);
			});
		}

		test("a bad token, then a good one", async () => {
			const tokens = [gates.badToken("carol"), gates.token("carol", 60)];
			const client = connect(() => tokens.shift());
			await client.say(app.up.next("carol"));
			client.close();
			app.up.check("carol", 1, { all: true });
			const [refused, accepted] = client.answers;
			assert.equal(typeof refused.message, "string");
			assert.equal(accepted, undefined);
		});

		test("the token ends, twice", async () => {
			const user = "erin";
			let logins = 0;
			const client = connect(() => {
				logins++;
				return gates.token(user, 2);
			});
			await app.converse(user, client, async () => {
				while (client.answers.length < 3) {
					await app.up.acknowledges(user, 1);
				}
				await app.bothReceive(user, 20);
			});
			client.close();
			assert.equal(logins, 3);
			assert.deepEqual(client.answers, [undefined, undefined, undefined]);
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
