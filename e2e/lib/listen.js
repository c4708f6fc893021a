import { once } from "node:events";
import { createServer } from "node:net";

/** Lets server listen on a free port of this machine only; returns the port. */
export async function listen(server) {
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	return server.address().port;
}

/** Returns so many different ports that nobody listens on. */
export async function freePorts(count) {
	const servers = Array.from({ length: count }, () => createServer());
	const ports = await Promise.all(servers.map(listen));
	await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
	return ports;
}
