// Home Assistant: a server that speaks just enough, and a client built on the
// library of its web pages.

import { once } from "node:events";

import { Auth, createConnection } from "home-assistant-js-websocket";
import { WebSocket, WebSocketServer } from "ws";

import { Diary } from "../lib/diary.js";
import { startApp, subjectOf, userOf } from "./app.js";

// The library takes the page's.
globalThis.WebSocket = WebSocket;

const version = { ha_version: "2026.11.0" };

/**
 * Starts a server. With its own login it is one that checks tokens itself, and
 * knows users by them; without, it knows none and believes X-User.
 */
export function startHomeAssistant({ login }) {
	return startApp((server, app) => {
		const endpoint = new WebSocketServer({ server });
		endpoint.on("connection", async (socket, request) => {
			let user = userOf(request);
			if (login) {
				socket.send(JSON.stringify({ type: "auth_required", ...version }));
				const [data] = await once(socket, "message");
				const { type, access_token: token } = JSON.parse(data);
				app.logins.push({ type, token });
				user = subjectOf(token);
				socket.send(JSON.stringify({ type: "auth_ok", ...version }));
			}
			serve(socket, user, app);
		});
	});
}

function serve(socket, user, app) {
	const say = (message) => socket.send(JSON.stringify(message));
	const commands = {
		ping: ({ id }) => say({ id, type: "pong" }),
		say({ id, text }) {
			app.up.received(user, text);
			say({ id, type: "result", success: true, result: text });
		},
		subscribe_events({ id }) {
			say({ id, type: "result", success: true, result: null });
			app.pushTicks(user, socket, (tick) => say({ id, type: "event", event: { tick } }));
		},
	};
	socket.on("message", (data) => {
		const message = JSON.parse(data);
		commands[message.type]?.(message);
	});
}

/**
 * What a page has stored of a login: fetch returns the next token, and when it
 * ends, as the issuer has them.
 */
class Login extends Auth {
	constructor(url, fetch) {
		const { token, expires } = fetch();
		super({ hassUrl: url, clientId: null, access_token: token, expires, refresh_token: "", expires_in: 0 });
		this.fetch = fetch;
	}

	async refreshAccessToken() {
		const { token, expires } = this.fetch();
		Object.assign(this.data, { access_token: token, expires });
	}
}

/**
 * Connects a client of one user. Rejects with what the library says. fetch is
 * called for the first token, and when the last has ended.
 */
export async function connectHomeAssistant(url, fetch) {
	return new HomeAssistantClient(await createConnection({ auth: new Login(url, fetch), setupRetry: 0 }));
}

class HomeAssistantClient {
	diary = new Diary();

	constructor(connection) {
		this.connection = connection;
		for (const event of ["ready", "disconnected", "reconnect-error"]) {
			connection.addEventListener(event, (_, detail) => this.diary.note(event, detail));
		}
	}

	listen(take) {
		return this.connection.subscribeEvents(({ tick }) => take(tick), "tick");
	}

	/** Resolves when the server has answered. */
	say(text) {
		return this.connection.sendMessagePromise({ type: "say", text });
	}

	/** Sends the token in the middle of the connection, as the library does not. */
	renew(token) {
		this.connection.socket.send(JSON.stringify({ type: "auth", access_token: token }));
	}

	close() {
		this.connection.close();
	}
}
