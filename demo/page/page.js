// The demonstration's page: two panes, each of them one person with a token
// and a socket. Nothing here is specific to Caddy; the calls are those that
// any page would make.

const chat = `ws://${location.host}/chat`;

// carriers are the ways in which a browser can send a token with a handshake:
// what to do, and how that looks in a program.
const carriers = {
	bearer: {
		label: "as subprotocol, after the word bearer",
		call: 'new WebSocket(url, ["bearer", token])',
		open: async (token) => new WebSocket(chat, ["bearer", token]),
	},
	bare: {
		label: "as subprotocol, alone",
		call: "new WebSocket(url, token)",
		open: async (token) => new WebSocket(chat, token),
	},
	query: {
		label: "in the query",
		call: "new WebSocket(`${url}?access_token=${token}`)",
		open: async (token) => new WebSocket(`${chat}?${new URLSearchParams({ access_token: token })}`),
	},
	cookie: {
		label: "in a cookie",
		call: "new WebSocket(url) // the login has set an HttpOnly cookie",
		open: async (token) => {
			const headers = { Authorization: `Bearer ${token}` };
			await ask("token/cookie", { method: "POST", headers });
			return new WebSocket(chat);
		},
	},
	none: {
		label: "not at all",
		call: "new WebSocket(url)",
		open: async () => {
			await ask("token/cookie", { method: "DELETE" });
			return new WebSocket(chat);
		},
	},
};

// meanings say what a close code asks of the person; anything else is an
// ordinary end.
const meanings = {
	1000: "You have hung up.",
	1001: "Caddy has been stopped.",
	1005: "You have hung up.",
	1006: "No close frame came: the server is gone, or the handshake was refused.",
	1013: "The gate could not tell whether the token is good. Try again in a moment.",
	3000: "Take a fresh token and connect again.",
	3003: "This token is good, but not for this.",
};

async function ask(path, options) {
	const response = await fetch(path, options);
	if (!response.ok) {
		throw new Error(await response.text());
	}
	return response;
}

// claimsOf reads a token's claims without believing them; null if it has none.
function claimsOf(token) {
	try {
		const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
		const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
		return JSON.parse(new TextDecoder().decode(bytes));
	} catch {
		return null;
	}
}

class Pane {
	constructor(user) {
		const content = document.getElementById("pane").content.cloneNode(true);
		this.root = content.querySelector(".pane");
		this.root.dataset.pane = user;
		this.parts = {};
		for (const element of content.querySelectorAll("[data-part]")) {
			this.parts[element.dataset.part] = element;
		}
		this.user = this.parts.take.elements.user;
		this.token = this.parts.take.elements.token;
		this.carrier = this.parts.open.elements.carrier;
		this.text = this.parts.say.elements.text;
		this.socket = null;

		this.user.value = user;
		for (const [name, { label }] of Object.entries(carriers)) {
			this.carrier.add(new Option(label, name));
		}
		this.listen();
		this.showUser();
		this.showCall();
		document.querySelector("main").append(content);
		setInterval(() => this.showCountdown(), 250);
	}

	listen() {
		const on = (part, type, action) => this.parts[part].addEventListener(type, (event) => {
			event.preventDefault();
			Promise.resolve(action()).catch((error) => this.say("problem", error.message));
		});
		on("take", "submit", () => this.takeToken());
		on("open", "submit", () => this.connect());
		on("disconnect", "click", () => this.socket.close(1000));
		on("say", "submit", () => this.send());
		this.user.addEventListener("change", () => this.showUser());
		this.carrier.addEventListener("change", () => this.showCall());
		this.token.addEventListener("input", () => this.showCountdown());
	}

	async takeToken() {
		const form = new FormData(this.parts.take);
		form.delete("token");
		const response = await ask("token", { method: "POST", body: new URLSearchParams(form) });
		this.token.value = (await response.json()).access_token;
		this.showCountdown();
	}

	async connect() {
		this.parts.end.hidden = true;
		this.showState("connecting");
		try {
			this.socket = await carriers[this.carrier.value].open(this.token.value.trim());
		} catch (error) {
			this.showState("closed");
			throw error;
		}
		this.socket.addEventListener("open", () => this.showState("open"));
		this.socket.addEventListener("message", ({ data }) => this.receive(JSON.parse(data)));
		this.socket.addEventListener("close", (event) => this.showEnd(event));
	}

	send() {
		if (this.text.value !== "") {
			this.socket.send(this.text.value);
			this.text.value = "";
		}
	}

	receive({ type, from, text, code, request, header }) {
		switch (type) {
		case "welcome":
			this.showHandshake(request, header);
			this.say(type, `the chat calls you ${from}`);
			break;
		case "message":
			this.say(type, text, from);
			break;
		case "joined":
			this.say(type, `${from} has come in`);
			break;
		case "left":
			this.say(type, `${from} has left; the chat saw close code ${code}`);
			break;
		}
	}

	// say adds a line to the log and keeps the end of it in view.
	say(type, text, from) {
		const line = document.createElement("li");
		line.dataset.type = type;
		line.classList.toggle("problem", type === "problem");
		if (from) {
			const name = document.createElement("b");
			name.textContent = from;
			line.append(name);
		}
		line.append(text);
		this.parts.log.append(line);
		this.parts.log.scrollTop = this.parts.log.scrollHeight;
	}

	showUser() {
		this.parts.title.textContent = this.user.value;
		this.root.setAttribute("aria-label", this.user.value);
	}

	showCall() {
		this.parts.call.textContent = carriers[this.carrier.value].call;
	}

	showState(state) {
		const words = { closed: "not connected", connecting: "connecting", open: "connected", ended: "ended" };
		this.parts.state.dataset.state = state;
		this.parts.state.textContent = words[state];
		const open = state === "open";
		this.parts.connect.disabled = open || state === "connecting";
		this.parts.disconnect.disabled = !open;
		this.parts.send.disabled = !open;
		this.text.disabled = !open;
	}

	showCountdown() {
		const claims = claimsOf(this.token.value);
		const left = claims === null ? NaN : claims.exp - Date.now() / 1000;
		const over = left <= 0;
		this.parts.progress.value = left > 0 ? left / (claims.exp - claims.iat) || 0 : 0;
		this.parts.countdown.parentElement.toggleAttribute("data-over", over);
		let text = this.token.value === "" ? "no token" : "this is no token";
		if (over) {
			text = `${claims.sub}'s token has ended`;
		} else if (left > 0) {
			const seconds = Math.ceil(left);
			const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
			text = `${claims.sub}'s token ends in ${clock}`;
		}
		this.parts.countdown.textContent = text;
	}

	showHandshake(request, header) {
		const lines = Object.keys(header).sort().map((name) => `${name}: ${header[name].join(", ")}`);
		this.parts.seen.textContent = [request, ...lines].join("\n");
	}

	showEnd({ code, reason, wasClean }) {
		this.socket = null;
		this.showState("ended");
		this.parts.code.textContent = code;
		this.parts.reason.textContent = reason === "" ? "(none)" : reason;
		this.parts.clean.textContent = wasClean;
		this.parts.meaning.textContent = meanings[code] ?? "";
		this.parts.end.toggleAttribute("data-clean", wasClean);
		this.parts.end.hidden = false;
		this.say("ended", `the socket has ended with code ${code}`);
	}
}

for (const user of ["alice", "bob"]) {
	new Pane(user);
}
