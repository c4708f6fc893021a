// Numbered messages, counted on both sides: none may be lost that was
// acknowledged, and none may come under another name than its sender's.

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";

/** How long a sender rests between two messages, in milliseconds. */
const rest = 10;

/**
 * Counts messages in one direction. A message is "<name>/<number>": towards the
 * app the name is the sender's, towards the clients it is the receiver's.
 */
export class Ledger {
	constructor() {
		this.names = new Map();
		this.news = new EventEmitter().setMaxListeners(0);
	}

	account(name) {
		if (!this.names.has(name)) {
			this.names.set(name, { sent: 0, acknowledged: new Set(), received: [] });
		}
		return this.names.get(name);
	}

	/** Returns the text of name's next message, which is about to be sent. */
	next(name) {
		return `${name}/${++this.account(name).sent}`;
	}

	/** Notes that the sender has been told of the arrival of text. */
	acknowledged(text) {
		const [name, number] = parse(text);
		this.account(name).acknowledged.add(number);
		this.news.emit("news");
	}

	/** Notes that text has arrived with somebody who knows its name as user. */
	received(user, text) {
		const [name, number] = parse(text);
		this.account(name).received.push({ number, user, at: Date.now() });
		this.news.emit("news");
	}

	/**
	 * Sends name's messages, without waiting for one before the next, until
	 * signal aborts. deliver(text) resolves when the message is acknowledged, and
	 * rejects when nobody can tell what became of it: that one is not sent
	 * again. Resolves when this is known of all.
	 */
	async send(name, deliver, signal) {
		const deliveries = [];
		while (!signal.aborted) {
			const text = this.next(name);
			deliveries.push(deliver(text).then(() => this.acknowledged(text), () => {}));
			await pause(rest);
		}
		await Promise.all(deliveries);
	}

	/** Resolves when count more of name's messages have been acknowledged. */
	acknowledges(name, count) {
		return this.grows(() => this.account(name).acknowledged.size, count);
	}

	/** Resolves when count more of name's messages have arrived. */
	receives(name, count) {
		return this.grows(() => this.account(name).received.length, count);
	}

	async grows(size, count) {
		const goal = size() + count;
		while (size() < goal) {
			await once(this.news, "news");
		}
	}

	/**
	 * Checks name's messages: at least so many arrived, each under name, in
	 * their order, none twice, and all of those that were acknowledged.
	 * @param {boolean} [rules.again] the client sends again what was not
	 *   acknowledged, so that a message may come twice, or late
	 * @param {boolean} [rules.all] none is missing between those that arrived
	 */
	check(name, least, { again = false, all = false } = {}) {
		const { acknowledged, received } = this.account(name);
		const numbers = received.map(({ number }) => number);
		assert.ok(numbers.length >= least, `only ${numbers.length} messages of ${name} arrived`);
		const strangers = received.filter(({ user }) => user !== name);
		assert.deepEqual(strangers, [], `messages of ${name} came under another name`);
		const lost = [...acknowledged].filter((number) => !numbers.includes(number));
		assert.deepEqual(lost, [], `acknowledged messages of ${name} are lost`);
		if (!again) {
			const late = numbers.filter((number, i) => i > 0 && number <= numbers[i - 1]);
			assert.deepEqual(late, [], `messages of ${name} came late, or twice`);
		}
		if (all) {
			assert.deepEqual(numbers, numbers.map((_, i) => i + 1));
		}
	}

	/** Checks that none of name's messages arrived between two times. */
	checkSilence(name, from, to) {
		const early = this.account(name).received.filter(({ at }) => at > from && at < to);
		assert.deepEqual(early, [], `messages of ${name} arrived in the silence of ${to - from} ms`);
	}
}

function parse(text) {
	const slash = text.lastIndexOf("/");
	return [text.slice(0, slash), Number(text.slice(slash + 1))];
}
