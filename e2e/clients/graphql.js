// graphql-ws, server and client: the protocol graphql-transport-ws.

import { createClient } from "graphql-ws";
import { useServer } from "graphql-ws/use/ws";
import WebSocket, { WebSocketServer } from "ws";

import { startApp, userOf } from "./app.js";
import { sayQuery, schemaOf, ticksQuery } from "./graphql_schema.js";

/** Starts a GraphQL server that knows no tokens. */
export function startGraphQL() {
	return startApp((server, app) => {
		useServer({
			schema: schemaOf(app),
			context: ({ extra }) => ({ user: userOf(extra.request) }),
			onConnect: ({ connectionParams }) => { app.logins.push(connectionParams); },
		}, new WebSocketServer({ server, handleProtocols: () => "graphql-transport-ws" }));
	});
}

/**
 * A client of one user. token is called for each connection, as an app's page
 * does it; options are more of the library's.
 */
export class GraphQLClient {
	/** The close events that the library has told of. */
	closes = [];

	constructor(url, token, options = {}) {
		this.client = createClient({
			url,
			webSocketImpl: WebSocket,
			connectionParams: async () => ({ device: "e2e", token: token() }),
			retryWait: async () => {}, // the default waits for seconds
			on: { closed: ({ code, reason }) => this.closes.push({ code, reason }) },
			...options,
		});
	}

	/** Resolves when the server has executed a mutation. */
	say(text) {
		return new Promise((resolve, reject) => {
			this.client.subscribe({ query: sayQuery, variables: { text } }, {
				next: ({ data, errors }) => (data?.say === text ? resolve() : reject(errors)),
				error: reject,
				complete: () => {},
			});
		});
	}

	/** Subscribes; returns a promise that rejects when the library gives up. */
	listen(take) {
		return new Promise((resolve, reject) => {
			this.client.subscribe({ query: ticksQuery }, {
				next: ({ data }) => take(data.ticks),
				error: reject,
				complete: resolve,
			});
		});
	}

	close() {
		return this.client.dispose();
	}
}
