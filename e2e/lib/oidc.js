// A certified OpenID Connect provider, with people who log in at it, and apps
// at which they do. Access tokens are JSON Web Tokens for the app's sockets.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { createServer } from "node:http";

import Provider, { errors } from "oidc-provider";
import { createMemoryAdapter } from "oidc-provider/lib/adapters/memory_adapter.js";

import { freePorts, listen } from "./listen.js";

/** Whom the access tokens are for: their aud, and what apps have to ask for. */
export const audience = "chat";
const resource = "urn:example:chat";

const scope = "openid chat";

/** How long all that the provider gives out lives, in seconds. */
const lifetime = 600;

/** Starts a provider on any free port of this machine. It has no apps yet. */
export async function startProvider() {
	const provider = new OIDC();
	// It leaves its port for a while, and must find it free.
	[provider.port] = await freePorts(1);
	await listen(provider.server, provider.port);
	provider.url = `http://127.0.0.1:${provider.port}`;
	return provider;
}

class OIDC {
	issued = []; // every token, so that a test can look for them in logs
	logouts = []; // what the apps answered to logout tokens, in order
	news = new EventEmitter();
	keys = []; // private, as JWK; the first one signs

	constructor() {
		this.adapter = createMemoryAdapter(0);
		this.cookieKey = randomBytes(32).toString("hex");
		this.newServer();
	}

	/**
	 * Registers the apps.
	 * @param {Object<string, {redirect: string, logout: string, session: boolean}>}
	 *   apps by client id: where people come back to, where the provider says
	 *   that somebody has logged out, and whether it says which session it was
	 */
	register(apps) {
		this.clients = Object.entries(apps).map(([id, app]) => clientOf(id, app));
		this.rotate();
	}

	newServer() {
		this.server = createServer((request, response) => this.serve(request, response));
	}

	/**
	 * Has the provider sign with a fresh key from this moment, without having
	 * announced it. Older keys stay in the key set, for the tokens that are
	 * about. Sessions and grants go on.
	 */
	rotate() {
		const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
		this.keys.unshift({ ...privateKey.export({ format: "jwk" }), kid: randomUUID(), alg: "RS256", use: "sig" });
		// A provider reads its keys when it starts.
		this.provider = new Provider(this.url, this.configuration());
		this.provider.on("backchannel.success", () => this.heard(200));
		this.provider.on("backchannel.error", (_, { response }) => this.heard(response?.status ?? 0));
		this.provider.on("server_error", (_, error) => console.error(error));
		this.callback = this.provider.callback();
	}

	heard(status) {
		this.logouts.push(status);
		this.news.emit("logout");
	}

	/** Stops answering, and drops all connections. */
	async down() {
		const gone = once(this.server, "close");
		this.close();
		await gone;
	}

	/** Answers again, at the same address. */
	async up() {
		this.newServer();
		await listen(this.server, this.port);
	}

	close() {
		this.server.close();
		this.server.closeAllConnections();
	}

	configuration() {
		return {
			adapter: this.adapter,
			clients: this.clients,
			cookies: { keys: [this.cookieKey] },
			jwks: { keys: this.keys },
			scopes: ["openid"],
			ttl: Object.fromEntries(
				["AccessToken", "Grant", "IdToken", "Interaction", "RefreshToken", "Session"].map((kind) => [kind, lifetime])),
			interactions: { url: (_, { uid }) => `/login/${uid}` },
			features: {
				devInteractions: { enabled: false },
				backchannelLogout: { enabled: true },
				rpInitiatedLogout: { enabled: true, logoutSource: askForLogout, postLogoutSuccessSource: sayLoggedOut },
				resourceIndicators: { enabled: true, getResourceServerInfo },
			},
			findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
			// The apps are the provider's own, so nobody is asked for consent.
			loadExistingGrant,
			issueRefreshToken: () => true,
			// Access tokens name the session at the provider as logout tokens do.
			extraTokenClaims: ({ oidc: { entities } }) => {
				const { sid } = entities.AuthorizationCode ?? entities.RefreshToken;
				return sid === undefined ? {} : { sid };
			},
			fetch: (url, options) => this.tell(url, options),
		};
	}

	/** Sends a logout token. The provider's own fetch refuses this machine. */
	tell(url, { method, headers, body, redirect, signal }) {
		this.issued.push(body.get("logout_token"));
		return fetch(url, { method, headers, body, redirect, signal });
	}

	/** The page on which people log in, and the rest, which is the provider's. */
	async serve(request, response) {
		if (!request.url.startsWith("/login/")) {
			this.callback(request, response);
			return;
		}
		if (request.method === "GET") {
			response.setHeader("Content-Type", "text/html; charset=utf-8");
			response.end(loginPage);
			return;
		}
		let form = "";
		for await (const chunk of request) {
			form += chunk;
		}
		const login = { accountId: new URLSearchParams(form).get("user") };
		await this.provider.interactionFinished(request, response, { login });
	}

	/**
	 * Logs user in at an app, in a browser's context: by a form, or without a
	 * question where the context has a session at the provider.
	 */
	async login(context, app, user) {
		const { redirect_uris: [redirect] } = this.clients.find(({ client_id: id }) => id === app);
		const verifier = randomBytes(32).toString("base64url");
		const query = new URLSearchParams({
			client_id: app, redirect_uri: redirect, response_type: "code", scope, resource, prompt: "login",
			code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
		});
		const page = await context.newPage();
		await page.goto(`${this.url}/auth?${query}`);
		await page.getByLabel("User").fill(user);
		await page.getByRole("button", { name: "Log in" }).click();
		await page.waitForURL((url) => url.href.startsWith(redirect));
		const code = new URL(page.url()).searchParams.get("code");
		await page.close();
		assert.ok(code, "the provider has sent nobody back");
		return new Login(this, context, app, await this.exchange(app, {
			grant_type: "authorization_code", code, redirect_uri: redirect, code_verifier: verifier,
		}));
	}

	/** Asks the token endpoint, as the app's server does. */
	async exchange(app, grant) {
		const { client_secret: secret } = this.clients.find(({ client_id: id }) => id === app);
		const response = await fetch(`${this.url}/token`, {
			method: "POST", body: new URLSearchParams({ ...grant, resource }),
			headers: { Authorization: `Basic ${Buffer.from(`${app}:${secret}`).toString("base64")}` },
		});
		const answer = await response.json();
		assert.equal(response.status, 200, `${answer.error}: ${answer.error_description}`);
		this.issued.push(answer.access_token, answer.id_token);
		return answer;
	}

	/** Resolves to the answers to logout tokens, when there are so many. */
	async answers(count) {
		while (this.logouts.length < count) {
			await once(this.news, "logout");
		}
		return this.logouts;
	}
}

/** What an app has got from a login. */
class Login {
	constructor(provider, context, app, tokens) {
		Object.assign(this, { provider, context, app, tokens, token: tokens.access_token });
	}

	/** The claims of the access token. */
	get claims() {
		return claimsOf(this.token);
	}

	/** Resolves to one more access token of this login. */
	async another() {
		const grant = { grant_type: "refresh_token", refresh_token: this.tokens.refresh_token };
		const tokens = await this.provider.exchange(this.app, grant);
		this.tokens = { ...this.tokens, ...tokens };
		return tokens.access_token;
	}

	/** Logs the person out at the provider, as its page asks them to. */
	async logout() {
		const page = await this.context.newPage();
		const query = new URLSearchParams({ id_token_hint: this.tokens.id_token });
		await page.goto(`${this.provider.url}/session/end?${query}`);
		await page.getByRole("button", { name: "Log out" }).click();
		await page.getByText("You are logged out").waitFor();
		await page.close();
	}
}

/** Reads a token's claims. */
export function claimsOf(token) {
	return JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
}

/** Reads the id of the key with which a token was signed. */
export function keyOf(token) {
	return JSON.parse(Buffer.from(token.split(".")[0], "base64url")).kid;
}

function clientOf(id, { redirect, logout, session }) {
	return {
		client_id: id, client_secret: randomBytes(32).toString("hex"), redirect_uris: [redirect],
		grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
		backchannel_logout_uri: logout, backchannel_logout_session_required: session,
	};
}

function getResourceServerInfo(_, indicator) {
	if (indicator !== resource) {
		throw new errors.InvalidTarget();
	}
	return { scope: "chat", audience, accessTokenTTL: lifetime, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } };
}

async function loadExistingGrant({ oidc: { provider, client, session } }) {
	const known = session.grantIdFor(client.clientId);
	if (known) {
		return provider.Grant.find(known);
	}
	const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
	grant.addOIDCScope("openid");
	grant.addResourceScope(resource, "chat");
	await grant.save();
	return grant;
}

const loginPage = `<!doctype html><title>Log in</title>
<form method="post"><label>User <input name="user"></label><button>Log in</button></form>`;

function askForLogout(ctx, form) {
	ctx.body = `<!doctype html><title>Log out</title>${form}
<button form="op.logoutForm" name="logout" value="yes">Log out</button>`;
}

function sayLoggedOut(ctx) {
	ctx.body = "<!doctype html><title>Log out</title>You are logged out";
}
