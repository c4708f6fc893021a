// The demonstration's page: two panes, each of them one person with a token
// and a socket.

import { ask, callOf, carriers, claimsOf, open } from "./carriers.js";
import { Account, wordsOf } from "./held.js";
import { Sessions } from "./sessions.js";

// meanings say what a close code or, where it is here, the reason asks of the
// person; anything else is an ordinary end.
const meanings = {
	closed_by_admin: "Whoever looks after the gate has ended this socket. The token is as good as before.",
	revoked: "The token has been revoked. Take a fresh one and connect again.",
	1000: "You have hung up.",
	1001: "Caddy has been stopped.",
	1005: "You have hung up.",
	1006: "No close frame came: the server is gone, or the handshake was refused.",
	1013: "The gate could not tell whether the token is good. Try again in a moment.",
	3000: "Take a fresh token and connect again.",
	3003: "This token is good, but not for this.",
	3008: "No token came in time, or too much was said meanwhile. Take a fresh token and connect again.",
};

const states = {
	closed: "not connected", connecting: "connecting", pending: "not logged in", open: "connected",
	suspended: "suspended", ended: "ended",
};

const panes = [];

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
		this.ending = this.parts.open.elements.ending;
		this.itself = this.parts.renewal.elements.itself;
		this.text = this.parts.say.elements.text;
		this.socket = null;
		this.account = new Account();
		this.every = false; // each message of the socket's carries the token
		this.presented = ""; // the token that was sent last
		this.graceOver = 0; // when a suspended socket ends, in milliseconds

		this.user.value = user;
		for (const [name, { label }] of Object.entries(carriers)) {
			this.carrier.add(new Option(label, name));
		}
		this.listen();
		this.showUser();
		this.showCall();
		this.showState("closed");
		document.querySelector("main").append(content);
		setInterval(() => this.showCountdown(), 250);
	}

	listen() {
		const on = (part, type, action) => this.parts[part].addEventListener(type, (event) => {
			event.preventDefault();
			this.run(action);
		});
		on("take", "submit", () => this.takeToken());
		on("open", "submit", () => this.connect());
		on("disconnect", "click", () => this.socket.close(1000));
		on("renewal", "submit", () => this.renew());
		on("say", "submit", () => this.send());
		this.user.addEventListener("change", () => this.showUser());
		this.carrier.addEventListener("change", () => this.showCall());
		this.ending.addEventListener("change", () => this.showCall());
		this.token.addEventListener("input", () => this.showCountdown());
	}

	// run does something, and says what goes wrong.
	async run(action) {
		try {
			await action();
		} catch (error) {
			this.say("problem", error.message);
		}
	}

	async takeToken() {
		const form = new FormData(this.parts.take);
		form.delete("token");
		const response = await ask("token", { method: "POST", body: new URLSearchParams(form) });
		this.token.value = (await response.json()).access_token;
		this.showCountdown();
	}

	// present returns the token that is to be sent.
	present() {
		this.presented = this.token.value;
		return this.token.value.trim();
	}

	async connect() {
		this.parts.end.hidden = true;
		this.showState("connecting");
		const carrier = this.carrier.value;
		const { late } = carriers[carrier];
		this.every = carrier === "every";
		this.account = new Account();
		try {
			this.socket = await open(carrier, this.ending.value, this.present());
		} catch (error) {
			this.showState("closed");
			throw error;
		}
		this.socket.addEventListener("open", () => {
			this.showState(late ? "pending" : "open");
			if (late && carrier !== "none") {
				this.logIn();
			}
		});
		this.socket.addEventListener("message", ({ data }) => this.receive(data));
		this.socket.addEventListener("close", (event) => this.showEnd(event));
	}

	// logIn sends the token in a message, and so does a renewal.
	logIn() {
		this.transmit(this.every ? {} : { type: "auth", token: this.present() });
	}

	// renew sends the token above, or a fresh one where that is not news.
	async renew() {
		const claims = claimsOf(this.token.value);
		if (this.token.value === this.presented || claims?.exp <= Date.now() / 1000) {
			await this.takeToken();
		}
		this.logIn();
	}

	send() {
		if (this.text.value !== "") {
			this.transmit(this.account.say(this.text.value));
			this.text.value = "";
			this.showHeld();
		}
	}

	transmit(message) {
		const whole = this.every ? { ...message, token: this.present() } : message;
		this.socket?.send(JSON.stringify(whole));
	}

	// receive takes what the gate says by itself, or what the chat says.
	receive(data) {
		const event = JSON.parse(data);
		if (event.type.startsWith("auth_")) {
			this.say("gate", data, "the gate");
			this.obey(event);
			return;
		}
		// Where each message has a token, the gate has no word for its renewal.
		const resumed = this.state === "suspended";
		if (resumed) {
			this.showState("open");
		}
		const { late, expected } = this.account.receive(event);
		if (expected !== 0) {
			this.say("problem", `number ${event.number} has come, and should be ${expected}`);
		}
		if (event.type === "welcome") {
			this.showHandshake(event.request, event.header);
		}
		if (event.type !== "pong") {
			const { text, from } = wordsOf(event);
			this.say(event.type, text, from, late);
		}
		if (event.type === "pong" || resumed) {
			this.account.again().forEach((message) => this.transmit(message));
		}
		panes.forEach((pane) => pane.showHeld());
	}

	// obey does what the gate asks for.
	obey({ type, id, grace }) {
		switch (type) {
		case "auth_ok":
			this.showState("open");
			break;
		case "auth_error":
			this.account.refuse(id);
			this.showHeld();
			break;
		case "auth_expired":
			this.graceOver = Date.now() + grace * 1000;
			this.showState("suspended");
			this.showCountdown();
		}
		if (this.itself.checked && (type === "auth_required" || type === "auth_expired")) {
			this.run(() => this.renew());
		}
	}

	// say adds a line to the log and keeps the end of it in view.
	say(type, text, from, late) {
		const line = lineOf({ text, from });
		line.dataset.type = type;
		line.classList.toggle("problem", type === "problem");
		if (late) {
			line.append(elementOf("em", `${late} s late`));
		}
		this.parts.log.append(line);
		this.parts.log.scrollTop = this.parts.log.scrollHeight;
	}

	showUser() {
		this.root.setAttribute("aria-label", this.user.value);
		for (const name of ["title", "sender", "receiver"]) {
			this.parts[name].textContent = this.user.value;
		}
	}

	showCall() {
		const { ending } = carriers[this.carrier.value];
		this.ending.value = ending ?? this.ending.value;
		this.ending.disabled = ending !== undefined;
		this.parts.call.textContent = callOf(this.carrier.value, this.ending.value);
		this.showRenewal();
	}

	showState(state) {
		this.state = state;
		this.parts.state.dataset.state = state;
		this.parts.state.textContent = states[state];
		const alive = ["pending", "open", "suspended"].includes(state);
		const talking = state === "open" || state === "suspended";
		this.parts.connect.disabled = alive || state === "connecting";
		this.carrier.disabled = this.parts.connect.disabled;
		this.ending.disabled = this.parts.connect.disabled || carriers[this.carrier.value].ending !== undefined;
		this.parts.disconnect.disabled = !alive;
		this.parts.send.disabled = !talking;
		this.text.disabled = !talking;
		this.showRenewal();
		this.showHeld();
	}

	showRenewal() {
		this.parts.renewal.hidden = this.ending.value !== "renew";
		this.parts.renew.disabled = this.state !== "open" && this.state !== "suspended";
	}

	// showHeld shows what waits at the gate.
	showHeld() {
		const suspended = this.state === "suspended";
		this.parts.renewal.toggleAttribute("data-suspended", suspended);
		this.parts.held.hidden = !suspended;
		if (suspended) {
			this.parts.both.hidden = this.every;
			this.parts.own.hidden = !this.every;
			this.parts.outgoing.replaceChildren(...this.account.outgoing.map(lineOf));
			this.parts.incoming.replaceChildren(...this.account.incoming.map(lineOf));
		}
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
			text = `${claims.sub}'s token ends in ${clockOf(left)}`;
		}
		this.parts.countdown.textContent = text;
		this.parts.grace.textContent = clockOf(Math.max(0, (this.graceOver - Date.now()) / 1000));
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
		this.parts.meaning.textContent = meanings[reason] ?? meanings[code] ?? "";
		this.parts.end.toggleAttribute("data-clean", wasClean);
		this.parts.end.hidden = false;
		this.say("ended", `the socket has ended with code ${code}`);
		const { outgoing } = this.account;
		if (outgoing.length > 0) {
			this.say("problem", `not come through: ${outgoing.map(({ text }) => text).join(", ")}`);
		}
	}
}

// clockOf returns so many seconds as minutes and seconds.
function clockOf(left) {
	const seconds = Math.ceil(left);
	return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function elementOf(name, text) {
	const element = document.createElement(name);
	element.textContent = text;
	return element;
}

// lineOf returns a line of the chat, or of what is held.
function lineOf({ number, from, text, refused }) {
	const line = document.createElement("li");
	if (number) {
		line.append(elementOf("small", `no. ${number}`));
	}
	if (from) {
		line.append(elementOf("b", from));
	}
	line.append(text);
	if (refused) {
		line.append(elementOf("em", "refused"));
	}
	return line;
}

for (const user of ["alice", "bob"]) {
	panes.push(new Pane(user));
}
new Sessions(document.querySelector(".sessions"));
