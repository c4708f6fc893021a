// SignalR: a server that speaks just enough of the JSON hub protocol, and a
// client built on the library, as Node.js and as browsers have it.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createContext, runInContext } from "node:vm";

import * as node from "@microsoft/signalr";
import { WebSocket, WebSocketServer } from "ws";

import { Diary } from "../lib/diary.js";
import { startApp, userOf } from "./app.js";

const recordEnd = "\x1e";

const type = { invocation: 1, completion: 3, ping: 6 };

/** Starts a server that knows no tokens, but which user has negotiated. */
export function startSignalR() {
	return startApp((server, app) => {
		const negotiated = new Map(); // users, by connection token
		server.removeAllListeners("request");
		server.on("request", (request, response) => {
			const connectionToken = randomUUID();
			negotiated.set(connectionToken, userOf(request));
			app.logins.push({ url: request.url, headers: request.headers });
			response.setHeader("Content-Type", "application/json");
			response.end(JSON.stringify({
				negotiateVersion: 1, connectionId: connectionToken, connectionToken,
				availableTransports: [{ transport: "WebSockets", transferFormats: ["Text", "Binary"] }],
			}));
		});
		const endpoint = new WebSocketServer({ server });
		endpoint.on("connection", (socket, request) => {
			const user = userOf(request);
			const session = request.headers["x-session"];
			const id = new URL(request.url, "http://app").searchParams.get("id");
			app.logins.push({ url: request.url, headers: request.headers });
			if (id !== null && negotiated.get(id) !== user) {
				socket.close(1008, "the connection is another user's");
				return;
			}
			serve(socket, user, session, app);
		});
	});
}

function serve(socket, user, session, app) {
	const say = (record) => socket.send(JSON.stringify(record) + recordEnd);
	const call = (target, text) => say({ type: type.invocation, target, arguments: [text] });
	const methods = {
		say(text) {
			app.up.received(user, text);
			return text;
		},
		listen: () => void app.pushTicks(user, socket, (tick) => call("tick", tick)),
	};
	const answer = {
		[type.invocation]({ invocationId, target, arguments: given }) {
			const result = methods[target](...given);
			if (invocationId !== undefined) {
				say({ type: type.completion, invocationId, result });
			}
		},
		[type.ping]: () => say({ type: type.ping }),
	};
	socket.on("message", (data) => {
		for (const text of data.toString().split(recordEnd).slice(0, -1)) {
			const record = JSON.parse(text);
			if (record.protocol !== undefined) { // the client's handshake
				say({});
				call("session", session);
			} else {
				answer[record.type]?.(record);
			}
		}
	});
}

/**
 * The library by where it runs. Under Node.js it sends the token in a header;
 * in a browser, where sockets have none, in the query. The browser's has
 * nothing here by which it would know Node.js.
 */
export const libraries = { node, browser: loadBrowserLibrary() };

function loadBrowserLibrary() {
	const path = createRequire(import.meta.url).resolve("@microsoft/signalr/dist/browser/signalr.js");
	const page = createContext({
		WebSocket, fetch, AbortController, URL, URLSearchParams, setTimeout, clearTimeout, TextEncoder, TextDecoder,
	});
	page.self = page;
	runInContext(readFileSync(path, "utf8"), page, { filename: path });
	return page.signalR;
}

/**
 * A client of one user. token is called by the library when it needs one, twice
 * for each connection. What the library reports stands in the diary.
 */
export class SignalRClient {
	diary = new Diary();

	constructor(library, url, token) {
		const { HttpTransportType, HubConnectionBuilder, LogLevel } = library;
		this.connection = new HubConnectionBuilder()
			.withUrl(url, { accessTokenFactory: token, transport: HttpTransportType.WebSockets })
			.withAutomaticReconnect([0, 100, 500, 1000])
			.configureLogging(LogLevel.None)
			.build();
		this.connection.keepAliveIntervalInMilliseconds = 300;
		this.connection.serverTimeoutInMilliseconds = 2000;
		this.connection.on("session", (id) => this.diary.note("session", id));
		this.connection.onreconnecting((error) => this.diary.note("reconnecting", error?.message));
		this.connection.onreconnected(() => this.diary.note("reconnected"));
		this.connection.onclose((error) => this.diary.note("close", error?.message));
	}

	/** Resolves when the connection works; rejects with what the library says. */
	start() {
		return this.connection.start();
	}

	/** Subscribes, after each reconnect as well. */
	listen(take) {
		this.connection.on("tick", take);
		const subscribe = () => this.connection.send("listen");
		this.connection.onreconnected(subscribe);
		return subscribe();
	}

	/** Resolves when the server has returned from its method. */
	say(text) {
		return this.connection.invoke("say", text);
	}

	close() {
		return this.connection.stop();
	}
}
