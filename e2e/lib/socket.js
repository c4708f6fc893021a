// A socket in a page of a real browser that stays open between the steps of a
// test.

/** Opens a socket in a page; resolves when it is open, or has failed. */
export async function openSocket(page, url, protocols) {
	const handle = await page.evaluateHandle(openInPage, { url, protocols });
	return new PageSocket(handle);
}

class PageSocket {
	constructor(handle) {
		this.handle = handle;
		/** How it has ended: code, reason, wasClean and at, in milliseconds. */
		this.ended = handle.evaluate(({ ended }) => ended);
		this.ended.catch(() => {}); // the page may be closed first
	}

	/** Says something to an app that answers with the same; resolves to that. */
	echo(text) {
		return this.handle.evaluate(({ socket, ended }, said) => new Promise((resolve, reject) => {
			socket.addEventListener("message", ({ data }) => resolve(data), { once: true });
			ended.then(({ code }) => reject(new Error(`the socket has ended with ${code}`)));
			socket.send(said);
		}), text);
	}

	close() {
		return this.handle.evaluate(({ socket }) => socket.close(1000));
	}
}

/** The same as openSocket, within the page. */
function openInPage({ url, protocols }) {
	const socket = new WebSocket(url, protocols);
	const ended = new Promise((resolve) => {
		socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean, at: Date.now() });
	});
	return new Promise((resolve) => {
		socket.onopen = () => resolve({ socket, ended });
		ended.then(() => resolve({ socket, ended }));
	});
}
