// Four protocols that somebody might have made up in-house, each with the words
// that teach it to the gate. read tells what a message is, on both sides; the
// other functions make one.

/** The json dialect without a word: objects with a type, the client first. */
const objects = {
	words: `
		from first_message
		dialect json`,
	codes: { refused: 3000, timeout: 3008 },
	login: (token) => ({ type: "auth", token }),
	say: (id, text) => ({ type: "say", id, text }),
	ok: (id) => ({ type: "ok", id }),
	tick: (text) => ({ type: "tick", text }),
	read: ({ type, ...rest }) => ({
		kind: { auth: "login", auth_ok: "accepted", auth_error: "refused", auth_required: "prompt" }[type] ?? type,
		...rest,
	}),
};

/** Pusher's: events, the app first, and codes of its own. */
const events = {
	greets: true,
	words: `
		from first_message {
			early
		}
		dialect json {
			match      /event pusher:signin
			credential /data/token
			pass       forward
			allow_out  /event pusher:connection_established
			accepted   \`{"event":"pusher:signin_success","data":{"user":{subject}}}\`
			refused    \`{"event":"pusher:error","data":{"code":4009,"message":{reason}}}\`
			prompt     \`{"event":"pusher:token_expires","data":{"in":{expires_in}}}\`
			expired    ""
			code       refused 4009
			code       timeout 4200
		}`,
	codes: { refused: 4009, timeout: 4200 },
	greeting: () => ({ event: "pusher:connection_established", data: JSON.stringify({ socket_id: "1.2" }) }),
	login: (token) => ({ event: "pusher:signin", data: { token } }),
	say: (id, text) => ({ event: "client-say", data: { id, text } }),
	ok: (id) => ({ event: "ok", data: { id } }),
	tick: (text) => ({ event: "tick", data: { text } }),
	read: ({ event, data }) => ({
		kind: {
			"pusher:connection_established": "greeting",
			"pusher:signin": "login",
			"pusher:signin_success": "accepted",
			"pusher:error": "refused",
			"pusher:token_expires": "prompt",
			"client-say": "say",
		}[event] ?? event,
		...data,
		reason: data.message,
	}),
};

/** Remote calls in arrays: a call's kind, its id, and what is called. */
const arrays = {
	words: `
		from first_message
		dialect json {
			match      /0 2
			match      /2 Login
			credential /3/token
			accepted   \`[3,{message.1},{"expires":{expires_at}}]\`
			refused    \`[4,{message.1},{reason}]\`
			prompt     \`[5,"TokenExpires",{expires_in}]\`
			expired    \`[5,"TokenExpired",0]\`
		}`,
	codes: { refused: 3000, timeout: 3008 },
	login: (token) => [2, "login-1", "Login", { token }],
	say: (id, text) => [2, id, "Say", { text }],
	ok: (id) => [3, id, {}],
	tick: (text) => [5, "Tick", text],
	read: ([type, id, what, body]) => {
		switch (type) {
		case 2:
			return what === "Login" ? { kind: "login", ...body } : { kind: "say", id, ...body };
		case 3:
			return id === "login-1" ? { kind: "accepted" } : { kind: "ok", id };
		case 4:
			return { kind: "refused", answers: id, reason: what };
		default:
			return id === "Tick" ? { kind: "tick", text: what } : { kind: "prompt" };
		}
	},
};

/** Lines, of which several may share a frame; one may come before the login. */
const lines = {
	separator: "\n",
	words: `
		from first_message
		dialect json {
			separator  \\n
			match      /op auth
			credential /jwt
			allow      /op hello
			accepted   \`{"op":"welcome","you":{subject},"session":{session}}\`
			refused    \`{"op":"go-away","why":{reason}}\`
			prompt     \`{"op":"auth-please"}\`
			expired    \`{"op":"auth-please"}\`
		}`,
	codes: { refused: 3000, timeout: 3008 },
	hello: () => ({ op: "hello", device: "e2e" }),
	login: (jwt) => ({ op: "auth", jwt }),
	say: (id, text) => ({ op: "say", id, text }),
	ok: (id) => ({ op: "ok", id }),
	tick: (text) => ({ op: "tick", text }),
	read: ({ op, why, ...rest }) => ({
		kind: { auth: "login", welcome: "accepted", "go-away": "refused", "auth-please": "prompt" }[op] ?? op,
		reason: why,
		...rest,
	}),
};

export const protocols = { objects, events, arrays, lines };

/** Puts messages into one frame. */
export function encode({ separator = "" }, ...messages) {
	return messages.map((message) => JSON.stringify(message) + separator).join("");
}

/** Takes a frame apart; returns what its messages are. */
export function decode({ separator, read }, data) {
	const text = String(data);
	const texts = separator ? text.split(separator).filter(Boolean) : [text];
	return texts.map((message) => read(JSON.parse(message)));
}
