// A reporter for node --test that fails the run where a test was skipped, or
// where none was found.

export default async function* noskip(events) {
	let tests = 0;
	for await (const { type, data } of events) {
		if (type !== "test:pass" && type !== "test:fail") {
			continue;
		}
		if (data.details?.type !== "suite") {
			tests++;
		}
		if (data.skip !== undefined || data.todo !== undefined) {
			process.exitCode = 1;
			yield `not run: ${data.name}\n`;
		}
	}
	if (tests === 0) {
		process.exitCode = 1;
		yield "no test found\n";
	}
}
