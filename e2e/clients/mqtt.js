// MQTT over WebSockets: the broker aedes, which knows version 3.1.1, a broker
// that speaks just enough of version 5, and the client of the library MQTT.js.

import { Aedes } from "aedes";
import mqtt from "mqtt";
import packets from "mqtt-packet";
import { createWebSocketStream, WebSocketServer } from "ws";

import { Diary } from "../lib/diary.js";
import { startApp, userOf } from "./app.js";

/** The reason codes of version 5 that matter here. */
export const reason = { success: 0x00, reauthenticate: 0x19, notAuthorized: 0x87 };

/** The authentication method of clients that renew their token. */
export const authenticationMethod = "token";

/** Starts aedes, which takes any password, and notes what it got as such. */
export async function startAedes() {
	const broker = await Aedes.createBroker();
	const app = await startApp((server, { up, logins }) => {
		broker.authenticate = (client, username, password, done) => {
			logins.push({ username, password: password?.toString() });
			done(null, true);
		};
		broker.authorizePublish = ({ req }, { payload }, done) => {
			up.received(userOf(req), payload.toString());
			done(null);
		};
		const endpoint = new WebSocketServer({ server });
		endpoint.on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request));
		return { close: () => new Promise((done) => broker.close(done)) };
	});
	return app;
}

/** Starts a broker of version 5. It gives each message back to its sender. */
export function startMQTT5() {
	return startApp((server, app) => {
		const endpoint = new WebSocketServer({ server });
		endpoint.on("connection", (socket, request) => {
			const user = userOf(request);
			const parser = packets.parser({ protocolVersion: 5 });
			const say = (packet) => socket.send(packets.generate(packet, { protocolVersion: 5 }));
			parser.on("packet", (packet) => handle[packet.cmd]?.(packet, { user, app, say }));
			socket.on("message", (data) => parser.parse(data));
		});
	});
}

/** What the broker of version 5 does with packets. */
const handle = {
	connect({ username, password, properties }, { app, say }) {
		app.logins.push({ username, password: password?.toString(), properties });
		say({ cmd: "connack", reasonCode: reason.success, sessionPresent: false });
	},
	subscribe({ messageId }, { say }) {
		say({ cmd: "suback", messageId, granted: [0] });
	},
	publish({ messageId, topic, payload }, { user, app, say }) {
		app.up.received(user, payload.toString());
		say({ cmd: "publish", topic, payload, qos: 0 });
		say({ cmd: "puback", messageId, reasonCode: reason.success });
	},
	pingreq(_, { say }) {
		say({ cmd: "pingresp" });
	},
	auth(packet, { app }) {
		app.logins.push(packet);
	},
};

/**
 * A client of one user, whose messages come back to it. password is called for
 * each connection. What the library reports stands in the diary. Further
 * options are the library's.
 */
export class MQTTClient {
	diary = new Diary();

	constructor(url, user, password, options) {
		this.user = user;
		const { diary } = this;
		this.client = mqtt.connect(url, {
			clientId: user,
			username: "app",
			reconnectPeriod: 100,
			keepalive: 1,
			// The library has this called before each connection, and
			// reads the password after it.
			transformWsUrl: (address, given) => {
				login(given, password());
				return address;
			},
			...structuredClone(options),
		});
		this.client.on("connect", () => diary.note("connect"));
		this.client.on("error", ({ code, message }) => diary.note("error", { code, message }));
		this.client.on("disconnect", ({ reasonCode }) => diary.note("disconnect", reasonCode));
		this.client.on("close", () => diary.note("close"));
		this.client.on("packetreceive", ({ cmd, reasonCode }) => diary.note(`packet ${cmd}`, reasonCode));
	}

	listen(take) {
		this.client.on("message", (_, payload) => take(payload.toString()));
		this.client.subscribe(this.user, { qos: 1 });
	}

	/** Resolves when the broker has acknowledged; the library sees to that. */
	say(text) {
		return this.client.publishAsync(this.user, text, { qos: 1 });
	}

	/** Renews the token in version 5. The library has no call for it. */
	renew(token) {
		const authenticationData = Buffer.from(token);
		this.client.stream.write(packets.generate({
			cmd: "auth",
			reasonCode: reason.reauthenticate,
			properties: { authenticationMethod, authenticationData },
		}, { protocolVersion: 5 }));
	}

	close() {
		return this.client.endAsync(true);
	}
}

/** Puts a token where the options of the library have it. */
function login(options, token) {
	if (options.properties?.authenticationMethod) {
		options.properties.authenticationData = Buffer.from(token);
	} else {
		options.password = token;
	}
}
