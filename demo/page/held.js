// What a gate holds while a socket is suspended, as far as a page can know:
// what it has said and not got back, and what others have got already.

/** How late something has to come for the page to say so, in milliseconds. */
const late = 1000;

/** How many events of the chat's are remembered; the gate holds fewer. */
const memory = 1000;

// room is what any half of this page has got, by the chat's number.
const room = new Map();

/** The words for an event of the chat's. */
export function wordsOf({ type, from, text, code }) {
	switch (type) {
	case "welcome":
		return { text: `the chat calls you ${from}` };
	case "joined":
		return { text: `${from} has come in` };
	case "left":
		return { text: `${from} has left; the chat saw close code ${code}` };
	default:
		return { from, text };
	}
}

/** The account of one socket. */
export class Account {
	constructor() {
		this.opened = Date.now();
		this.last = 0; // number of the chat's last event that has come
		this.sent = new Map(); // what has not come back, by id
	}

	/** Takes down what is said, and returns it as a message for the chat. */
	say(text) {
		const message = { id: crypto.randomUUID().slice(0, 8), text };
		this.sent.set(message.id, { message, at: Date.now(), refused: false });
		return message;
	}

	/** Takes down that a message was refused. */
	refuse(id) {
		const entry = this.sent.get(id);
		if (entry) {
			entry.refused = true;
		}
	}

	/** Returns the messages that were refused, for saying them again. */
	again() {
		const refused = [...this.sent.values()].filter((entry) => entry.refused);
		refused.forEach((entry) => { entry.refused = false; });
		return refused.map(({ message }) => message);
	}

	/**
	 * Takes down what has come from the chat. Returns how many seconds late it
	 * is, 0 if that is not worth a word, and the number that should have come,
	 * 0 if that is the one that came.
	 */
	receive(event) {
		const since = this.sent.get(event.id)?.at ?? Date.parse(event.at);
		const delay = Date.now() - since;
		this.sent.delete(event.id);
		let expected = 0;
		if (event.type === "welcome") {
			this.last = event.number ?? 0;
		} else if (event.number) {
			expected = event.number === this.last + 1 ? 0 : this.last + 1;
			this.last = event.number;
			remember(event);
		}
		return { late: delay >= late ? Math.round(delay / 1000) : 0, expected };
	}

	/** What this socket has said that has not come back. */
	get outgoing() {
		return [...this.sent.values()].map(({ message, refused }) => ({ text: message.text, refused }));
	}

	/** What others have got from the chat, and this socket has not. */
	get incoming() {
		return [...room.values()]
			.filter(({ event, at }) => event.number > this.last && at >= this.opened)
			.map(({ event }) => ({ number: event.number, ...wordsOf(event) }));
	}
}

function remember(event) {
	if (!room.has(event.number)) {
		room.set(event.number, { event, at: Date.now() });
	}
	room.delete(event.number - memory);
}
