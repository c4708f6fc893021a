// Caddy as a process of its own, and what it logs.

import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

// A test that takes too long is ended by its runner with SIGTERM; nothing that
// it has started may live on.
const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
process.once("SIGTERM", () => process.exit(1));

/** The filter that the README recommends, for the site's log and the default. */
export const logFilter = `
	output stderr
	format filter {
		uri websocket_credential
		request>uri websocket_credential
		request>headers>Sec-Websocket-Protocol websocket_credential
		request>headers>Referer websocket_credential
		resp_headers>Sec-Websocket-Protocol websocket_credential
		resp_headers>Location websocket_credential
	}
`;

/** Runs a Caddyfile; resolves when Caddy serves it. */
export async function startCaddy(caddyfile) {
	const caddy = await start((folder) => {
		const path = join(folder, "Caddyfile");
		return { files: { [path]: caddyfile }, args: ["run", "--adapter", "caddyfile", "--config", path] };
	});
	await caddy.logged(({ msg }) => msg === "serving initial configuration");
	return caddy;
}

/** Runs the demonstration; resolves when it says where its page is. */
export async function startDemo(port) {
	const args = ["websocket-auth", "demo", "--listen", `127.0.0.1:${port}`];
	const caddy = await start(() => ({ files: {}, args }));
	const [, url] = await caddy.printed(/^# Open (\S+) in a browser/);
	return { caddy, url };
}

async function start(describe) {
	const program = process.env.CADDY;
	if (!program) {
		throw new Error("CADDY must name the program to test; run.sh builds it");
	}
	const folder = await mkdtemp(join(tmpdir(), "websocket-auth-e2e-"));
	const { files, args } = describe(folder);
	for (const [path, text] of Object.entries(files)) {
		await writeFile(path, text);
	}
	const child = spawn(program, args, {
		cwd: folder,
		// Nothing of the person's own Caddy is read or written.
		env: { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
		stdio: ["ignore", "pipe", "pipe"],
	});
	return new Caddy(child, folder);
}

class Caddy {
	constructor(child, folder) {
		this.child = child;
		this.folder = folder;
		this.lines = []; // of the log, as text
		this.output = [];
		this.news = new EventEmitter().setMaxListeners(0);
		children.add(child);
		this.exited = once(child, "exit").then(() => {
			children.delete(child);
			this.news.emit("exit");
		});
		this.collect(child.stderr, this.lines);
		this.collect(child.stdout, this.output);
	}

	collect(stream, lines) {
		createInterface(stream).on("line", (line) => {
			lines.push(line);
			this.news.emit("line");
		});
	}

	/** Resolves to the first log entry, past or future, that wanted accepts. */
	logged(wanted) {
		return this.first(() => {
			for (const line of this.lines) {
				const entry = parse(line);
				if (entry && wanted(entry)) {
					return entry;
				}
			}
		});
	}

	/** Resolves to the match of the first line of standard output that has one. */
	printed(pattern) {
		return this.first(() => this.output.map((line) => line.match(pattern)).find(Boolean));
	}

	/** Resolves to the access log's first entry that wanted accepts. */
	access(wanted) {
		return this.logged((entry) => entry.logger?.startsWith("http.log.access") && wanted(entry));
	}

	/** Resolves to the access log's first entry of a user. */
	accessOf(user) {
		return this.access((entry) => entry.user_id === user);
	}

	/** Resolves to what find returns, as soon as that is something. */
	first(find) {
		return new Promise((resolve, reject) => {
			const look = () => {
				const found = find();
				if (found !== undefined) {
					done(resolve, found);
				}
			};
			const gone = () => done(reject, new Error(`caddy has ended:\n${this.lines.join("\n")}`));
			const done = (settle, value) => {
				this.news.off("line", look).off("exit", gone);
				settle(value);
			};
			this.news.on("line", look).on("exit", gone);
			look();
		});
	}

	/** All that was logged and printed. */
	get text() {
		return [...this.lines, ...this.output].join("\n");
	}

	async stop() {
		this.child.kill("SIGTERM");
		await this.exited;
		await rm(this.folder, { recursive: true });
	}
}

function parse(line) {
	try {
		return JSON.parse(line);
	} catch {
		return null; // a line that Caddy writes before its log is set up
	}
}
