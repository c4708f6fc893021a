// The phoenix client, and a server that speaks as much of Phoenix Channels
// (protocol version 2.0.0) as a chat needs.

import { Socket } from "phoenix";
import WebSocket, { WebSocketServer } from "ws";

import { startApp, userOf } from "./app.js";

/** The topic that all talk in. */
const room = "room:1";

/** How long a client waits for an answer, in milliseconds. */
const patience = 2000;

/** Starts a Phoenix server that knows no tokens. */
export function startPhoenix() {
	return startApp((server, app) => {
		app.renewals = [];
		app.heartbeats = 0;
		const handleProtocols = (offered) => (offered.has("phoenix") ? "phoenix" : false);
		const endpoint = new WebSocketServer({ server, path: "/socket/websocket", handleProtocols });
		endpoint.on("connection", (socket, request) => {
			const user = userOf(request);
			socket.on("message", (data) => answer(app, user, socket, JSON.parse(data)));
		});
	});
}

function answer(app, user, socket, [joinRef, ref, topic, event, payload]) {
	const send = (...message) => socket.send(JSON.stringify(message));
	const reply = (response) => send(joinRef, ref, topic, "phx_reply", { status: "ok", response });
	switch (event) {
		case "heartbeat":
			app.heartbeats++;
			return reply({});
		case "phx_join":
			app.logins.push(payload);
			reply({});
			return app.pushTicks(user, socket, (text) => send(joinRef, null, topic, "tick", { text }));
		case "say":
			app.up.received(user, payload.text);
			return reply({});
		case "access_token":
			app.renewals.push(payload); // has no reply
			return undefined;
		case "phx_leave":
			return reply({});
		default:
			return send(joinRef, ref, topic, "phx_reply", { status: "error", response: { reason: "unmatched" } });
	}
}

/**
 * A client of one user. params() goes into the URL, and join() into the join,
 * of each connection; options are more of the library's.
 */
export class PhoenixClient {
	/** The codes with which the socket was closed. */
	closes = [];
	/** The responses to joins that were refused. */
	refusals = [];
	joins = 0;

	constructor(url, { params, join, ...options }) {
		this.socket = new Socket(url, { params, transport: WebSocket, timeout: patience, heartbeatIntervalMs: 500, ...options });
		/** Resolves when the socket is closed for the first time. */
		this.closed = new Promise((resolve) => this.socket.onClose(resolve));
		this.socket.onClose(({ code }) => this.closes.push(code));
		this.socket.connect();
		this.channel = this.socket.channel(room, join);
		/** Resolves when a join has succeeded. */
		this.joined = new Promise((resolve) => {
			this.channel.join()
				.receive("ok", () => { this.joins++; resolve(); })
				.receive("error", (response) => this.refusals.push(response));
		});
	}

	/** Resolves when the server has answered. */
	say(text) {
		return this.push("say", { text });
	}

	push(event, payload) {
		return new Promise((resolve, reject) => {
			this.channel.push(event, payload, patience)
				.receive("ok", resolve).receive("error", reject).receive("timeout", reject);
		});
	}

	/** Renews the token of the open socket, as Supabase's client does it. */
	renew(token) {
		this.channel.push("access_token", { access_token: token });
	}

	listen(take) {
		this.channel.on("tick", ({ text }) => take(text));
	}

	close() {
		return new Promise((resolve) => this.socket.disconnect(resolve));
	}
}
