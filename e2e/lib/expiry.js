import assert from "node:assert/strict";

/** How long after its token a socket may be closed at most, in milliseconds. */
const slack = 1000;

/**
 * Checks that a socket was open, and was closed because its token ended, when
 * it ended. expires is in milliseconds.
 */
export function assertExpired(seen, expires) {
	const { opened, code, reason, wasClean, errors, unsent } = seen;
	// Chromium calls no close clean before which the page had more to send than
	// has left the page, whatever the server did.
	assert.deepEqual({ opened, code, reason, wasClean, errors },
		{ opened: true, code: 3000, reason: "token expired", wasClean: unsent === 0, errors: 0 });
	const late = seen.closedAt - expires;
	assert.ok(late >= 0 && late <= slack, `closed ${late} ms after the token's end`);
}
