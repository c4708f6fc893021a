// What somebody who looks after the gate sees: all live sockets, and how to end
// them. The gate knows them by their tokens; the chat is not asked.

import { ask } from "./carriers.js";

/** How often the page looks, in milliseconds. */
const pause = 1000;

const states = {
	opening: "opening", pending: "not logged in", open: "connected", suspended: "suspended", closing: "closing",
};

// sites are the gates by the names that the Caddyfile gives them.
const sites = {
	chat: "ends with its token", chat_renew: "waits for a new token", chat_every: "a token in every message",
};

/** The table of all live sockets. */
export class Sessions {
	constructor(root) {
		this.parts = {};
		for (const element of root.querySelectorAll("[data-part]")) {
			this.parts[element.dataset.part] = element;
		}
		this.rows = new Map(); // by the socket's id
		for (const button of root.querySelectorAll("[data-logout]")) {
			button.addEventListener("click", () => this.run(() => this.logOut(button.dataset.logout)));
		}
		this.watch();
	}

	// watch looks at the sockets for as long as somebody looks at the page.
	async watch() {
		for (;;) {
			if (!document.hidden) {
				await this.run(() => this.look());
			}
			await new Promise((resolve) => { setTimeout(resolve, pause); });
		}
	}

	// run does something, and says what goes wrong until something goes well.
	async run(action) {
		try {
			await action();
			this.parts.problem.hidden = true;
		} catch (error) {
			this.parts.problem.textContent = error.message;
			this.parts.problem.hidden = false;
		}
	}

	async look() {
		const { sessions, total } = await (await ask("sessions")).json();
		const live = new Set(sessions.map(({ id }) => id));
		for (const [id, row] of this.rows) {
			if (!live.has(id)) {
				row.remove();
				this.rows.delete(id);
			}
		}
		sessions.forEach((session) => this.show(session));
		this.parts.none.hidden = total > 0;
		this.parts.table.hidden = total === 0;
		this.parts.total.textContent = total;
	}

	// show brings a socket's row up to date. A row lives as long as its socket,
	// so that its button keeps the focus.
	show(session) {
		let row = this.rows.get(session.id);
		if (row === undefined) {
			row = this.newRow(session.id);
			this.rows.set(session.id, row);
			this.parts.rows.append(row);
		}
		const cell = (name) => row.querySelector(`[data-cell="${name}"]`);
		const set = (name, text) => { cell(name).textContent = text; };
		set("user", session.subject || "nobody yet");
		set("id", session.id.slice(0, 6));
		cell("id").title = session.id;
		set("site", sites[session.site] ?? session.site);
		set("state", states[session.state] ?? session.state);
		cell("state").dataset.state = session.state;
		set("until", session.valid_until ? new Date(session.valid_until).toLocaleTimeString() : "");
		set("in", bytesOf(session.bytes_in));
		set("out", bytesOf(session.bytes_out));
		cell("end").setAttribute("aria-label", `End the session ${session.id.slice(0, 6)}`);
		row.dataset.user = session.subject;
	}

	newRow(id) {
		const row = document.getElementById("session").content.firstElementChild.cloneNode(true);
		row.querySelector("button").addEventListener("click", () => this.run(() => this.end(id)));
		return row;
	}

	async end(id) {
		await ask(`sessions/${id}`, { method: "DELETE" });
		this.tell(`The session ${id.slice(0, 6)} has been ended. Its token is as good as before.`);
		await this.look();
	}

	async logOut(user) {
		const body = new URLSearchParams({ user });
		const { sockets } = await (await ask("sessions/logout", { method: "POST", body })).json();
		const ended = sockets === 1 ? "1 session has" : `${sockets} sessions have`;
		this.tell(`${user} is logged out everywhere: ${ended} ended, and no token from before ` +
			`${new Date().toLocaleTimeString()} opens another.`);
		await this.look();
	}

	tell(text) {
		this.parts.told.textContent = text;
		this.parts.told.hidden = false;
	}
}

// bytesOf returns a number of bytes for people.
function bytesOf(count) {
	return count < 10_000 ? `${count} B` : `${Math.round(count / 1000)} kB`;
}
