// A legacy WebSocket app: it knows nothing of tokens and believes its X-User
// header. What it saw of each user is there for tests to look at.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

import { WebSocketServer } from "ws";

import { listen } from "./listen.js";

// Random, because a browser would have to unpack gigabytes of what else is kept
// small by permessage-deflate.
const floodMessage = randomBytes(16 << 10);

/** How the app behaves, by path. */
const behaviours = {
	"/echo": (socket) => socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })),
	"/mute": (socket) => socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })),
	"/sink": () => {},
	"/flood": flood,
};

/** How many messages the page may be behind, and how many each "ack" is for. */
const window = 64;
export const ackEach = 16;

/**
 * Sends as fast as the page takes it. What a page has not taken yet lies in
 * megabytes of buffers in front of a close frame, and a page on a busy machine
 * needs many seconds for them: hence a window.
 */
function flood(socket) {
	let credit = window;
	const next = (error) => {
		if (!error && credit > 0 && socket.readyState === socket.OPEN) {
			credit--;
			// Not at once: incoming messages must get their turn, too.
			socket.send(floodMessage, (failed) => setImmediate(next, failed));
		}
	};
	socket.on("message", (data, isBinary) => {
		if (!isBinary) {
			credit += ackEach;
			if (credit === ackEach) {
				next();
			}
		}
	});
	next();
}

/** Starts the app on any free port of this machine. */
export async function startBackend() {
	const server = createServer((_, response) => response.writeHead(404).end());
	const backend = new Backend(server);
	backend.address = `127.0.0.1:${await listen(server)}`;
	return backend;
}

class Backend {
	constructor(server) {
		this.server = server;
		this.sessions = new Map();
		const options = { noServer: true, perMessageDeflate: true };
		// ws answers the first protocol that is offered, unless it is told
		// to answer none, as many a legacy app does.
		this.talking = new WebSocketServer(options);
		this.mute = new WebSocketServer({ ...options, handleProtocols: () => false });
		server.on("upgrade", (...args) => this.upgrade(...args));
	}

	upgrade(request, connection, head) {
		const path = request.url.split("?")[0];
		const behave = behaviours[path];
		if (behave === undefined) {
			connection.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
			return;
		}
		const endpoint = path === "/mute" ? this.mute : this.talking;
		endpoint.handleUpgrade(request, connection, head, (socket) => {
			this.sessions.set(request.headers["x-user"], new Session(request, socket));
			behave(socket);
		});
	}

	/** What the app saw of a user's latest socket; undefined if of none. */
	session(user) {
		return this.sessions.get(user);
	}

	close() {
		this.server.close();
		for (const { socket } of this.sessions.values()) {
			socket.terminate();
		}
		this.server.closeAllConnections();
	}
}

class Session {
	constructor({ url, headers, rawHeaders }, socket) {
		this.headers = headers;
		this.handshake = [url, ...rawHeaders].join("\n");
		this.socket = socket;
		this.received = 0;
		socket.on("message", () => { this.received++; });
		socket.on("error", () => {}); // the close code tells
		/** The code of the close frame; 1006 if the app got none. */
		this.closed = once(socket, "close").then(([code]) => code);
	}
}
