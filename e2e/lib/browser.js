// A real browser, and a socket in one of its pages.

import { chromium } from "playwright-core";

/** How long a socket may live, in milliseconds: longer than any token here. */
const patience = 15_000;

const flags = [
	"--disable-gpu",
	"--ignore-certificate-errors", // Caddy signs for localhost itself
	"--disable-quic",
	"--no-first-run",
	"--disable-background-networking",
	"--disable-component-update",
	"--disable-sync",
];

/** Starts Chromium with a fresh profile. CHROMIUM names the program. */
export function launchBrowser() {
	return chromium.launch({
		executablePath: process.env.CHROMIUM,
		args: flags,
		// Chromium's sandbox refuses to work for root, which containers are.
		chromiumSandbox: process.getuid?.() !== 0,
	});
}

/**
 * Opens a socket in a page and resolves to what the page saw, when it is over.
 *
 * url and protocols are the arguments of WebSocket. say is a text to send and
 * to get back; flood sends 1 KiB messages as fast as the browser takes them;
 * ackEach answers every so many messages; hangUp closes, with code 1000, after
 * the first message.
 */
export async function dial(page, options) {
	let timer;
	const tooLong = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Error("the socket has not ended")), patience);
	});
	try {
		return await Promise.race([page.evaluate(dialInPage, options), tooLong]);
	} finally {
		clearTimeout(timer);
	}
}

/** The same as dial, within the page: it can use nothing from around it. */
async function dialInPage({ url, protocols, say, flood, ackEach, hangUp }) {
	// One handshake at a time: Chromium delays them by seconds where many are
	// under way.
	let handshakeOver;
	const mine = new Promise((resolve) => { handshakeOver = resolve; });
	const before = globalThis.lastHandshake;
	globalThis.lastHandshake = mine;
	await before;

	const socket = protocols === undefined ? new WebSocket(url) : new WebSocket(url, protocols);
	socket.binaryType = "arraybuffer";
	const seen = { opened: false, protocol: null, echoed: false, received: 0, sent: 0, errors: 0 };
	const channel = new MessageChannel();
	const block = crypto.getRandomValues(new Uint8Array(1 << 10));
	channel.port1.onmessage = () => {
		while (socket.readyState === WebSocket.OPEN && socket.bufferedAmount === 0) {
			socket.send(block);
			seen.sent++;
		}
		if (socket.readyState === WebSocket.OPEN) {
			channel.port2.postMessage(null); // a timer would wait some milliseconds
		}
	};
	socket.onopen = () => {
		handshakeOver();
		seen.opened = true;
		seen.protocol = socket.protocol;
		if (say !== undefined) {
			socket.send(say);
		}
		if (flood) {
			channel.port2.postMessage(null);
		}
	};
	socket.onmessage = ({ data }) => {
		seen.received++;
		seen.echoed ||= data === say;
		if (ackEach && seen.received % ackEach === 0) {
			socket.send("ack");
		}
		if (hangUp) {
			socket.close(1000);
		}
	};
	socket.onerror = () => { seen.errors++; };
	return new Promise((resolve) => {
		socket.onclose = ({ code, reason, wasClean }) => {
			handshakeOver();
			channel.port1.close();
			const closedAt = Date.now();
			resolve({ ...seen, code, reason, wasClean, unsent: socket.bufferedAmount, closedAt });
		};
	});
}
