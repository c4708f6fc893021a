// What the apps have in common: a server on a free port of this machine, users
// known by X-User alone, and messages that are counted.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";

import { Ledger } from "../lib/ledger.js";
import { listen } from "../lib/listen.js";

/** How long an app rests between two messages to a user, in milliseconds. */
const rest = 10;

/**
 * Starts an app. attach(server, app) makes the server speak its protocol; it
 * may return what has to be closed before the server.
 */
export async function startApp(attach) {
	const server = createServer((_, response) => response.writeHead(404).end());
	const app = new App(server);
	app.service = attach(server, app);
	for (const event of ["request", "upgrade"]) {
		server.prependListener(event, ({ url, rawHeaders }) => app.requests.push([url, ...rawHeaders].join("\n")));
	}
	app.address = `127.0.0.1:${await listen(server)}`;
	return app;
}

class App {
	/** What users say to the app. */
	up = new Ledger();
	/** What the app says to each user. */
	down = new Ledger();
	/** The logins that the app has seen, in their protocol's own shape. */
	logins = [];
	/** URL and headers of each request that it got. */
	requests = [];
	connections = new Set();

	constructor(server) {
		this.server = server;
		server.on("connection", (connection) => {
			this.connections.add(connection);
			connection.once("close", () => this.connections.delete(connection));
		});
	}

	/** Yields numbered messages to user for as long as somebody takes them. */
	async *ticks(user) {
		for (;;) {
			yield this.down.next(user);
			await pause(rest);
		}
	}

	/** Sends numbered messages to user until the socket closes. */
	async pushTicks(user, socket, send) {
		for await (const text of this.ticks(user)) {
			if (socket.readyState !== socket.OPEN) {
				return;
			}
			send(text);
		}
	}

	/**
	 * Lets user and app talk to each other until done() resolves. client.say(text)
	 * resolves when the app has acknowledged, client.listen(take) subscribes.
	 */
	async converse(user, client, done) {
		const stop = new AbortController();
		client.listen((text) => this.down.received(user, text));
		const sending = this.up.send(user, (text) => client.say(text), stop.signal);
		try {
			await done();
		} finally {
			stop.abort();
			await sending;
		}
	}

	/** Resolves when count more messages have arrived on both sides. */
	bothReceive(user, count) {
		return Promise.all([this.up.acknowledges(user, count), this.down.receives(user, count)]);
	}

	/** Fails if one of tokens stands in a request that the app got. */
	assertNoTokenRequested(tokens) {
		assert.ok(this.requests.length > 0, "the app has got no request");
		for (const token of tokens) {
			assert.ok(!this.requests.some((request) => request.includes(token)), "the app has got a token");
		}
	}

	async close() {
		await this.service?.close?.();
		this.server.close();
		this.connections.forEach((connection) => connection.destroy());
	}
}

/** Who a request is of: the gate says so. */
export function userOf({ headers }) {
	return headers["x-user"] ?? "";
}

/** Who a token is of, for apps that the gate connects before the login. */
export function subjectOf(token) {
	return JSON.parse(Buffer.from(token.split(".")[1], "base64url")).sub;
}
