import assert from "node:assert/strict";

/**
 * Checks that a socket was open, and was closed because its token ended, when
 * it ended: never before, and at most slack after. Both times are in
 * milliseconds.
 */
export function assertExpired(seen, expires, slack = 1000) {
	const { opened, code, reason, wasClean, errors, unsent } = seen;
	// Chromium calls no close clean before which the page has sent more than
	// has left it, whatever the server did.
	assert.deepEqual({ opened, code, reason, wasClean, errors },
		{ opened: true, code: 3000, reason: "token expired", wasClean: unsent === 0, errors: 0 });
	const late = seen.closedAt - expires;
	assert.ok(late >= 0 && late <= slack, `closed ${late} ms after the token's end`);
}
