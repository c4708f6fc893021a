import { EventEmitter, once } from "node:events";

/** What a library has told its user, in order. A test can wait for more. */
export class Diary {
	entries = [];
	news = new EventEmitter().setMaxListeners(0);

	/** Notes an event, and what came with it. */
	note(event, detail) {
		this.entries.push({ event, detail });
		this.news.emit("news");
	}

	/** What came with each event of this name, so far. */
	of(event) {
		return this.entries.filter((entry) => entry.event === event).map(({ detail }) => detail);
	}

	/** Resolves to what came with the event's nth entry, past or future. */
	async nth(event, n = 1) {
		while (this.of(event).length < n) {
			await once(this.news, "news");
		}
		return this.of(event)[n - 1];
	}
}
