// Gates in front of apps that know nothing of tokens, each at a port of its
// own, with one issuer for all.

import assert from "node:assert/strict";

import { logFilter, startCaddy } from "./caddy.js";
import { startIssuer } from "./issuer.js";
import { freePorts } from "./listen.js";

/** Tests that run side by side, each for so many milliseconds at most. */
export const together = { concurrency: true, timeout: 20_000 };

/**
 * Starts an issuer, and a Caddy with a site for each of gates.
 * @param {Object<string, {app: string, words: string}>} gates by name: the
 *   address of the app behind, and what websocket_auth is told besides whom to
 *   trust
 */
export async function startGates(gates) {
	const [admin, ...ports] = await freePorts(Object.keys(gates).length + 1);
	const started = new Gates();
	started.admin = `127.0.0.1:${admin}`;
	try {
		started.issuer = await startIssuer();
		for (const name of Object.keys(gates)) {
			started.hosts.set(name, `127.0.0.1:${ports.shift()}`);
		}
		started.caddy = await startCaddy(caddyfile(started, gates));
	} catch (error) {
		await started.close();
		throw error;
	}
	return started;
}

class Gates {
	hosts = new Map();

	/** The origin of a gate, for clients that want an http URL. */
	origin(name) {
		return `http://${this.hosts.get(name)}`;
	}

	/** The URL of a socket through a gate. */
	socket(name, path = "/") {
		return `ws://${this.hosts.get(name)}${path}`;
	}

	/** Does a request to the admin API, and returns its answer. */
	async manage(method, path) {
		const response = await fetch(`http://${this.admin}/websocket_auth/${path}`, {
			method, headers: { Origin: `http://${this.admin}` },
		});
		assert.equal(response.status, 200, await response.clone().text());
		return response.json();
	}

	/** Issues a token to user that lives for so many seconds. */
	token(user, lifetime, claims) {
		return this.issuer.issue(user, lifetime, claims).token;
	}

	/** A token to user that has been changed, so that its signature is wrong. */
	badToken(user) {
		const [header, , signature] = this.token(user, 60).split(".");
		const [, payload] = this.token(user, 61).split(".");
		return [header, payload, signature].join(".");
	}

	/** Resolves when so many of user's sockets have ended in this way. */
	ended(user, end, times = 1) {
		const { caddy } = this;
		return caddy.first(() => {
			const ends = caddy.lines.filter((line) => line.includes('"websocket_end"')).map((line) => JSON.parse(line))
				.filter((entry) => entry.user_id === user && entry.websocket_end === end);
			return ends.length >= times ? ends : undefined;
		});
	}

	/** Fails if any token that was issued can be read in Caddy's output. */
	assertNoTokenLogged() {
		const { text } = this.caddy;
		assert.match(text, /"logger": ?"http\.log\.access/, "the log is empty");
		for (const token of this.issuer.issued) {
			assert.ok(!text.includes(token.split(".")[2]), "a token stands in the log");
		}
	}

	async close() {
		await this.caddy?.stop();
		this.issuer?.close();
	}
}

function caddyfile({ hosts, issuer, admin }, gates) {
	const sites = Object.entries(gates).map(([name, { app, words }]) => `
http://${hosts.get(name)} {
	bind 127.0.0.1
	log {
		${logFilter}
	}
	websocket_auth {
		verify jwt ${issuer.keysURL} {
			issuer ${issuer.url}
			audience ${issuer.audience}
		}
		${words}
	}
	reverse_proxy ${app} {
		header_up X-User {http.auth.user.id}
		header_up X-Session {http.websocket_auth.session}
		stream_close_delay 1h
	}
}`);
	return `
{
	admin ${admin}
	persist_config off
	grace_period 1s
	log default {
		${logFilter}
	}
}
${sites.join("\n")}
`;
}
