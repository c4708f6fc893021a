// STOMP: a server that speaks just enough of version 1.2, and a client built
// on the library that browsers use.

import { Client } from "@stomp/stompjs";
import { WebSocket, WebSocketServer } from "ws";

import { Diary } from "../lib/diary.js";
import { startApp, userOf } from "./app.js";

const destination = "/queue/inbox";

/** How far heart-beats are apart, in milliseconds. */
const beat = 300;

/** Starts a server that knows no tokens. It answers each message with another. */
export function startSTOMP() {
	return startApp((server, app) => {
		const handleProtocols = (offered) => (offered.has("v12.stomp") ? "v12.stomp" : false);
		const endpoint = new WebSocketServer({ server, handleProtocols });
		endpoint.on("connection", (socket, request) => {
			const session = new Session(socket, userOf(request), app);
			socket.on("message", (data) => session.take(data.toString()));
		});
	});
}

class Session {
	begun = ""; // of a frame of which the end has not come

	constructor(socket, user, app) {
		Object.assign(this, { socket, user, app });
	}

	take(chunk) {
		this.begun += chunk;
		for (;;) {
			this.begun = this.begun.replace(/^[\r\n]+/, ""); // heart-beats
			const end = this.begun.indexOf("\0");
			if (end === -1) {
				return;
			}
			const { command, headers, body } = parse(this.begun.slice(0, end));
			this.begun = this.begun.slice(end + 1);
			this[command]?.(headers, body);
		}
	}

	CONNECT(headers) {
		this.app.logins.push(headers);
		this.say("CONNECTED", { version: "1.2", "heart-beat": `${beat},${beat}` });
		const heart = setInterval(() => this.socket.send("\n"), beat);
		this.socket.on("close", () => clearInterval(heart));
	}

	SUBSCRIBE({ id }) {
		this.subscription = id;
	}

	SEND({ receipt }, body) {
		this.app.up.received(this.user, body);
		this.say("RECEIPT", { "receipt-id": receipt });
		const headers = { subscription: this.subscription, destination, "message-id": receipt };
		this.say("MESSAGE", headers, this.app.down.next(this.user));
	}

	say(command, headers, body = "") {
		const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
		this.socket.send(`${command}\n${lines.join("")}\n${body}\0`);
	}
}

function parse(frame) {
	const [head, body] = frame.split("\n\n", 2);
	const [command, ...lines] = head.split("\n");
	const headers = lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1)]);
	return { command, headers: Object.fromEntries(headers), body };
}

/**
 * A client of one user. connectHeaders is called for each connection. What the
 * library reports stands in the diary. Further options are the library's; early
 * is what the client says before it logs in.
 */
export class STOMPClient {
	diary = new Diary();
	waiting = new Set(); // for receipts
	take = () => {};

	constructor(url, connectHeaders, { early = [], ...options } = {}) {
		const { diary } = this;
		this.client = new Client({
			reconnectDelay: 100,
			heartbeatIncoming: beat,
			heartbeatOutgoing: beat,
			heartbeatToleranceMultiplier: 6, // of a machine that is busy
			webSocketFactory: () => {
				const socket = new WebSocket(url, ["v12.stomp", "v11.stomp", "v10.stomp"]);
				// Before the library's own handler, which logs in.
				socket.addEventListener("open", () => early.forEach((text) => socket.send(text)));
				return socket;
			},
			beforeConnect: (client) => {
				client.connectHeaders = connectHeaders();
			},
			onConnect: () => {
				this.client.subscribe(destination, ({ body }) => this.take(body));
				diary.note("connect");
			},
			onStompError: ({ headers }) => diary.note("error", headers.message),
			onHeartbeatReceived: () => diary.note("beat"),
			onHeartbeatLost: () => diary.note("beat lost"),
			onWebSocketClose: ({ code }) => {
				this.waiting.forEach((giveUp) => giveUp(new Error("closed")));
				this.waiting.clear();
				diary.note("close", code);
			},
			...options,
		});
		this.client.activate();
	}

	/** Resolves when the server has sent the receipt. */
	say(text) {
		return new Promise((resolve, reject) => {
			this.waiting.add(reject);
			this.client.watchForReceipt(text, resolve); // throws when not connected
			this.client.publish({ destination, body: text, headers: { receipt: text } });
		});
	}

	listen(take) {
		this.take = take;
	}

	close() {
		return this.client.deactivate({ force: true });
	}
}
