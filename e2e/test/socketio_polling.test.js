// What a client that polls could make a Socket.IO server believe, in packets
// that are written by hand, and how its session is ended.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import WebSocket from "ws";

import { SocketIOClient, startSocketIO } from "../clients/socketio.js";
import { startGates } from "../lib/dialects.js";

const record = "\x1e"; // between packets

/** One connection that polls. */
class Polling {
	constructor(origin, headers = {}) {
		this.origin = origin;
		this.headers = headers;
	}

	/** Begins the connection. */
	async begin() {
		const response = await fetch(this.url(), { headers: this.headers });
		assert.equal(response.status, 200);
		this.sid = JSON.parse((await response.text()).slice(1)).sid;
		return this;
	}

	url(more = "") {
		const sid = this.sid ? `&sid=${this.sid}` : "";
		return `${this.origin}/socket.io/?EIO=4&transport=polling${sid}${more}`;
	}

	/** Sends packets, and returns the status of the answer. */
	async post(body, { more, headers, ...options } = {}) {
		const response = await fetch(this.url(more), {
			method: "POST", body, headers: { "Content-Type": "text/plain;charset=UTF-8", ...this.headers, ...headers }, ...options,
		});
		await response.text();
		return response.status;
	}

	/** Returns the status of a poll, and the packets that it brings. */
	async poll() {
		const response = await fetch(this.url(), { headers: this.headers });
		return { status: response.status, packets: (await response.text()).split(record) };
	}

	/** Polls until a packet begins like this, and returns it. */
	async receives(begin) {
		for (;;) {
			const { status, packets } = await this.poll();
			assert.equal(status, 200);
			const found = packets.find((packet) => packet.startsWith(begin));
			if (found) {
				return found;
			}
			if (packets.includes("2")) {
				await this.post("3");
			}
		}
	}
}

/** Opens the socket that takes over, and resolves when it has. */
async function upgrade(client) {
	const socket = new WebSocket(client.url().replace("http", "ws").replace("polling", "websocket"));
	const received = [];
	let wake = () => {};
	socket.on("message", (data) => {
		received.push(String(data));
		if (String(data) === "2") {
			socket.send("3");
		}
		wake();
	});
	socket.on("close", () => wake());
	socket.on("error", () => wake());
	/** Resolves to the first message that is like this; to nothing if the socket has closed. */
	socket.receives = async (like) => {
		for (;;) {
			const found = received.find((text) => like.test(text));
			if (found || socket.readyState > WebSocket.OPEN) {
				return found;
			}
			await new Promise((resolve) => { wake = resolve; });
		}
	};
	await new Promise((resolve) => socket.once("open", resolve));
	socket.send("2probe");
	const polls = client.poll(); // the server answers it with 6
	assert.equal(await socket.receives(/^3probe$/), "3probe");
	await polls;
	socket.send("5");
	return socket;
}

describe("socketio by polling", () => {
	const sockets = [];
	let app, gates, good, forged;
	before(async () => {
		app = await startSocketIO();
		const dialect = `
			dialect socketio {
				pass forward
			}
			http authenticate`;
		gates = await startGates({
			message: {
				app: app.address,
				words: `
					name message
					from header
					from first_message {
						early
					}
					${dialect}`,
			},
			request: { app: app.address, words: `from header\n${dialect}` },
		});
		good = gates.token("alice", 60);
		forged = gates.badToken("admin");
	});
	afterEach(() => {
		for (const socket of sockets.splice(0)) {
			socket.close();
		}
		assert.deepEqual(app.admins.splice(0), [], "somebody has joined /admin");
	});
	after(async () => {
		await gates?.close();
		await app?.close();
	});

	const connect = (token, namespace = "") => `40${namespace}${JSON.stringify({ token })}`;

	/** Returns a client that has logged in by polling. */
	async function login() {
		const client = await new Polling(gates.origin("message")).begin();
		assert.equal(await client.post(connect(good)), 200);
		await client.receives("40");
		return client;
	}

	/** Returns one whose requests have the token. */
	const withHeader = (gate) => new Polling(gates.origin(gate), { Authorization: `Bearer ${good}` }).begin();

	const clients = {
		"logged in by polling": login,
		"by a header": () => withHeader("message"),
		"by a header alone": () => withHeader("request"),
	};
	for (const [name, start] of Object.entries(clients)) {
		describe(name, () => {
			test("a forged token in the body", async () => {
				const client = await start();
				assert.equal(await client.post(connect(forged, "/admin,")), 401);
				assert.equal(await client.post(connect(good, "/token-1,") + record + connect(forged, "/admin,")), 400);
			});

			test("a body that is too long", async () => {
				const client = await start();
				const event = `42${JSON.stringify(["say", "x".repeat(1 << 20)])}${record}`;
				const chunks = async function* () {
					yield new TextEncoder().encode(event + connect(forged, "/admin,"));
				};
				assert.equal(await client.post(chunks(), { duplex: "half" }), 413);
			});

			test("JSONP", async () => {
				const client = await start();
				const body = `d=${encodeURIComponent(connect(forged, "/admin,"))}`;
				const headers = { "Content-Type": "application/x-www-form-urlencoded" };
				assert.equal(await client.post(body, { more: "&j=0", headers }), 400);
				assert.equal(await client.post(body, { more: "&j=0" }), 400);
				assert.equal(await client.post(body), 400);
			});

			test("other ways to write the request", async () => {
				const client = await start();
				const body = connect(forged, "/admin,");
				for (const more of ["&EIO=3", "&eio=3", `&sid[]=${client.sid}`, ";EIO=3", "&a=%zz"]) {
					assert.equal(await client.post(body, { more }), 400, more);
				}
			});

			test("an honest message", async () => {
				const client = await start();
				if (name !== "logged in by polling") {
					assert.equal(await client.post("40"), 200);
					await client.receives("40");
				}
				assert.equal(await client.post(`420["say","${app.up.next("alice")}"]`), 200);
				assert.equal(await client.receives("43"), "430[]");
			});
		});
	}

	test("a forged token after the upgrade", async () => {
		const client = await login();
		const socket = await upgrade(client);
		sockets.push(socket);
		socket.send(connect(forged, "/admin,"));
		// It is told so, or the socket ends.
		assert.match(await socket.receives(/^4[04]\/admin,/) ?? "44", /^44/, "the forged token has passed");
	});

	test("a session that is listed, and closed", async () => {
		const user = "zoe";
		const client = new SocketIOClient(gates.origin("message"), {
			transports: ["polling"], auth: { device: "e2e", token: gates.token(user, 60) },
		});
		sockets.push(client);
		await client.connects();
		const { sessions } = await gates.manage("GET", `sessions?subject=${user}`);
		assert.deepEqual(sessions.map(({ source, state, dialect }) => ({ source, state, dialect })), [
			{ source: "polling", state: "polling", dialect: "socketio" },
		]);
		const ended = new Promise((resolve) => client.socket.once("disconnect", resolve));
		const back = new Promise((resolve) => client.socket.io.once("reconnect", resolve));
		assert.deepEqual(await gates.manage("DELETE", `sessions/${sessions[0].id}`), { sockets: 1 });
		assert.equal(await ended, "transport error");
		await back; // it has logged in again
		await client.connects();
		const { sessions: after } = await gates.manage("GET", `sessions?subject=${user}`);
		assert.equal(after.length, 1);
		assert.notEqual(after[0].id, sessions[0].id);
	});

	test("one login is one session", async () => {
		const user = "yves";
		const client = new SocketIOClient(gates.origin("message"), {
			transports: ["polling", "websocket"], auth: { device: "e2e", token: gates.token(user, 60) },
		});
		sockets.push(client);
		await client.upgraded;
		await client.say(app.up.next(user));
		const { sessions } = await gates.manage("GET", `sessions?subject=${user}`);
		assert.deepEqual(sessions.map(({ state }) => state), ["open"]);
		// The client logs in by polling, unless the upgrade was there before.
		assert.match(sessions[0].source, /^(polling|first_message)$/);
	});

	test("no id of a connection is in the log", async () => {
		const client = await login();
		await client.poll();
		await client.post("3", { more: "&t=the-last-one" });
		const { caddy } = gates;
		await caddy.first(() => caddy.lines.find((line) => line.includes("t=the-last-one")));
		assert.ok(!caddy.text.includes(client.sid), "an id stands in the log");
		gates.assertNoTokenLogged();
	});
});
