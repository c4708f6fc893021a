// socket.io-client, by WebSocket alone and by polling with an upgrade, with its
// token in auth, in a header and in the query.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { SocketIOClient, startSocketIO } from "../clients/socketio.js";
import { startGates, together } from "../lib/dialects.js";

/** How far apart in time a gate's end and an app's last message may seem. */
const slack = 200;

const websocket = ["websocket"];
const polling = ["polling", "websocket"];

// with returns the options for tokens that next() returns, and how the next
// one is put in place before the library tries again.
const inAuth = (transports) => (next) => ({
	options: { transports, auth: (give) => give({ device: "e2e", token: next() }) },
	renew: () => {},
});
const inQuery = (transports) => (next) => {
	const query = { access_token: next() };
	return {
		options: { transports, query, auth: { device: "e2e" } },
		renew: (manager) => { manager.opts.query = { access_token: next() }; },
	};
};
const inHeader = (transports) => (next) => ({
	options: { transports, extraHeaders: { Authorization: `Bearer ${next()}` }, auth: { device: "e2e" } },
	renew: (manager) => { manager.opts.extraHeaders = { Authorization: `Bearer ${next()}` }; },
});

// refused is what connect_error tells of a bad token; end is the reason of
// disconnect, transport close unless said otherwise.
const unauthorized = { description: 401 };
const ways = [
	{ name: "auth, websocket", gate: "message", transports: websocket, carry: inAuth, final: true },
	{ name: "auth, polling", gate: "message", transports: polling, carry: inAuth, refused: unauthorized },
	{
		name: "auth, polling for good", gate: "message", transports: ["polling"], carry: inAuth,
		refused: unauthorized, end: "transport error",
	},
	{
		name: "query, websocket", gate: "request", transports: websocket, carry: inQuery,
		refused: { message: "websocket error" },
	},
	{ name: "query, polling", gate: "request", transports: polling, carry: inQuery, refused: unauthorized },
	{ name: "header, polling", gate: "request", transports: polling, carry: inHeader, refused: unauthorized },
	{
		name: "header, polling for good", gate: "request", transports: ["polling"], carry: inHeader,
		refused: unauthorized, end: "transport error",
	},
];

// The server speaks first, so that it is connected before anybody has logged in.
const early = `
	from first_message {
		early
	}
	dialect socketio {
		pass forward
	}
	http authenticate`;

describe("socketio", () => {
	const clients = []; // closed at last, so that none comes back for ever
	let app, gates;
	before(async () => {
		app = await startSocketIO();
		gates = await startGates({
			message: { app: app.address, words: early },
			renew: {
				app: app.address,
				words: `
					${early}
					on_expiry renew {
						warn  1s
						grace 1s
					}`,
			},
			strip: { app: app.address, words: early.replace("forward", "strip") },
			request: {
				app: app.address,
				words: `
					from query
					from header
					dialect socketio
					http authenticate`,
			},
		});
	});
	after(async () => {
		clients.forEach((client) => client.close());
		await gates?.close();
		await app?.close();
	});

	/** Starts a client for the tokens that next() returns. */
	function connect({ gate, transports, carry }, next) {
		const { options, renew } = carry(transports)(next);
		const client = new SocketIOClient(gates.origin(gate), options);
		client.socket.io.on("reconnect_attempt", () => renew(client.socket.io));
		clients.push(client);
		return client;
	}

	describe("clients", together, () => {
		for (const way of ways) {
			describe(way.name, together, () => {
				for (const name of ["alice", "bob"]) {
					test(`a good token of ${name}`, async () => {
						const user = `${name}, ${way.name}`;
						const client = connect(way, () => gates.token(user, 60));
						await app.converse(user, client, async () => {
							await (way.transports === polling ? client.upgraded : client.connects());
							await app.bothReceive(user, 50);
						});
						client.close();
						app.up.check(user, 50, { all: true });
						app.down.check(user, 50);
						assert.deepEqual(client.refusals, []);
					});
				}

				test("a bad token, then a good one", () => tryBad(way));
				test("the token ends, twice", () => tryExpiry(way));
			});
		}
	});

	describe("renewal", together, () => {
		const way = { gate: "renew", transports: websocket, carry: inAuth };

		test("by joining a namespace, twice", async () => {
			const user = "frank";
			let expires;
			const client = connect(way, () => {
				const issued = gates.issuer.issue(user, 2);
				expires = issued.expires;
				return issued.token;
			});
			await app.converse(user, client, async () => {
				await client.connects();
				for (let renewals = 0; renewals < 2; renewals++) {
					await pause(expires - Date.now() - 700);
					await client.renew();
				}
				await app.bothReceive(user, 20);
			});
			assert.deepEqual(client.ends, []);
			client.close();
			app.up.check(user, 100, { all: true });
			app.down.check(user, 100, { all: true });
		});

		test("after the end", async () => {
			const user = "grace";
			const { token, expires } = gates.issuer.issue(user, 1.5);
			const tokens = [token, gates.token(user, 60)];
			const client = connect(way, () => tokens.shift());
			let renewed;
			await app.converse(user, client, async () => {
				await app.bothReceive(user, 20);
				await pause(expires - Date.now() + 700);
				renewed = Date.now();
				await client.renew();
				await app.bothReceive(user, 20);
			});
			assert.deepEqual(client.ends, []);
			client.close();
			app.up.check(user, 40, { all: true });
			app.down.check(user, 40, { all: true });
			app.up.checkSilence(user, expires + slack, renewed);
			app.down.checkSilence(user, expires + slack, renewed);
		});
	});

	async function tryBad(way) {
		const user = `carol, ${way.name}`;
		const tokens = [gates.badToken(user), gates.token(user, 60)];
		const client = connect(way, () => tokens.shift());
		const refusal = await client.isRefused();
		assert.equal(client.socket.connected, false);
		// After an error of the server's the library leaves it to the page to
		// try again, after one of the transport's it does so by itself.
		assert.equal(client.socket.active, !way.final);
		if (way.final) {
			assert.match(refusal.message, /./);
			client.socket.connect();
		} else {
			const [[word, value]] = Object.entries(way.refused);
			assert.equal(refusal[word], value);
		}
		await client.say(app.up.next(user));
		client.close();
		app.up.check(user, 1, { all: true });
		assert.equal(client.refusals.length, 1);
	}

	async function tryExpiry(way) {
		const user = `erin, ${way.name}`;
		const client = connect(way, () => gates.token(user, 2));
		await app.converse(user, client, async () => {
			while (client.ends.length < 2) {
				await app.up.acknowledges(user, 1);
			}
			await app.bothReceive(user, 20);
		});
		client.close();
		const { end = "transport close" } = way;
		assert.deepEqual(client.ends.slice(0, 2), [end, end]);
		assert.deepEqual(client.refusals, []);
		// What was said while the socket was away was kept by the library.
		app.up.check(user, 100);
		app.down.check(user, 100);
	}

	for (const transports of [websocket, polling]) {
		test(`the token is taken out of auth, ${transports}`, async () => {
			const user = `heidi, ${transports}`;
			const auth = { device: "e2e", token: gates.token(user, 60), user };
			const client = new SocketIOClient(gates.origin("strip"), { transports, auth });
			clients.push(client);
			await client.connects();
			assert.deepEqual(app.logins.filter((login) => login.user === user), [{ device: "e2e", user }]);
		});
	}

	test("what the app has seen", () => {
		assert.equal(app.renewals.length, 3);
		assert.ok(app.logins.every(({ device }) => device === "e2e"));
		app.assertNoTokenRequested(gates.issuer.issued);
		gates.assertNoTokenLogged();
	});
});
