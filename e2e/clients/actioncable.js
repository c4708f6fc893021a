// Action Cable: a server that speaks just enough, and a client built on the
// library of Rails.

import { adapters, ConnectionMonitor, createConsumer } from "@rails/actioncable";
import { WebSocket, WebSocketServer } from "ws";

import { Diary } from "../lib/diary.js";
import { startApp, subjectOf, userOf } from "./app.js";

// What the library needs of a page, besides sockets: to hear of changes that
// no page makes here.
adapters.WebSocket = WebSocket;
globalThis.addEventListener ??= () => {};
globalThis.removeEventListener ??= () => {};

// How long the library waits, in seconds, before it believes that a socket is
// gone, and before it comes back: six, unless told otherwise.
ConnectionMonitor.staleThreshold = 1.5;

/** How far pings are apart, in milliseconds. */
const beat = 300;

/**
 * Starts a server that knows no tokens. Where the gate knows no user yet, it
 * believes the token of a subscription, which the gate has checked.
 */
export function startActionCable() {
	return startApp((server, app) => {
		const endpoint = new WebSocketServer({ server, handleProtocols: () => "actioncable-v1-json" });
		endpoint.on("connection", (socket, request) => {
			app.logins.push(request.url);
			serve(socket, userOf(request), app);
		});
	});
}

function serve(socket, user, app) {
	const say = (message) => socket.send(JSON.stringify(message));
	const heart = setInterval(() => say({ type: "ping", message: Math.floor(Date.now() / 1000) }), beat);
	socket.on("close", () => clearInterval(heart));
	say({ type: "welcome" });
	const commands = {
		subscribe(identifier) {
			const { channel, token } = JSON.parse(identifier);
			if (channel === "SecretChannel") {
				say({ type: "reject_subscription", identifier });
				return;
			}
			user ||= subjectOf(token);
			say({ type: "confirm_subscription", identifier });
			app.pushTicks(user, socket, (tick) => say({ identifier, message: { tick } }));
		},
		message(identifier, { action, text }) {
			if (action !== "speak") {
				return;
			}
			app.up.received(user, text);
			say({ identifier, message: { acknowledged: text } });
		},
	};
	socket.on("message", (data) => {
		const { command, identifier, data: inner = "{}" } = JSON.parse(data);
		commands[command]?.(identifier, JSON.parse(inner));
	});
}

/**
 * A client of one user with one subscription. url is called for each
 * connection. What the library reports stands in the diary.
 */
export class ActionCableClient {
	diary = new Diary();
	waiting = new Map(); // for acknowledgements, by text
	take = () => {};

	constructor(url, channel = { channel: "ChatChannel" }) {
		const { diary, waiting } = this;
		const giveUp = () => {
			waiting.forEach(({ reject }) => reject(new Error("disconnected")));
			waiting.clear();
		};
		this.consumer = createConsumer(url);
		this.subscription = this.consumer.subscriptions.create(channel, {
			connected: (how) => diary.note("connected", how),
			disconnected(how) {
				giveUp();
				diary.note("disconnected", how);
			},
			rejected: () => diary.note("rejected"),
			received: ({ tick, acknowledged }) => {
				if (tick !== undefined) {
					this.take(tick);
				} else {
					waiting.get(acknowledged)?.resolve();
					waiting.delete(acknowledged);
				}
			},
		});
	}

	/** Resolves when the server has answered. */
	async say(text) {
		await this.diary.nth("connected");
		await new Promise((resolve, reject) => {
			this.waiting.set(text, { resolve, reject });
			if (!this.subscription.perform("speak", { text })) {
				this.waiting.delete(text);
				reject(new Error("not connected"));
			}
		});
	}

	listen(take) {
		this.take = take;
	}

	/** Sends a new token as an action of the application's own. */
	renew(token) {
		this.subscription.perform("renew", { token });
	}

	close() {
		this.consumer.disconnect();
	}
}
