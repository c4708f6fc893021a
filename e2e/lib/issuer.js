// A token issuer as far as a gate knows it: a key set at a URL, and tokens
// signed with its key.

import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { createServer } from "node:http";

import { listen } from "./listen.js";

const audience = "chat";
const keyID = "e2e";

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Starts an issuer on any free port of this machine. */
export async function startIssuer() {
	const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
	const keys = JSON.stringify({
		keys: [{ ...publicKey.export({ format: "jwk" }), kid: keyID, alg: "RS256", use: "sig" }],
	});
	const server = createServer((request, response) => {
		if (request.url !== "/jwks.json") {
			response.writeHead(404).end();
			return;
		}
		response.writeHead(200, { "Content-Type": "application/jwk-set+json" }).end(keys);
	});
	const url = `http://127.0.0.1:${await listen(server)}`;
	return new Issuer(url, server, privateKey);
}

class Issuer {
	constructor(url, server, privateKey) {
		this.url = url;
		this.keysURL = `${url}/jwks.json`;
		this.audience = audience;
		this.issued = []; // every token, so that a test can look for them in logs
		this.server = server;
		this.privateKey = privateKey;
	}

	/**
	 * Issues a token to user that lives for so many seconds, a fraction
	 * included. Further claims replace the usual ones.
	 * @returns {{token: string, expires: number}} expires in milliseconds, as
	 *   Date.now() has them
	 */
	issue(user, lifetime, claims = {}) {
		const now = Date.now() / 1000;
		const payload = {
			iss: this.url, aud: audience, sub: user, jti: randomUUID(),
			iat: Math.floor(now), exp: now + lifetime, scope: "chat", ...claims,
		};
		const signed = `${base64url({ alg: "RS256", typ: "JWT", kid: keyID })}.${base64url(payload)}`;
		const token = `${signed}.${sign("sha256", signed, this.privateKey).toString("base64url")}`;
		this.issued.push(token);
		return { token, expires: payload.exp * 1000 };
	}

	close() {
		this.server.close();
		this.server.closeAllConnections();
	}
}
