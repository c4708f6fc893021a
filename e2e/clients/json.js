// An app that speaks a protocol of its own, in JSON, and its client.

import { EventEmitter, once } from "node:events";

import WebSocket, { WebSocketServer } from "ws";

import { startApp, subjectOf, userOf } from "./app.js";
import { decode, encode } from "./json_protocols.js";

/** Starts an app that knows its users by X-User, or by a login handed on. */
export function startJSON(protocol) {
	return startApp((server, app) => {
		app.messages = []; // whatever it was sent
		new WebSocketServer({ server }).on("connection", (socket, request) => serve(protocol, app, socket, userOf(request)));
	});
}

function serve(protocol, app, socket, user) {
	const send = (message) => socket.send(encode(protocol, message));
	const start = () => app.pushTicks(user, socket, (text) => send(protocol.tick(text)));
	socket.on("message", (data) => {
		app.messages.push(String(data));
		for (const { kind, id, text, token } of decode(protocol, data)) {
			if (kind === "login") {
				app.logins.push(token);
				if (user === "") {
					user = subjectOf(token);
					start();
				}
			} else if (kind === "say") {
				app.up.received(user, text);
				send(protocol.ok(id));
			}
		}
	});
	if (protocol.greets) {
		send(protocol.greeting());
	} else {
		start();
	}
}

/**
 * A client of one user. token() is called for the login, and whenever the gate
 * asks for a new one; what it returns undefined for is not sent.
 */
export class JSONClient {
	/** What refused a login or a renewal. */
	refusals = [];
	accepted = 0;
	prompts = 0;
	calls = 0;
	waiting = new Map();
	news = new EventEmitter();

	constructor(url, protocol, token) {
		this.protocol = protocol;
		this.token = token;
		this.socket = new WebSocket(url);
		this.socket.on("error", () => {}); // the close code tells
		this.socket.on("message", (data) => decode(protocol, data).forEach((message) => this.take(message)));
		if (!protocol.greets) {
			this.socket.once("open", () => this.login(...(protocol.hello ? [protocol.hello()] : [])));
		}
		/** Resolves to the code with which the socket was closed. */
		this.closed = once(this.socket, "close").then(([code]) => {
			this.waiting.forEach(({ reject }) => reject(new Error(`closed with ${code}`)));
			return code;
		});
		this.ready = once(this.news, "accepted");
	}

	take(message) {
		switch (message.kind) {
		case "greeting":
			return this.login();
		case "prompt":
			this.prompts++;
			return this.login();
		case "accepted":
			this.accepted++;
			this.session = message.session;
			break;
		case "refused":
			this.refusals.push(message);
			break;
		case "ok":
			this.waiting.get(message.id)?.resolve();
			this.waiting.delete(message.id);
			break;
		}
		this.news.emit(message.kind, message);
		return undefined;
	}

	/** Sends a token, in one frame with what else is to be in it. */
	login(...before) {
		const token = this.token();
		if (token !== undefined) {
			this.socket.send(encode(this.protocol, ...before, this.protocol.login(token)));
		}
	}

	/** Resolves when the app has answered. */
	async say(text, more) {
		await Promise.race([this.ready, this.closed]);
		const id = `say-${++this.calls}`;
		await new Promise((resolve, reject) => {
			if (this.socket.readyState !== WebSocket.OPEN) {
				reject(new Error("the socket is not open"));
				return;
			}
			this.waiting.set(id, { resolve, reject });
			this.socket.send(encode(this.protocol, Object.assign(this.protocol.say(id, text), more)));
		});
	}

	listen(take) {
		this.news.on("tick", ({ text }) => take(text));
	}

	close() {
		this.socket.close(1000);
		return this.closed;
	}
}
