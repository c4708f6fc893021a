package logs

import (
	"encoding/binary"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// canaryDialects are the dialects that log in by messages: lines of the site,
// and messages with a token. All take the credential out.
var canaryDialects = []struct {
	name, lines, protocol string
	messages              func(token string) []string
}{
	{"json", "from first_message", "", func(token string) []string {
		return []string{rig.Login(token), `{"type":"auth","\u0074oken":"` + token + `","token":"` + token + `"}`, rig.Login("Bearer " + token)}
	}},
	{"raw", "from first_message\ndialect raw", "", func(token string) []string { return []string{token} }},
	{"graphql", "from first_message\ndialect graphql", "graphql-transport-ws", func(token string) []string {
		return []string{`{"type":"connection_init","payload":{"Authorization":"Bearer ` + token + `"}}`}
	}},
	{"graphql_legacy", "from first_message\ndialect graphql_legacy", "graphql-ws", func(token string) []string {
		return []string{`{"type":"connection_init","payload":{"authToken":"` + token + `"}}`}
	}},
	{"socketio", "from first_message {\nearly\n}\nhttp reject\ndialect socketio", "", func(token string) []string {
		return []string{`40{"token":"` + token + `"}`}
	}},
	{"phoenix", "from first_message\nhttp reject\ndialect phoenix {\npass strip\n}", "", func(token string) []string {
		return []string{`["1","1","room:1","phx_join",{"token":"` + token + `"}]`}
	}},
	{"stomp", "from first_message\nhttp reject\ndialect stomp", "v12.stomp", func(token string) []string {
		return []string{"CONNECT\naccept-version:1.2\nhost:a\nAuthorization:Bearer " + token + "\n\n\x00"}
	}},
	{"mqtt", "from first_message\ndialect mqtt {\npass strip\n}", "mqtt", func(token string) []string {
		return []string{mqttConnect(token)}
	}},
	{"home_assistant", "from first_message {\nearly\n}\ndialect home_assistant {\npass strip\n}", "", func(token string) []string {
		return []string{`{"type":"auth","access_token":"` + token + `"}`}
	}},
}

// mqttConnect returns a CONNECT of MQTT 3.1.1 with a password.
func mqttConnect(password string) string {
	text := func(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }
	body := text("MQTT") + "\x04\xC2\x00\x3C" + text("client") + text("user") + text(password)
	length := ""
	for n := len(body); ; n >>= 7 {
		if n < 128 {
			length += string([]byte{byte(n)})
			break
		}
		length += string([]byte{byte(n) | 0x80})
	}
	return "\x10" + length + body
}
