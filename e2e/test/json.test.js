// The json dialect: four protocols that the gate learns from its configuration
// alone, renewal when asked for it, late, by POST or not at all, and a token in
// every message.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { JSONClient, startJSON } from "../clients/json.js";
import { protocols } from "../clients/json_protocols.js";
import { startGates, together } from "../lib/dialects.js";

/** How far apart in time a gate's end and an app's last message may seem. */
const slack = 200;

/** The tests of a suite one after another, unlike those around them. */
const alone = { concurrency: false };

const renew = `
	on_expiry renew {
		warn  1s
		grace 1s
		path  /renew
	}`;

// Two at a time, since each is a process that tells its neighbours' time.
describe("json", { concurrency: 2 }, () => {
	for (const [name, protocol] of Object.entries(protocols)) {
		describe(name, alone, () => {
			const clients = []; // closed at last, so that none is left where a test fails
			let app, gates;
			before(async () => {
				app = await startJSON(protocol);
				gates = await startGates({ gate: { app: app.address, words: protocol.words + renew } });
			});
			after(async () => {
				clients.forEach((client) => client.close());
				await gates?.close();
				await app?.close();
			});

			function connect(token) {
				const client = new JSONClient(gates.socket("gate"), protocol, token);
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
						app.down.check(user, 50, { all: true });
					});
				}

				for (const [what, lifetime] of [["changed", undefined], ["expired", -1]]) {
					test(`a token that is ${what}`, async () => {
						const user = "carol";
						const client = connect(() => (lifetime ? gates.token(user, lifetime) : gates.badToken(user)));
						assert.equal(await client.closed, protocol.codes.refused);
						assert.equal(client.accepted, 0);
						assert.equal(client.refusals.length, 1);
						assert.match(client.refusals[0].reason, /^[a-z_ ]+$/);
						assert.equal(app.down.account(user).received.length, 0);
					});
				}

				test("renewed when asked, twice", async () => {
					const user = "dave";
					const client = connect(() => gates.token(user, 2));
					await app.converse(user, client, async () => {
						while (client.accepted < 3) {
							await app.up.acknowledges(user, 1);
						}
						await app.bothReceive(user, 20);
					});
					assert.equal(await client.close(), 1000);
					assert.equal(client.prompts, 2);
					app.up.check(user, 100, { all: true });
					app.down.check(user, 100, { all: true });
				});

				test("renewed after the end", async () => {
					const user = "erin";
					const { token, expires } = gates.issuer.issue(user, 1.5);
					const tokens = [token];
					const client = connect(() => tokens.shift());
					let renewed;
					await app.converse(user, client, async () => {
						await pause(expires - Date.now() + 600);
						tokens.push(gates.token(user, 60));
						renewed = Date.now();
						client.login();
						await app.bothReceive(user, 20);
					});
					assert.equal(await client.close(), 1000);
					app.up.check(user, 40, { all: true });
					app.down.check(user, 40, { all: true });
					app.up.checkSilence(user, expires + slack, renewed);
					app.down.checkSilence(user, expires + slack, renewed);
				});

				test("not renewed", async () => {
					const user = "frank";
					const { token, expires } = gates.issuer.issue(user, 1.5);
					const tokens = [token];
					const client = connect(() => tokens.shift());
					await app.converse(user, client, async () => {
						assert.equal(await client.closed, protocol.codes.timeout);
					});
					const late = Date.now() - expires - 1000;
					assert.ok(late >= 0 && late < 1000, `closed ${late} ms after the grace`);
					app.up.check(user, 40, { all: true });
					app.down.check(user, 40, { all: true });
					app.up.checkSilence(user, expires + slack, Infinity);
					app.down.checkSilence(user, expires + slack, Infinity);
				});

				test("renewed with somebody else's token", async () => {
					const tokens = [gates.token("grace", 2), gates.token("heidi", 60)];
					const client = connect(() => tokens.shift());
					await client.ready;
					assert.equal(await client.closed, protocol.codes.timeout);
					assert.equal(client.accepted, 1);
					assert.deepEqual(client.refusals.map(({ reason }) => reason), ["forbidden", "timeout"]);
				});
			});

			test("what the app has seen", () => {
				const seen = app.messages.join("\n");
				for (const token of gates.issuer.issued) {
					assert.equal(seen.includes(token), app.logins.includes(token), "the app has seen a token");
				}
				const renewals = app.messages.filter((message) => message.includes("token") || message.includes("auth"));
				assert.equal(renewals.length > 0, name === "events", "only one protocol hands its logins on");
				app.assertNoTokenRequested(gates.issuer.issued);
				gates.assertNoTokenLogged();
			});
		});
	}

	describe("renewed by POST", alone, () => {
		const protocol = protocols.lines;
		let app, gates;
		before(async () => {
			app = await startJSON(protocol);
			gates = await startGates({ gate: { app: app.address, words: protocol.words + renew } });
		});
		after(async () => {
			await gates?.close();
			await app?.close();
		});

		test("with a good token, a bad one, and for no socket", async () => {
			const user = "alice";
			const { token, expires } = gates.issuer.issue(user, 2);
			const tokens = [token];
			const client = new JSONClient(gates.socket("gate"), protocol, () => tokens.shift());
			const post = (session, bearer) => fetch(`${gates.origin("gate")}/renew?session=${session}`,
				{ method: "POST", headers: { Authorization: `Bearer ${bearer}` } });
			await app.converse(user, client, async () => {
				await client.ready;
				assert.equal((await post(client.session, gates.badToken(user))).status, 401);
				assert.equal((await post(client.session, gates.token("bob", 60))).status, 403);
				assert.equal((await post("unknown", gates.token(user, 60))).status, 404);
				const answer = await post(client.session, gates.token(user, 60));
				assert.equal(answer.status, 200);
				const { expires_in: left } = await answer.json();
				assert.ok(left > 50 && left <= 60, `renewed for ${left} s`);
				await pause(expires - Date.now() + 500);
				await app.bothReceive(user, 20);
			});
			assert.equal(await client.close(), 1000);
			app.up.check(user, 40, { all: true });
			app.down.check(user, 40, { all: true });
			app.assertNoTokenRequested(gates.issuer.issued);
			gates.assertNoTokenLogged();
		});
	});

	describe("a token in every message", alone, () => {
		const protocol = protocols.objects;
		let app, gates;
		before(async () => {
			app = await startJSON(protocol);
			const gate = (onBad) => ({
				app: app.address,
				words: `
					from every_message {
						on_bad ${onBad}
					}`,
			});
			gates = await startGates({ drop: gate("drop"), tell: gate("tell"), close: gate("close") });
		});
		after(async () => {
			await gates?.close();
			await app?.close();
		});

		// Its first message is the login of other protocols, with a token like all.
		const connect = (onBad, user) => new JSONClient(gates.socket(onBad), protocol, () => gates.token(user, 60));

		test("of the same user, always a fresh one", async () => {
			const user = "alice";
			const issue = () => gates.token(user, 2);
			const client = new JSONClient(gates.socket("close"), protocol, issue);
			const fresh = { say: (text) => client.say(text, { token: issue() }), listen: (take) => client.listen(take) };
			const end = Date.now() + 4000;
			await app.converse(user, fresh, async () => {
				while (Date.now() < end) {
					await app.up.acknowledges(user, 1);
				}
			});
			assert.equal(await client.close(), 1000);
			app.up.check(user, 100, { all: true });
			app.down.check(user, 100, { all: true });
		});

		for (const onBad of ["drop", "tell", "close"]) {
			test(`bad ones, on_bad ${onBad}`, async () => {
				const bad = {
					changed: (user) => ({ token: gates.badToken(user) }),
					"somebody else's": () => ({ token: gates.token("mallory", 60) }),
					missing: () => ({}),
				};
				for (const [what, more] of Object.entries(bad)) {
					const user = `${onBad} ${what}`;
					const client = connect(onBad, user);
					await client.ready;
					await client.say(app.up.next(user), { token: gates.token(user, 60) });
					const lost = client.say("mallory/1", more(user));
					if (onBad === "close") {
						await assert.rejects(lost, /closed with 300[03]/);
					} else {
						lost.catch(() => {}); // when the socket closes
						await client.say(app.up.next(user), { token: gates.token(user, 60) });
						await client.close();
					}
					app.up.check(user, onBad === "close" ? 1 : 2, { all: true });
					assert.equal(client.refusals.length, onBad === "drop" ? 0 : 1);
				}
				assert.equal(app.up.account("mallory").received.length, 0);
			});
		}

		test("what the app has seen", () => {
			const seen = app.messages.join("\n");
			assert.match(seen, /"say"/);
			assert.doesNotMatch(seen, /token/);
			app.assertNoTokenRequested(gates.issuer.issued);
			gates.assertNoTokenLogged();
		});
	});
});
