package dialect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// forged is a credential that nobody has verified.
const forged = "FORGED"

// believed is a message of a dialect's that carries a credential, with %s in
// its place, for applications of the dialect.
type believed struct {
	name    string
	dialect func(pass string) (Dialect, error)
	passes  []string
	opening Opening
	message string
	names   []string // of members on the way to it
}

// believedMessages are those of the dialects that read JSON.
var believedMessages = []believed{
	{
		"json", func(pass string) (Dialect, error) { return NewJSON(JSONConfig{Pass: pass}) },
		[]string{"consume", "strip", "forward"},
		Opening{},
		`{"type":"auth","token":"%s"}`,
		[]string{"type", "token"},
	},
	{"json deep", func(pass string) (Dialect, error) {
		return NewJSON(JSONConfig{Pass: pass, Match: []Condition{{Pointer: "/method", Values: []string{"login", "renew"}}}, Credential: "/params/0/token"})
	}, []string{"consume", "strip", "forward"}, Opening{}, `{"method":"login","params":[{"token":"%s"}]}`, []string{"method", "params", "token"}},
	{"json with a renewal", func(pass string) (Dialect, error) {
		return NewJSON(JSONConfig{Pass: pass, Renew: &JSONRenewal{Match: []Condition{{Pointer: "/type", Values: []string{"reauth"}}}}})
	}, []string{"consume", "strip", "forward"}, Opening{}, `{"type":"reauth","token":"%s"}`, []string{"type", "token"}},
	{"json with records", func(pass string) (Dialect, error) {
		return NewJSON(JSONConfig{Pass: pass, Prefix: "m", Separator: "\x1e"})
	}, []string{"consume", "strip", "forward"}, Opening{}, `m{"type":"auth","token":"%s"}`, []string{"type", "token"}},
	{
		"graphql", func(pass string) (Dialect, error) { return NewGraphQL(GraphQLConfig{Pass: pass}) },
		[]string{"strip", "forward"},
		Opening{},
		`{"type":"connection_init","payload":{"headers":{"Authorization":"%s"}}}`,
		[]string{"type", "payload", "headers", "Authorization"},
	},
	{
		"graphql_legacy", func(pass string) (Dialect, error) { return NewGraphQL(GraphQLConfig{Pass: pass, Legacy: true}) },
		[]string{"strip", "forward"},
		Opening{},
		`{"type":"connection_init","payload":{"authToken":"%s"}}`,
		[]string{"type", "payload", "authToken"},
	},
	{
		"phoenix arrays", func(pass string) (Dialect, error) { return NewPhoenix(PhoenixConfig{Pass: pass}) },
		[]string{"strip", "forward"},
		Opening{},
		`["1","1","room:1","phx_join",{"token":"%s"}]`,
		[]string{"token"},
	},
	{
		"phoenix objects", func(pass string) (Dialect, error) { return NewPhoenix(PhoenixConfig{Pass: pass}) },
		[]string{"strip", "forward"},
		Opening{},
		`{"topic":"room:1","event":"phx_join","payload":{"user_token":"%s"},"ref":"1"}`,
		[]string{"event", "payload", "user_token"},
	},
	{
		"phoenix renewal", func(pass string) (Dialect, error) { return NewPhoenix(PhoenixConfig{Pass: pass}) },
		[]string{"strip", "forward"},
		Opening{},
		`{"topic":"room:1","event":"access_token","payload":{"access_token":"%s"},"ref":"1"}`,
		[]string{"event", "payload", "access_token"},
	},
	{"actioncable", func(pass string) (Dialect, error) {
		return NewActionCable(ActionCableConfig{Pass: pass, Credential: []string{"/token"}})
	}, []string{"strip", "forward"}, Opening{Early: true}, `{"command":"subscribe","identifier":"{\"channel\":\"C\"}","token":"%s"}`, []string{"command", "token"}},
	{"actioncable identifier", func(pass string) (Dialect, error) {
		return NewActionCable(ActionCableConfig{Pass: pass, Credential: []string{"/identifier/token"}})
	}, []string{"forward"}, Opening{Early: true}, `{"command":"subscribe","identifier":"{\"channel\":\"C\",\"token\":\"%s\"}"}`, []string{"command", "identifier", "token"}},
	{"actioncable data", func(pass string) (Dialect, error) {
		return NewActionCable(ActionCableConfig{Pass: pass, Credential: []string{"/data/token"}})
	}, []string{"strip", "forward"}, Opening{Early: true}, `{"command":"message","identifier":"{\"channel\":\"C\"}","data":"{\"token\":\"%s\"}"}`, []string{"command", "data", "token"}},
	{
		"home_assistant", func(pass string) (Dialect, error) { return NewHomeAssistant(HomeAssistantConfig{Pass: pass}) },
		[]string{"strip", "forward", "consume"},
		Opening{Early: true},
		`{"type":"auth","access_token":"%s"}`,
		[]string{"type", "access_token"},
	},
	{
		"socketio", func(pass string) (Dialect, error) { return NewSocketIO(SocketIOConfig{Pass: pass}) },
		[]string{"strip", "forward"},
		Opening{Early: true, Query: "EIO=4"},
		`40/admin,{"token":"%s"}`,
		[]string{"token"},
	},
	{
		"socketio 2", func(pass string) (Dialect, error) { return NewSocketIO(SocketIOConfig{Pass: pass}) },
		[]string{"strip", "forward"},
		Opening{Early: true, Query: "EIO=3"},
		`40/admin?token=%s`,
		[]string{"token"},
	},
}

// disguise writes a message in another way, in which some application still
// reads it.
type disguise struct {
	name string
	as   func(b believed, message string) []string
}

// inText begins the names of disguises that no application reads in a binary
// message, and inBinaryOnly those that none reads in a text.
const inText, inBinaryOnly = "as text, ", "as binary, "

// hides tells whether no application reads a disguise in a message of the kind.
func hides(name string, binary bool) bool {
	return binary && strings.HasPrefix(name, inText) || !binary && strings.HasPrefix(name, inBinaryOnly)
}

// wide writes a text of ASCII with so many NULs in front of, or behind, each
// letter.
func wide(begin, text string, before, behind int) string {
	var b strings.Builder
	b.WriteString(begin)
	for i := range len(text) {
		b.WriteString(strings.Repeat("\x00", before) + text[i:i+1] + strings.Repeat("\x00", behind))
	}
	return b.String()
}

// phoenixPushOf returns a binary push, Phoenix.Socket.V2.
func phoenixPushOf(event, payload string) string {
	return string([]byte{0, 1, 1, 6, byte(len(event))}) + "12room:1" + event + payload
}

// one is a disguise of one text.
func one(as func(message string) string) func(believed, string) []string {
	return func(_ believed, message string) []string { return []string{as(message)} }
}

// inSocketIO is a disguise of a CONNECT packet of Socket.IO's, by what follows
// its type.
func inSocketIO(as func(rest string) []string) func(believed, string) []string {
	return func(_ believed, m string) []string {
		rest, is := strings.CutPrefix(m, "40")
		if !is {
			return []string{m}
		}
		return as(rest)
	}
}

// body splits a message into what stands in front of its JSON, and that.
func body(message string) (head, text string) {
	i := strings.IndexAny(message, "{[")
	if i < 0 {
		return message, ""
	}
	return message[:i], message[i:]
}

// inBody is a disguise of the JSON of a message.
func inBody(as func(text string) string) func(believed, string) []string {
	return one(func(message string) string {
		head, text := body(message)
		if text == "" {
			return message
		}
		return head + as(text)
	})
}

// otherCases returns a name in other cases of letters.
func otherCases(name string) []string {
	cases := []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name[:len(name)-1] + strings.ToUpper(name[len(name)-1:])}
	for _, one := range [][2]string{{"k", "\u212a"}, {"s", "\u017f"}, {"i", "\u0131"}} {
		if strings.Contains(name, one[0]) {
			cases = append(cases, strings.Replace(name, one[0], one[1], 1))
		}
	}
	return cases
}

// believedTypes are those of the messages.
var believedTypes = []string{"auth", "reauth", "login", "connection_init", "phx_join", "access_token", "subscribe", "message"}

// disguises are what was seen to be read in practice.
var disguises = []disguise{
	{"as it is", one(func(m string) string { return m })},
	{"padded", inBody(func(text string) string { return text + strings.Repeat(" ", 17000) })},
	{"behind white space", inBody(func(text string) string { return " \n\t" + text })},
	{"behind white space, with its prefix", func(b believed, m string) []string {
		if head, _ := body(m); head == "" {
			return []string{m}
		}
		return []string{" " + m, "\ufeff" + m, "\n" + m}
	}},
	{"types by half of their bytes", inSocketIO(func(rest string) []string {
		return []string{"D0" + rest, "t0" + rest, "dp" + rest, "4P" + rest, "$ " + rest}
	})},
	{"behind a length of Engine.IO 3", inSocketIO(func(rest string) []string {
		n := len("40" + rest)
		length := fmt.Sprint(n)
		bytes := string([]byte{0, byte(n / 10), byte(n % 10)})
		return []string{
			length + ":40" + rest, length + ":D0" + rest, bytes + "?40" + rest, bytes + "\xff40" + rest,
			"\x00" + length + "?40" + rest, " " + length + ":40" + rest,
		}
	})},
	{"behind another packet", inSocketIO(func(rest string) []string {
		return []string{"42[\"x\"]\x1e40" + rest, "3\x1e\x1e40" + rest, "PING\x1e40" + rest, "\x1e40" + rest}
	})},
	{"behind another packet, loosely", inSocketIO(func(rest string) []string {
		return []string{"42[\"x\"]\x1eD0" + rest, "42[\"x\"]\x1e 40" + rest, "42[\"x\"]\x1e" + fmt.Sprint(len(rest)+2) + ":40" + rest}
	})},
	{"behind a comment of Java's", inBody(func(text string) string { return "#x\n# y\r\n" + text })},
	{"behind a prefix that is not to run", inBody(func(text string) string { return ")]}'\n" + text })},
	{"behind control characters", func(b believed, m string) (out []string) {
		head, text := body(m)
		if text == "" {
			return []string{m}
		}
		for _, c := range []string{"\x00", "\x01", "\x1c", "\x1e", "\x1f", "\x1b\x1f"} {
			if c != "\x1e" || b.name != "json with records" { // in which it is a border
				out = append(out, head+c+text)
			}
		}
		return out
	}},
	{"behind a byte order mark", inBody(func(text string) string { return "\ufeff" + text })},
	{"behind a comment", inBody(func(text string) string { return "/**/" + text })},
	{"behind a line of comment", inBody(func(text string) string { return "//x\n" + text })},
	{"with more behind it", inBody(func(text string) string { return text + "{}" })},
	{"with garbage behind it", inBody(func(text string) string { return text + "x" })},
	{"with a NUL behind it", inBody(func(text string) string { return text + "\x00" })},
	{"with a comma too many", inBody(func(text string) string { return text[:len(text)-1] + "," + text[len(text)-1:] })},
	{"single quotes", inBody(func(text string) string { return strings.ReplaceAll(text, `"`, `'`) })},
	{"nested too deep", inBody(func(text string) string {
		end := len(text) - 1
		if text[end] == '}' {
			return text[:end] + `,"x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + "}"
		}
		return text[:end] + "," + strings.Repeat("[", 33) + strings.Repeat("]", 33) + "]"
	})},
	{"NaN", inBody(func(text string) string {
		end := len(text) - 1
		if text[end] == '}' {
			return text[:end] + `,"x":NaN}`
		}
		return text[:end] + ",NaN]"
	})},
	{"cut off", inBody(func(text string) string { return text[:len(text)-1] })},
	{"escaped", func(b believed, m string) (out []string) {
		for _, name := range b.names {
			if strings.Contains(m, "{") {
				out = append(out, strings.ReplaceAll(m, name, fmt.Sprintf(`\u%04x`, name[0])+name[1:]))
			}
		}
		return out
	}},
	{"a member in another case", func(b believed, m string) (out []string) {
		for _, name := range b.names {
			for _, other := range otherCases(name) {
				out = append(out, strings.NewReplacer(name+`":`, other+`":`, name+`\":`, other+`\":`, name+"=", other+"=").Replace(m))
			}
		}
		return out
	}},
	{"a name that goes on behind a NUL", func(b believed, m string) (out []string) {
		for _, name := range b.names {
			out = append(out, strings.NewReplacer(name+`":`, name+`\u0000x":`, name+`\":`, name+`\\u0000x\":`).Replace(m))
		}
		return out
	}},
	{"an object in place of a text", func(_ believed, m string) []string {
		return []string{strings.NewReplacer(`"{\"`, `{"`, `\"}"`, `"}`, `\"`, `"`).Replace(m)}
	}},
	{inBinaryOnly + "with bytes that some leave out", func(b believed, m string) []string {
		if strings.HasPrefix(b.name, "socketio") { // no server decodes binary ones like this
			return []string{m}
		}
		out := []string{strings.ReplaceAll(m, `"`, "\xff\""), "\xff\x80" + m}
		for _, word := range append(believedTypes, b.names...) {
			out = append(out, strings.ReplaceAll(m, word, word[:1]+"\xff"+word[1:]))
		}
		return out
	}},
	{"UTF-16 and UTF-32", func(b believed, m string) []string {
		if head, text := body(m); head != "" || text == "" {
			return []string{m}
		}
		return []string{
			wide("\xff\xfe", m, 0, 1), wide("\xfe\xff", m, 1, 0), wide("", m, 0, 1), wide("", m, 1, 0),
			wide("\xff\xfe\x00\x00", m, 0, 3), wide("\x00\x00\xfe\xff", m, 3, 0), wide("", m, 0, 3), wide("", m, 3, 0),
		}
	}},
	{inBinaryOnly + "push", func(b believed, m string) []string {
		if !strings.HasPrefix(b.name, "phoenix") {
			return []string{m}
		}
		payload := m[strings.LastIndexByte(m, '{') : strings.IndexByte(m, '}')+1]
		return []string{phoenixPushOf("phx_join", payload), phoenixPushOf("access_token", payload)}
	}},
	{"escaped types", func(_ believed, m string) (out []string) {
		for _, kind := range believedTypes {
			if strings.Contains(m, "{") {
				out = append(out, strings.Replace(m, `"`+kind+`",`, fmt.Sprintf(`"\u%04x%s",`, kind[0], kind[1:]), 1))
			}
		}
		return out
	}},
	{"beside another credential", func(b believed, m string) (out []string) {
		last := b.names[len(b.names)-1]
		for _, other := range []string{"Authorization", "authorization", "token", "access_token", "authToken", "user_token"} {
			if other != last {
				own := `"` + last + `":"` + forged + `"`
				out = append(out, strings.Replace(m, own, `"`+other+`":"x",`+own, 1))
			}
		}
		return out
	}},
	{inText + "digits of another script", func(_ believed, m string) []string {
		rest, is := strings.CutPrefix(m, "40")
		if !is {
			return []string{m}
		}
		return []string{"\u06640" + rest, "4\u0660" + rest, "\uff14\uff10" + rest, "4" + rest, "4 " + rest, "47" + rest}
	}},
	{"a type that goes on behind a NUL", func(_ believed, m string) (out []string) {
		for _, kind := range believedTypes {
			out = append(out, strings.Replace(m, `"`+kind+`",`, `"`+kind+`\u0000x",`, 1))
		}
		return out
	}},
	{"a member twice", func(b believed, m string) (out []string) {
		last := b.names[len(b.names)-1]
		for _, other := range append(otherCases(last), last) {
			for _, quote := range []string{`"`, `\"`} {
				old := quote + last + quote + ":" + quote + forged + quote
				harmless := quote + other + quote + ":" + quote + "x" + quote
				out = append(out, strings.Replace(m, old, harmless+","+old, 1), strings.Replace(m, old, old+","+harmless, 1))
			}
		}
		return out
	}},
}

// TestNothingIsBelievedUnverified: whatever writes it, a credential is verified
// or goes nowhere, in every state, whatever has logged the socket in.
func TestNothingIsBelievedUnverified(t *testing.T) {
	t.Parallel()
	for _, b := range believedMessages {
		for _, pass := range b.passes {
			t.Run(b.name+"/"+pass, func(t *testing.T) {
				t.Parallel()
				d, err := b.dialect(pass)
				if err != nil {
					t.Fatal(err)
				}
				message := fmt.Sprintf(b.message, forged)
				for _, as := range disguises {
					for _, text := range as.as(b, message) {
						checkBelieved(t, d, b.opening, as.name, []byte(text))
					}
				}
			})
		}
	}
}

// checkBelieved checks that nothing of a message in a disguise, as text and
// binary, alone and in a frame with others, is handed on unverified.
func checkBelieved(t *testing.T, d Dialect, o Opening, name string, text []byte) {
	t.Helper()
	for _, binary := range []bool{false, true} {
		if hides(name, binary) {
			continue
		}
		for st := Pending; st <= Suspended; st++ {
			s := d.Start(o)
			if s.Idle() {
				t.Fatal("the socket is not read")
			}
			m := proxy.Message{Binary: binary, Data: bytes.Clone(text)}
			parts, err := s.Client(st, m)
			if err != nil {
				continue
			}
			if credential := handedOn(st, parts, m); credential != "" {
				t.Errorf("%s, state %d, binary %v: %.200q is handed on as %s", name, st, binary, text, credential)
			}
		}
	}
}

// handedOn tells what of m goes on without a look at the forged credential in
// it, "" if nothing does.
func handedOn(st State, parts []Part, m proxy.Message) string {
	for _, p := range parts {
		data := p.Message.Data
		if p.Whole {
			data = m.Data
		}
		data = bytes.ReplaceAll(data, []byte{0}, nil) // of UTF-16 and UTF-32
		switch {
		case p.Nothing || !bytes.Contains(data, []byte(forged)):
		case st == Pending && p.Kind == Data: // it ends the socket
		case p.Kind != Login:
			return fmt.Sprintf("kind %d", p.Kind)
		case p.Credential != forged:
			return "a login of " + p.Credential
		}
	}
	return ""
}

// TestForeignPasses: what is no message of a protocol is the application's
// data, in every dialect.
func TestForeignPasses(t *testing.T) {
	t.Parallel()
	messages := []proxy.Message{
		proxy.Text("PING"), proxy.Text(""), proxy.Text("ls -l\r"), proxy.Text("\x1b[A"),
		{Binary: true},
		{Binary: true, Data: []byte("OggS\x00\x02")},
		{Binary: true, Data: []byte("{\x93\x17\xf0\"\x00\xff")},
		{Binary: true, Data: []byte("[\x80\x81\x82")},
		{Binary: true, Data: []byte("\xff\xfe\x01\x02\x03\x04")},
	}
	for _, b := range believedMessages {
		d, err := b.dialect(b.passes[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			parts, err := d.Start(b.opening).Client(Open, m)
			if err != nil || len(parts) != 1 || !parts[0].Whole || parts[0].Kind != Data {
				t.Errorf("%s: %q is %+v, %v", b.name, m.Data, parts, err)
			}
			long := proxy.Message{Binary: m.Binary, Data: append(bytes.Clone(m.Data), bytes.Repeat([]byte{0x93, 'x'}, 300)...)}
			if !m.Binary {
				long.Data = append(bytes.Clone(m.Data), strings.Repeat("x", 600)...)
			}
			// What may be behind the beginning of these is not known.
			unknown := b.name == "json with records" || strings.HasPrefix(b.name, "socketio") && !m.Binary
			if d.Start(b.opening).Foreign(long) == unknown {
				t.Errorf("%s: %.20q passes if it is too long: %v", b.name, long.Data, !unknown)
			}
		}
	}
}

// TestNothingTooLongIsBelieved: what could be a message that carries a
// credential is not foreign, whatever stands in front of it.
func TestNothingTooLongIsBelieved(t *testing.T) {
	t.Parallel()
	for _, b := range believedMessages {
		d, err := b.dialect(b.passes[0])
		if err != nil {
			t.Fatal(err)
		}
		message := fmt.Sprintf(b.message, forged)
		for _, as := range disguises {
			for _, text := range as.as(b, message) {
				for _, binary := range []bool{false, true} {
					if hides(as.name, binary) {
						continue
					}
					begin := proxy.Message{Binary: binary, Data: append([]byte(text), strings.Repeat(" ", 1000)...)[:512]}
					if (!binary || b.opening.Query != "EIO=3") && d.Start(b.opening).Foreign(begin) && !strings.HasPrefix(text, "401") {
						t.Errorf("%s, %s, binary %v: %.100q passes unread", b.name, as.name, binary, text)
					}
				}
			}
		}
	}
}
