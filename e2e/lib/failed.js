// A reporter for node --test that names the files in which a test has failed, as
// lines, and says so in one where a test was skipped.

/** The line that says so. */
export const skipped = "skipped";

export default async function* failed(events) {
	const files = new Set();
	for await (const { type, data } of events) {
		if (data?.skip !== undefined || data?.todo !== undefined) {
			yield `${skipped}\n`;
		}
		if (type === "test:fail" && data.file !== undefined && !files.has(data.file)) {
			files.add(data.file);
			yield `${data.file}\n`;
		}
	}
}
