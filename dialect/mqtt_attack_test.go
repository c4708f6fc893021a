package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// mqttHello are CONNECT packets without a credential, by the level.
var mqttHello = map[byte]string{
	mqtt31:  "101000064d51497364700302003c00026331",
	mqtt311: "100e00044d5154540402003c00026331",
	mqtt50:  "100f00044d5154540502003c0000026331",
}

// mqttHelloMethod is one of MQTT 5.0 that names the method OAUTH2-JWT.
const mqttHelloMethod = "101c00044d5154540502003c0d15000a4f41555448322d4a575400026331"

// A broker that masks what is reserved, or takes packets of the other
// direction, would read another stream than the gate. Each row is what follows
// CONNECT on a socket that the request has logged in.
func TestMQTTPacketsAllowed(t *testing.T) {
	t.Parallel()
	const v3, v4, v5 = 1 << mqtt31, 1 << mqtt311, 1 << mqtt50
	for _, tt := range []struct {
		name, packet string
		passes       byte // the levels
	}{
		{"type 0", "0000", 0},
		{"CONNECT again", "100e00044d5154540402003c00026331", 0},
		{"CONNECT again with flags", "110e00044d5154540402003c00026331", 0},
		{"CONNACK", "20020000", 0},
		{"PUBLISH", "3005000174 6869", v3 | v4 | v5},
		{"PUBLISH with all flags but QoS 3", "3d07000174 0001 6869", v3 | v4 | v5},
		{"PUBLISH of QoS 3", "3607000174 0001 6869", 0},
		{"PUBACK", "40020001", v3 | v4 | v5},
		{"PUBACK with a reason", "4003000110", v5},
		{"PUBACK with flags", "42020001", 0},
		{"PUBACK of nothing", "4000", 0},
		{"PUBACK of one byte", "400100", 0},
		{"PUBREC", "50020001", v3 | v4 | v5},
		{"PUBREC with flags", "58020001", 0},
		{"PUBREL", "62020001", v3 | v4 | v5},
		{"PUBREL without its flag", "60020001", 0},
		{"PUBREL sent again", "6a020001", v3},
		{"PUBCOMP", "70020001", v3 | v4 | v5},
		{"SUBSCRIBE", "8206000100017400", v3 | v4 | v5},
		{"SUBSCRIBE without its flag", "8006000100017400", 0},
		{"SUBSCRIBE sent again", "8a06000100017400", v3},
		{"SUBACK", "9003000100", 0},
		{"UNSUBSCRIBE", "a2050001000174", v3 | v4 | v5},
		{"UNSUBSCRIBE with another flag", "a1050001000174", 0},
		{"UNSUBSCRIBE sent again", "aa050001000174", v3},
		{"UNSUBACK", "b0020001", 0},
		{"PINGREQ", "c000", v3 | v4 | v5},
		{"PINGREQ with flags", "c100", 0},
		{"PINGREQ with content", "c00110", 0},
		{"PINGRESP", "d000", 0},
		{"DISCONNECT", "e000", v3 | v4 | v5},
		{"DISCONNECT with a reason", "e00104", v5},
		{"DISCONNECT with flags", "e100", 0},
		{"AUTH without a method in CONNECT", "f00f190d15000a4f41555448322d4a5754", 0},
		{"AUTH of nothing", "f000", 0},
		{"AUTH with flags", "f100", 0},
		{"length not as short as it can be", "308500 000174 6869", 0},
		{"length of PINGREQ not as short", "c08000", 0},
		{"length of five bytes", "30ffffffff01", 0},
	} {
		for level, hello := range mqttHello {
			d := newDialect(t, NewMQTT, MQTTConfig{Credential: "auth_data"})
			mqttJudges(t, fmt.Sprintf("%s in level %d", tt.name, level), d, unhex(t, hello), unhex(t, tt.packet), tt.passes&(1<<level) != 0)
		}
	}
}

// mqttJudges checks what becomes of packet behind hello: whole, byte by byte,
// beside other packets, and where it is too long to be read.
func mqttJudges(t *testing.T, name string, d Dialect, hello, packet []byte, passes bool) {
	t.Helper()
	ping := []byte{mqttPingreq, 0}
	for how, chunks := range map[string][][]byte{
		"whole":           {hello, packet},
		"with CONNECT":    {append(bytes.Clone(hello), packet...)},
		"between packets": {hello, slices.Concat(ping, packet, ping)},
		"byte by byte":    append([][]byte{hello}, slices.Collect(slices.Chunk(packet, 1))...),
	} {
		for _, st := range []State{Open, Suspended} {
			if run := runStream(t, d, st, true, chunks...); run.failed == passes {
				t.Errorf("%s, %s, in state %d: refused is %v", name, how, st, run.failed)
			}
		}
	}
	s := d.Start(Opening{}).(Skipper)
	if _, err := s.Client(Open, proxy.Message{Binary: true, Data: hello}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := s.SkipClient(Open, packet); (err == nil) != passes {
		t.Errorf("%s, too long to be read: %v", name, err)
	}
}

// Whatever of a method of ours goes to the application is verified, and only
// the method of CONNECT may be there.
func TestMQTTAuthAllowed(t *testing.T) {
	t.Parallel()
	scram := "101700044d5154540502003c08 150005534352414d 00026331"
	for _, tt := range []struct {
		name, hello, auth string
		config            MQTTConfig
		wants             string // error, data, or the credential
	}{
		{"re-authenticate", mqttHelloMethod, mqttHexAuth, MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "new.e30.sig"},
		{"data that the broker has asked for", mqttHelloMethod, "f01d18" + mqttHexAuth[6:], MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "new.e30.sig"},
		{"the same of any method", mqttHelloMethod, "f01d18" + mqttHexAuth[6:], MQTTConfig{Credential: "auth_data"}, "new.e30.sig"},
		{"the same, stripped", mqttHelloMethod, "f01d18" + mqttHexAuth[6:], MQTTConfig{AuthMethod: "OAUTH2-JWT", Pass: "strip"}, "error"},
		{"an answer without data", mqttHelloMethod, "f00f180d15000a4f41555448322d4a5754", MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "data"},
		{"success, which is the server's word", mqttHelloMethod, "f01d00" + mqttHexAuth[6:], MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
		{"an unknown reason", mqttHelloMethod, "f01d1a" + mqttHexAuth[6:], MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
		{"another method than in CONNECT", scram, mqttHexAuth, MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
		{"none in CONNECT", mqttHello[mqtt50], mqttHexAuth, MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
		{"none anywhere", mqttHello[mqtt50], "f0021900", MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
		{"MQTT 3.1.1", mqttHello[mqtt311], mqttHexAuth, MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
		{"a method that is the broker's", scram, "f00e180c 150005534352414d 16000178", MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "data"},
		{"the method in small letters", "101c00044d5154540502003c0d15000a6f61757468322d6a777400026331", "c000", MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
		{"an empty method", "101200044d5154540502003c03 150000 00026331", "c000", MQTTConfig{Credential: "auth_data"}, "error"},
	} {
		run := runStream(t, newDialect(t, NewMQTT, tt.config), Open, true, unhex(t, tt.hello), unhex(t, tt.auth))
		got := "data"
		switch {
		case run.failed:
			got = "error"
		case len(run.logins) > 0:
			got = run.credential()
		}
		if got != tt.wants {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.wants)
		}
	}
}

// On a socket that the request has logged in, a login must be readable and its
// credential good, wherever that stands.
func TestMQTTConnectWhenOpen(t *testing.T) {
	t.Parallel()
	field := MQTTConfig{Credential: "username"}
	for _, tt := range []struct {
		name, packet string
		config       MQTTConfig
		wants        string // error, data, or login with the credential
	}{
		{"password", mqttHex311, MQTTConfig{}, "login e30.e30.sig"},
		{"password that goes", mqttHex311, MQTTConfig{Pass: "strip"}, "login e30.e30.sig"},
		{"user name", mqttHex311, field, "login app"},
		{"data", mqttHex5, MQTTConfig{Credential: "auth_data"}, "login e30.e30.sig"},
		{"data of a method", mqttHex5, MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "login e30.e30.sig"},
		{"data of another method", mqttHex5, MQTTConfig{AuthMethod: "SCRAM"}, "data"},
		{"a user name alone is no password", "101300044d5154540482003c000263310003617070", MQTTConfig{}, "data"},
		{"an empty password", "101500044d51545404c2003c0002633100036170700000", MQTTConfig{}, "data"},
		{"a password of white space", "101600044d51545404c2003c000263310003617070000120", MQTTConfig{}, "login "},
		{"a scheme alone", "101c00044d51545404c2003c000263310003617070 0007 42656172657220", MQTTConfig{}, "login Bearer"},
		{"a will of another client's", mqttHexWill, MQTTConfig{}, "login e30.e30.sig"},
		{"flags of the fixed header", "112000044d51545404c2003c000263310003617070000b6533302e6533302e736967", MQTTConfig{}, "error"},
		{"reserved flag", "102000044d51545404c3003c000263310003617070000b6533302e6533302e736967", MQTTConfig{}, "error"},
		{"level of a bridge", "102000044d51545484c2003c000263310003617070000b6533302e6533302e736967", MQTTConfig{}, "error"},
		{"length not as short as it can be", "10a00000044d51545404c2003c000263310003617070000b6533302e6533302e736967", MQTTConfig{}, "error"},
		{"password cut off", "101f00044d51545404c2003c000263310003617070000b6533302e6533302e7369", MQTTConfig{}, "error"},
		{"two credentials", "103c00044d51545405c2003c1b15000a4f41555448322d4a575416000b6533302e6533302e736967000263310003617070000b6533302e6533302e736967", MQTTConfig{AuthMethod: "OAUTH2-JWT"}, "error"},
	} {
		d := newDialect(t, NewMQTT, tt.config)
		packet := unhex(t, tt.packet)
		for _, st := range []State{Open, Suspended} {
			run := runStream(t, d, st, true, packet)
			got := run.verdict
			if got == "login" {
				got += " " + run.credential()
			}
			if got != tt.wants {
				t.Errorf("%s in state %d: %s, want %s", tt.name, st, got, tt.wants)
			}
		}
		// As the beginning of what is too long to be read it is refused.
		if err := d.Start(Opening{}).(Skipper).SkipClient(Open, packet); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: too long to be read: %v", tt.name, err)
		}
		if run := runStream(t, d, Open, false, packet); !run.failed {
			t.Errorf("%s: passes as text", tt.name)
		}
	}
}

// What no server can take for the beginning of a session passes once somebody
// has logged in, and nothing behind it may become one.
func TestMQTTForeign(t *testing.T) {
	t.Parallel()
	login := unhex(t, mqttHex311)
	d := newDialect(t, NewMQTT, MQTTConfig{})
	for first := range 256 {
		data := []byte{byte(first), 'I', 'N', 'G'}
		connects := first>>4 == 1
		for _, binary := range []bool{false, true} {
			if run := runStream(t, d, Open, binary, data); run.failed != (connects && (!binary || first != mqttConnect)) {
				t.Errorf("first byte %#x, binary %v: refused is %v", first, binary, run.failed)
			}
		}
		if connects {
			continue
		}
		for cut := range login {
			if run := runStream(t, d, Open, true, data, login[:cut], login[cut:]); !run.failed {
				t.Fatalf("CONNECT behind %q, cut at %d, passes", data, cut)
			}
		}
	}
	for name, messages := range map[string][]proxy.Message{
		"binary with text between": {proxy.Text("PING"), {Binary: true, Data: login[:5]}, proxy.Text("x"), {Binary: true, Data: login[5:]}},
		"half of it as text":       {proxy.Text("PING"), {Data: login[:5]}, {Binary: true, Data: login[5:]}},
		"in small letters":         {proxy.Text("PING"), {Binary: true, Data: bytes.ToLower(login)}},
		"of MQTT 3.1":              {proxy.Text("PING"), {Binary: true, Data: unhex(t, mqttHello[mqtt31])}},
		"behind audio":             {{Binary: true, Data: append([]byte{0xfc, 0, 1}, login...)}},
	} {
		if passed, _ := converse(t, d.Start(Opening{}), messages); len(passed) == len(messages) {
			t.Errorf("CONNECT %s passes", name)
		}
	}
	s := d.Start(Opening{}).(Skipper)
	if err := s.SkipClient(Open, []byte("audio that is too long to be read")); !errors.Is(err, ErrProtocol) {
		t.Errorf("what is too long to be read, before CONNECT: %v", err)
	}
	s = d.Start(Opening{}).(Skipper)
	publish := append([]byte{mqttPublish, byte(len(login))}, login...)
	if _, err := s.Client(Open, proxy.Text("PING")); err != nil {
		t.Fatal(err)
	}
	if err := s.SkipClient(Open, publish); !errors.Is(err, ErrProtocol) {
		t.Errorf("what is too long to be read, behind PING: %v", err)
	}
}

// converse gives s messages on an open socket, and returns what it lets pass,
// and the credentials in it.
func converse(t *testing.T, s Speaker, messages []proxy.Message) (passed []proxy.Message, logins []string) {
	t.Helper()
	for _, m := range messages {
		parts, err := s.Client(Open, m)
		if err != nil {
			return passed, logins
		}
		for _, p := range parts {
			if p.Kind == Login {
				logins = append(logins, p.Credential)
			}
			switch {
			case p.Whole:
				passed = append(passed, m)
			case !p.Nothing:
				passed = append(passed, p.Message)
			}
		}
	}
	return passed, logins
}

// broker is how some server reads the messages of a client that the gate has
// let pass: it returns the credentials that it would believe.
type broker func(messages []proxy.Message) (credentials []string)

// checkBrokers checks that no broker finds a credential that is not in logins.
func checkBrokers(t *testing.T, brokers map[string]broker, passed []proxy.Message, logins []string) {
	t.Helper()
	for name, read := range brokers {
		for kinds, view := range views(passed) {
			for _, credential := range read(view) {
				if c := bearer(credential); c != "" && !slices.Contains(logins, c) {
					t.Fatalf("%s, which reads %s, finds %q in %q; verified was %q", name, kinds, credential, joined(view), logins)
				}
			}
		}
	}
}

// views returns what servers are left with that leave messages of one kind out.
func views(messages []proxy.Message) map[string][]proxy.Message {
	v := map[string][]proxy.Message{"all": messages}
	for _, m := range messages {
		kind := map[bool]string{false: "text", true: "binary"}[m.Binary]
		v[kind] = append(v[kind], m)
	}
	return v
}

// cutUp makes messages of data: kinds has a bit for each that is binary.
func cutUp(data []byte, cuts []byte, kinds byte) []proxy.Message {
	var messages []proxy.Message
	for i, cut := range append(cuts, 255) {
		n := min(int(cut), len(data))
		if i == len(cuts) {
			n = len(data)
		}
		messages = append(messages, proxy.Message{Binary: kinds&(1<<(i%8)) != 0, Data: data[:n]})
		data = data[n:]
	}
	return messages
}

// joined returns the bytes of messages.
func joined(messages []proxy.Message) []byte {
	var all []byte
	for _, m := range messages {
		all = append(all, m.Data...)
	}
	return all
}

// mqttBrokers read MQTT as some servers do: no flag counts, a packet before
// CONNECT is left out, a second CONNECT counts.
func mqttBrokers(find func(packet []byte) []string) map[string]broker {
	return map[string]broker{"a lenient broker": func(messages []proxy.Message) (credentials []string) {
		rest := joined(messages)
		for {
			size, at := 0, 1
			for shift := 0; ; shift, at = shift+7, at+1 {
				if at >= len(rest) || shift > maxLengthShift {
					return credentials
				}
				size |= int(rest[at]&0x7f) << shift
				if rest[at]&0x80 == 0 {
					break
				}
			}
			at++
			if size > len(rest)-at {
				return credentials
			}
			packet := append([]byte{rest[0] & mqttKind}, rest[at:at+size]...)
			credentials = append(credentials, find(packet)...)
			rest = rest[at+size:]
		}
	}}
}

// mqttFinds returns how a lenient broker finds what the configuration takes for
// a credential in a packet, without its length.
func mqttFinds(c MQTTConfig) func(packet []byte) []string {
	return func(packet []byte) []string {
		r := mqttReader{b: packet[1:]}
		if packet[0] == mqttAuth && (c.Credential == mqttInAuthData || c.AuthMethod != "") {
			r.byte()
			return mqttData(&r, c)
		}
		if packet[0] != mqttConnect {
			return nil
		}
		name := string(r.binary())
		level := r.byte()
		flags := int(r.byte())
		r.bytes(2)
		if name != "MQTT" && name != "MQIsdp" {
			return nil
		}
		var found []string
		if level == mqtt50 {
			found = mqttData(&r, c)
		}
		r.binary()
		if flags&mqttWill != 0 {
			if level == mqtt50 {
				r.bytes(r.number())
			}
			r.binary()
			r.binary()
		}
		if flags&mqttUser != 0 {
			if user := string(r.binary()); c.Credential == mqttInUser {
				found = append(found, user)
			}
		}
		if flags&mqttPassword != 0 {
			if password := string(r.binary()); c.Credential == "" {
				found = append(found, password)
			}
		}
		return found
	}
}

// mqttData reads properties, and returns the data of a method of ours.
func mqttData(r *mqttReader, c MQTTConfig) []string {
	all := r.bytes(r.number())
	q := mqttReader{b: all}
	method, data := "", ""
	for !q.bad && q.at < len(all) {
		switch id := q.byte(); id {
		case mqttAuthMethod:
			method = string(q.binary())
		case mqttAuthData:
			data = string(q.binary())
		default:
			kind, ok := mqttConnectProperties[id]
			if !ok {
				return nil
			}
			q.field(kind)
		}
	}
	if c.AuthMethod == method || c.AuthMethod == "" && c.Credential == mqttInAuthData {
		return []string{data}
	}
	return nil
}

// FuzzMQTTBroker: no broker finds a credential that the gate has not verified,
// however a client cuts its stream into messages.
func FuzzMQTTBroker(f *testing.F) {
	for _, stream := range append(mqttStreams, mqttHelloMethod+mqttHexAuth, mqttHello[mqtt311]+"30050001746869"+mqttHex311, "50494e47"+mqttHex311) {
		f.Add(unhex(f, stream), []byte{3, 30}, byte(0xff))
		f.Add(unhex(f, stream), []byte{4}, byte(0xfe))
	}
	configs := []MQTTConfig{{}, {Credential: "auth_data"}, {Credential: "username", AuthMethod: "OAUTH2-JWT"}}
	f.Fuzz(func(t *testing.T, data, cuts []byte, kinds byte) {
		if len(cuts) > 8 {
			return
		}
		for _, c := range configs {
			passed, logins := converse(t, newDialect(t, NewMQTT, c).Start(Opening{}), cutUp(data, cuts, kinds))
			checkBrokers(t, mqttBrokers(mqttFinds(c)), passed, logins)
		}
	})
}

// The broker of the fuzz test must believe what it is there to believe, or it
// could not fail.
func TestMQTTBrokers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		stream, wants string
		config        MQTTConfig
	}{
		"behind another packet": {"30050001746869" + mqttHex311, "e30.e30.sig", MQTTConfig{}},
		"with reserved flags":   {"11" + mqttHex311[2:], "e30.e30.sig", MQTTConfig{}},
		"in AUTH":               {mqttHello[mqtt50] + "ff" + mqttHexAuth[2:], "new.e30.sig", MQTTConfig{AuthMethod: "OAUTH2-JWT"}},
	} {
		for _, read := range mqttBrokers(mqttFinds(tt.config)) {
			found := read([]proxy.Message{{Binary: true, Data: unhex(t, tt.stream)}})
			if !slices.Contains(found, tt.wants) {
				t.Errorf("%s it finds %q", name, found)
			}
		}
	}
}

// TestMQTTLongText: a text that is too long to be read does not pass, because
// some servers ignore it and others take it into the stream.
func TestMQTTLongText(t *testing.T) {
	t.Parallel()
	d, err := NewMQTT(MQTTConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if s := d.Start(Opening{}); s.Foreign(proxy.Message{}) || !s.Foreign(proxy.Message{Binary: true}) {
		t.Error("a long text passes, or a long packet does not")
	}
}
