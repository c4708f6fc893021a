// What applications that are written in JavaScript take for a credential, in
// what goes on of a message. The protocols are those of
// dialect/testdata/believe/protocols.json.

const inner = "~json";

/** The value at the end of a path, undefined if there is none. */
function lookIn(value, path) {
	for (const [i, step] of path.entries()) {
		if (step === inner) {
			if (typeof value !== "string") {
				return undefined;
			}
			try {
				return lookIn(JSON.parse(value), path.slice(i + 1));
			} catch {
				return undefined;
			}
		}
		if (value === null || typeof value !== "object" || (/^[0-9]+$/.test(step) && !Array.isArray(value))) {
			return undefined;
		}
		value = value[step];
	}
	return value;
}

/** A credential without the scheme that stands in front of it. */
export function bearer(text) {
	return text.trim().replace(/^bearer +/i, "");
}

/**
 * The texts that an application may decode from the bytes of a message. It trims
 * those that are nothing but JSON.
 */
function texts(protocol, data) {
	const all = [data.toString("utf8"), new TextDecoder().decode(data)];
	return new Set(protocol.head ? all : [...all, ...all.map((text) => text.trim())]);
}

/** All credentials that somebody finds in the bytes of a message. */
export function credentialsIn(protocol, data, binary) {
	const found = new Set();
	if (binary && protocol.text) {
		return []; // a binary message is none of the protocol's texts
	}
	const head = new RegExp(protocol.node ?? protocol.head ?? "^");
	for (const text of texts(protocol, data)) {
		for (const record of protocol.separator ? text.split(protocol.separator) : [text]) {
			const at = head.exec(record);
			let value;
			try {
				value = at && JSON.parse(record.slice(at[0].length));
			} catch {
				continue;
			}
			for (const { when, is, places } of protocol.shapes) {
				if (is.length > 0 && !is.includes(lookIn(value, when))) {
					continue;
				}
				for (const place of places) {
					const credential = lookIn(value, place);
					if (typeof credential === "string" && bearer(credential) !== "") {
						found.add(bearer(credential));
					}
				}
			}
		}
	}
	return [...found];
}
