// subscriptions-transport-ws, server and client: the protocol graphql-ws, which
// is not that of the package with this name.

import { execute, subscribe } from "graphql";
import transport from "subscriptions-transport-ws";
import WebSocket from "ws";

import { startApp, userOf } from "./app.js";
import { sayQuery, schemaOf, ticksQuery } from "./graphql_schema.js";

/** How often the server gives a sign of life, in milliseconds. */
const keepAlive = 500;

/** Starts a GraphQL server that knows no tokens. */
export function startGraphQLLegacy() {
	return startApp((server, app) => new transport.SubscriptionServer({
		schema: schemaOf(app),
		execute,
		subscribe,
		keepAlive,
		onConnect: (params, _, { request }) => {
			app.logins.push(params);
			return { user: userOf(request) };
		},
	}, { server }));
}

/** A client of one user. token is called for each connection. */
export class GraphQLLegacyClient {
	/** What the library has told its connectionCallback, in order. */
	answers = [];

	constructor(url, token) {
		this.client = new transport.SubscriptionClient(url, {
			reconnect: true,
			connectionParams: async () => ({ device: "e2e", token: token() }),
			connectionCallback: (error) => this.answers.push(error),
		}, WebSocket);
		this.client.onDisconnected(() => { this.ready = this.connects(); });
		this.client.onError(() => {});
		this.ready = this.connects();
	}

	connects() {
		return new Promise((resolve) => {
			this.client.onConnected(resolve);
			this.client.onReconnected(resolve);
		});
	}

	/** Resolves when the server has executed a mutation. */
	async say(text) {
		await this.ready; // before, the library would open a second socket
		return new Promise((resolve, reject) => {
			this.client.request({ query: sayQuery, variables: { text } }).subscribe({
				next: ({ data, errors }) => (data?.say === text ? resolve() : reject(errors)),
				error: reject,
			});
		});
	}

	/** Subscribes. */
	listen(take) {
		this.client.request({ query: ticksQuery }).subscribe({ next: ({ data }) => take(data.ticks) });
	}

	close() {
		this.client.close();
	}
}
