import { once } from "node:events";
import { createServer } from "node:net";

/** Lets server listen on a free port of this machine only; returns the port. */
export async function listen(server, port = 0) {
	server.listen(port, "127.0.0.1");
	await once(server, "listening");
	return server.address().port;
}

// Below all ports that systems give to outgoing connections and to whoever asks
// for any: one of those may be taken again at once.
const first = 20_000;
const last = 29_999;

/** Returns so many different ports that nobody listens on. */
export async function freePorts(count) {
	const ports = new Set();
	for (let tries = 0; ports.size < count; tries++) {
		const port = first + Math.floor(Math.random() * (last - first + 1));
		const server = createServer();
		try {
			await listen(server, port);
			ports.add(port);
			await new Promise((done) => server.close(done));
		} catch (error) {
			if (error.code !== "EADDRINUSE" && error.code !== "EACCES" || tries > 1000) {
				throw error;
			}
		}
	}
	return [...ports];
}
