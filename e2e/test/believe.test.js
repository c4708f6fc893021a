// What applications could take for a credential, the gate has verified: of each
// message of the corpus, that which goes on is read by JSON.parse of Node.js and
// by json of Python. The corpus is that of the package dialect, which says what
// goes on, and compares decoders of Go with it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { bearer, credentialsIn } from "../lib/believe.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const protocolsFile = path.join(root, "dialect/testdata/believe/protocols.json");

/** Fails where something is found that nobody has verified, or too little. */
function check(verdicts, found) {
	const read = {};
	verdicts.forEach(({ protocol, dialect, pass, state, binary, data, verified }, i) => {
		for (const credential of found[i]) {
			assert.equal(
				credential,
				bearer(verified),
				`${dialect}, pass ${pass}, state ${state}, binary ${binary}: ${Buffer.from(data, "base64")}`,
			);
			read[protocol] = (read[protocol] ?? 0) + 1;
		}
	});
	return read;
}

describe("what applications may believe", () => {
	let folder, file, protocols, verdicts;
	before(async () => {
		folder = await mkdtemp(path.join(tmpdir(), "believe-"));
		file = path.join(folder, "verdicts.json");
		const args = ["test", "-count=1", "-run", "^TestBelieveCorpus$", "./dialect", "-args", "-believe-verdicts", file];
		await run("go", args, { cwd: root });
		protocols = JSON.parse(await readFile(protocolsFile, "utf8"));
		verdicts = JSON.parse(await readFile(file, "utf8"));
	});
	after(() => rm(folder, { recursive: true, force: true }));

	const readers = {
		"JSON.parse": async () =>
			verdicts.map(({ protocol, data, binary }) =>
				credentialsIn(protocols[protocol], Buffer.from(data, "base64"), binary)),
		"json of Python": async () => {
			const args = [path.join(root, "e2e/lib/believe.py"), protocolsFile, file];
			const { stdout } = await run("python3", args, { maxBuffer: 1 << 28 });
			return JSON.parse(stdout);
		},
	};
	for (const [name, read] of Object.entries(readers)) {
		test(`${name} finds nothing that was not verified`, async () => {
			const found = check(verdicts, await read());
			for (const protocol of Object.keys(protocols)) {
				assert.ok(found[protocol] > 10, `only ${found[protocol]} credentials were found in ${protocol}`);
			}
		});
		test(`${name} would find what was not verified`, async () => {
			const unverified = verdicts.map((verdict) => ({ ...verdict, verified: "" }));
			const found = await read();
			assert.throws(() => check(unverified, found));
		});
	}
});
