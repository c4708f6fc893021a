// The ways in which a browser can send a token: what to do, and how that looks
// in a program. Nothing here is specific to Caddy; the calls are those that
// any page would make.

const chat = `ws://${location.host}/chat`;

// urls are where the chat is, by what happens when a token ends.
const urls = { close: chat, renew: `${chat}/renew`, every: `${chat}/every` };

export const carriers = {
	bearer: {
		label: "as subprotocol, after the word bearer",
		call: 'const socket = new WebSocket(url, ["bearer", token]);',
		open: async (url, token) => new WebSocket(url, ["bearer", token]),
	},
	bare: {
		label: "as subprotocol, alone",
		call: "const socket = new WebSocket(url, token);",
		open: async (url, token) => new WebSocket(url, token),
	},
	query: {
		label: "in the query",
		call: "const socket = new WebSocket(`${url}?access_token=${token}`);",
		open: async (url, token) => new WebSocket(`${url}?${new URLSearchParams({ access_token: token })}`),
	},
	cookie: {
		label: "in a cookie",
		call: "// the login has set an HttpOnly cookie\nconst socket = new WebSocket(url);",
		open: async (url, token) => {
			const headers = { Authorization: `Bearer ${token}` };
			await ask("token/cookie", { method: "POST", headers });
			return new WebSocket(url);
		},
	},
	first: {
		label: "in the first message",
		call: "const socket = new WebSocket(url);\n" +
			'socket.onopen = () =>\n\tsocket.send(JSON.stringify({ type: "auth", token }));',
		open: openWithout,
		late: true, // the handshake has no token
		ending: "renew", // the only one that there is
	},
	every: {
		label: "in every message",
		call: "const socket = new WebSocket(url);\n" +
			"socket.onopen = () =>\n\tsocket.send(JSON.stringify({ token }));\n" +
			"// and then\nsocket.send(JSON.stringify({ text, token }));",
		open: openWithout,
		late: true,
		ending: "renew",
		renews: false, // each message does
	},
	none: {
		label: "not at all",
		call: "const socket = new WebSocket(url);",
		open: openWithout,
		late: true,
		renews: false,
	},
};

// renewal is how the token is renewed, whichever way it came first.
const renewal = '// before the end, or soon after it\nsocket.send(JSON.stringify({ type: "auth", token: fresh }));';

/** Returns the program for a carrier and what is to happen in the end. */
export function callOf(name, ending) {
	const { call, renews = true } = carriers[name];
	return ending === "renew" && renews ? `${call}\n${renewal}` : call;
}

/** Opens a socket to the chat. */
export function open(name, ending, token) {
	return carriers[name].open(urls[name === "every" ? name : ending], token);
}

async function openWithout(url) {
	await ask("token/cookie", { method: "DELETE" });
	return new WebSocket(url);
}

/** Does a request, and fails with what the answer says unless it is good. */
export async function ask(path, options) {
	const response = await fetch(path, options);
	if (!response.ok) {
		throw new Error(await response.text());
	}
	return response;
}

/** Reads a token's claims without believing them; null if it has none. */
export function claimsOf(token) {
	try {
		const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
		const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
		return JSON.parse(new TextDecoder().decode(bytes));
	} catch {
		return null;
	}
}
