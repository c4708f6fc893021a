// Runs files of tests by node --test. Most of them are about time, and fail on a
// machine that is too late for them, although what they test is in order. What
// has failed while the machine was late is run again, three times in all, one
// file after another. What fails each time has failed, and so has what fails on a
// machine that was not late, or was skipped.
//
//	node lib/tries.js test/*.test.js

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { skipped } from "./failed.js";

const tries = 3;

/** How many times as long as at its best a machine takes for work that is late. */
const lateFrom = 2;

/** Does a piece of work, of about a millisecond, and returns how long it took. */
function work() {
	const start = performance.now();
	let x = 1;
	for (let i = 0; i < 400_000; i++) {
		x = (x * 1103515245 + 12345) % 2147483648;
	}
	return performance.now() - start + (x < 0 ? 1 : 0);
}

/** Tells from time to time how long the machine takes for work. */
class Watch {
	shortest = Infinity;
	worst = 1;

	constructor() {
		for (let i = 0; i < 50; i++) {
			this.shortest = Math.min(this.shortest, work());
		}
		this.timer = setInterval(() => this.look(), 500);
	}

	look() {
		let took = 0;
		for (let i = 0; i < 10; i++) {
			const piece = work();
			this.shortest = Math.min(this.shortest, piece);
			took += piece;
		}
		this.worst = Math.max(this.worst, took / 10 / this.shortest);
	}

	/** Returns the worst since it was asked last. */
	since() {
		const { worst } = this;
		this.worst = 1;
		return worst;
	}
}

/** Runs files, some at a time, and returns whether all is well, and what failed. */
async function run(files, atOnce, folder) {
	const list = join(folder, "failed");
	const child = spawn(process.execPath, [
		"--test", `--test-concurrency=${atOnce}`, "--test-timeout=90000",
		"--test-reporter=spec", "--test-reporter-destination=stdout",
		"--test-reporter=./lib/noskip.js", "--test-reporter-destination=stderr",
		"--test-reporter=./lib/failed.js", `--test-reporter-destination=${list}`,
		...files,
	], { stdio: "inherit" });
	const [code] = await once(child, "exit");
	const failed = (await readFile(list, "utf8")).split("\n").filter((line) => line !== "");
	return { good: code === 0, failed };
}

const watch = new Watch();
const folder = await mkdtemp(join(tmpdir(), "websocket-auth-e2e-"));
try {
	let files = process.argv.slice(2);
	for (let n = 1; ; n++) {
		const { good, failed } = await run(files, n === 1 ? 2 : 1, folder);
		const late = watch.since();
		if (good) {
			break;
		}
		if (failed.length === 0 || failed.includes(skipped) || late < lateFrom || n === tries) {
			process.exitCode = 1;
			break;
		}
		console.error(`e2e: try ${n} failed on a machine that took ${late.toFixed(1)} times as long as at its best; again: ${failed.join(" ")}`);
		files = failed;
	}
} finally {
	clearInterval(watch.timer);
	await rm(folder, { recursive: true });
}
