// Everything that a test needs: issuer, legacy app, Caddy between, browser.

import assert from "node:assert/strict";

import { startBackend } from "./backend.js";
import { launchBrowser } from "./browser.js";
import { logFilter, startCaddy } from "./caddy.js";
import { startIssuer } from "./issuer.js";
import { freePorts } from "./listen.js";

/** The cookie that carries a token below /cookie and /listed. */
export const cookie = "session";

/**
 * Starts everything. The same site is at stack.http and stack.https; the path's
 * first element chooses the gate (see gates), the rest is the app's. Any other
 * path is an empty page. stack.elsewhere is another origin with such a page.
 */
export async function startStack() {
	const [plain, secure, elsewhere] = await freePorts(3);
	const stack = new Stack();
	try {
		stack.http = `http://localhost:${plain}`;
		stack.https = `https://localhost:${secure}`;
		stack.elsewhere = `http://localhost:${elsewhere}`;
		stack.issuer = await startIssuer();
		stack.backend = await startBackend();
		stack.caddy = await startCaddy(caddyfile(stack));
		await stack.caddy.logged(({ msg }) => msg === "certificate obtained successfully");
		stack.browser = await launchBrowser();
		stack.context = await stack.browser.newContext();
	} catch (error) {
		await stack.close();
		throw error;
	}
	return stack;
}

class Stack {
	pages = new Map();

	/** Resolves to an empty page of one of the origins, the same each time. */
	page(origin) {
		if (!this.pages.has(origin)) {
			this.pages.set(origin, this.newPage(origin));
		}
		return this.pages.get(origin);
	}

	async newPage(origin) {
		const page = await this.context.newPage(); // all pages share cookies
		await page.goto(origin);
		return page;
	}

	/** The URL of a socket at one of the origins. */
	socket(origin, path) {
		return `${origin.replace("http", "ws")}${path}`;
	}

	async close() {
		await this.browser?.close();
		await this.caddy?.stop();
		this.backend?.close();
		this.issuer?.close();
	}

	/** Fails if any token that was issued can be read in Caddy's output. */
	assertNoTokenLogged() {
		const { text } = this.caddy;
		assert.match(text, /"user_id"/, "the log is empty");
		for (const token of this.issuer.issued) {
			// Its end is in every form that does not encode it.
			assert.ok(!text.includes(token.split(".")[2]), "a token stands in the log");
		}
	}
}

/** The gates, by the first element of the path. */
function gates({ elsewhere }) {
	return {
		status: "reject status",
		close: "reject close",
		forms: `
			from subprotocol bearer kubernetes phoenix jupyter appsync openai-insecure-api-key.* bare
			from query`,
		cookie: `
			from cookie ${cookie}
			reject close`,
		listed: `
			from cookie ${cookie}
			origins ${elsewhere}
			reject close`,
		scope: `
			require scope admin
			reject close`,
		limited: "max_session 2s",
	};
}

function caddyfile(stack) {
	const { http, https, elsewhere, issuer, backend } = stack;
	const handles = Object.entries(gates(stack)).map(([name, words]) => `
	handle_path /${name}/* {
		websocket_auth {
			verify jwt ${issuer.keysURL} {
				issuer ${issuer.url}
				audience ${issuer.audience}
			}
			${words}
		}
		reverse_proxy ${backend.address} {
			header_up X-User {http.auth.user.id}
			header_up X-Room {http.websocket_auth.claims.room}
			stream_close_delay 1h
		}
	}`);
	return `
{
	admin off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	storage file_system storage
	log default {
		${logFilter}
	}
}

(page) {
	header Content-Type "text/html; charset=utf-8"
	respond "<!doctype html><title>e2e</title>"
}

(site) {
	bind 127.0.0.1
	log {
		${logFilter}
	}
	${handles.join("")}
	handle {
		import page
	}
}

${http} {
	import site
}

${https} {
	tls internal
	import site
}

${elsewhere} {
	bind 127.0.0.1
	import page
}
`;
}
