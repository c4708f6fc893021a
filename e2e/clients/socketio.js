// socket.io and socket.io-client.

import { Server } from "socket.io";
import { io } from "socket.io-client";

import { startApp, subjectOf, userOf } from "./app.js";

/** How long a client waits for an acknowledgement, in milliseconds. */
const patience = 5000;

/** Namespaces that are there to be joined with a new token. */
const renewals = /^\/token-\d+$/;

/**
 * Starts a Socket.IO server. It knows its users by X-User, or, where the gate
 * has connected it before the login, by the token that it is handed on; it
 * checks none.
 */
export function startSocketIO() {
	return startApp((server, app) => {
		app.renewals = [];
		app.admins = [];
		const service = new Server(server, {
			pingInterval: 300, pingTimeout: 3000, connectTimeout: 3000, serveClient: false,
		});
		service.engine.on("connection", ({ transport }) => {
			// Else a client that polls no more keeps the process for 30 s.
			transport.closeTimeout = 1000;
		});
		service.on("connection", (socket) => serve(socket, app));
		service.of(renewals).on("connection", ({ handshake }) => app.renewals.push(handshake.auth));
		service.of("/admin").on("connection", ({ handshake }) => app.admins.push(handshake.auth));
		return { close: () => service.close() };
	});
}

async function serve(socket, app) {
	const { auth } = socket.handshake;
	app.logins.push(auth);
	const user = auth.token ? subjectOf(auth.token) : userOf(socket.handshake);
	socket.on("say", (text, acknowledge) => {
		app.up.received(user, text);
		acknowledge();
	});
	for await (const text of app.ticks(user)) {
		if (!socket.connected) {
			return;
		}
		socket.emit("tick", text);
	}
}

/** A client of one user, which comes back fast. */
export class SocketIOClient {
	/** The library's reasons for which the socket has ended. */
	ends = [];
	/** The errors with which it has told that it does not get in. */
	refusals = [];
	renewals = 0;

	constructor(url, options) {
		this.socket = io(url, { forceNew: true, reconnectionDelay: 50, randomizationFactor: 0, ...options });
		this.socket.on("disconnect", (reason) => this.ends.push(reason));
		this.socket.on("connect_error", (error) => this.refusals.push(error));
		/** Resolves when polling has given way to a WebSocket. */
		this.upgraded = new Promise((resolve) => {
			this.socket.io.once("open", () => this.socket.io.engine.once("upgrade", resolve));
		});
	}

	/** Resolves when the socket is connected. */
	connects() {
		return new Promise((resolve) => (this.socket.connected ? resolve() : this.socket.once("connect", resolve)));
	}

	/** Resolves to the next error with which it does not get in. */
	isRefused() {
		return new Promise((resolve) => this.socket.once("connect_error", resolve));
	}

	/** Resolves when the server has acknowledged. */
	async say(text) {
		await this.connects();
		await this.socket.timeout(patience).emitWithAck("say", text);
	}

	/**
	 * Hands in a new token on the open connection: joins a namespace with it. It
	 * is one that was not joined yet, because a server closes the connection if
	 * a namespace is left and joined again in one breath.
	 */
	async renew() {
		const { io: manager, auth } = this.socket;
		const namespace = manager.socket(`/token-${++this.renewals}`, { auth });
		await new Promise((resolve) => namespace.once("connect", resolve));
	}

	listen(take) {
		this.socket.on("tick", take);
	}

	close() {
		this.socket.io.disconnect();
	}
}
