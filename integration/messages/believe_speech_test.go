package messages

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// believeSpeech is how the clients of a dialect speak, in one configuration of
// it. Messages have %s in the place of the token.
type believeSpeech struct {
	dialect string // as the table of docs/dialects.md names it
	variant string // what sets this configuration apart from the dialect's first
	words   string // lines of the dialect's besides pass
	passes  []string
	early   bool
	plain   string   // the line about plain requests; empty for none
	sources []string // of the request that load beside first_message
	path    string   // of its sockets, below the route's

	login  string   // logs in
	later  []string // may carry a credential in an open socket
	marker string   // is data
	names  []string // of the members on the way to a credential
	join   string   // data that may stand in front of a login in one message
	binary bool     // messages are binary
	json   bool     // messages are JSON
	once   bool     // a client logs in once: the application gets no second login
	// pack makes a message of what stands for one above, nil if it is one.
	pack func(text string) string
	// long returns a login of about 17 KB with a token, for what is no JSON.
	long func(token string) string
}

// allSources are the sources of the request.
var allSources = []string{"query", "header", "cookie"}

// believeSpeeches are those of all dialects whose messages carry a credential.
var believeSpeeches = []believeSpeech{
	{
		dialect: "json", passes: []string{"consume", "strip", "forward"}, sources: allSources, json: true,
		login: `{"type":"auth","token":"%s"}`, later: []string{`{"type":"auth","token":"Bearer %s"}`},
		marker: `{"type":"marker"}`, names: []string{"type", "token"},
	},
	{
		dialect: "json", variant: "renew", passes: []string{"consume", "strip", "forward"}, sources: allSources, json: true,
		words: "renew {\nmatch /type reauth\ncredential /data/token\npass {pass}\n}",
		login: `{"type":"auth","token":"%s"}`, later: []string{`{"type":"reauth","data":{"token":"%s"}}`},
		marker: `{"type":"marker"}`, names: []string{"type", "data", "token"},
	},
	{
		dialect: "json", variant: "records", passes: []string{"consume", "strip", "forward"}, sources: allSources, json: true,
		words: "prefix m\nseparator \\x1e",
		login: "m{\"type\":\"auth\",\"token\":\"%s\"}\x1e", later: []string{"m{\"type\":\"auth\",\"token\":\"%s\"}\x1e"},
		marker: "m{\"type\":\"marker\"}\x1e", names: []string{"type", "token"}, join: "m{\"type\":\"chat\"}\x1e",
	},
	{
		dialect: "graphql", passes: []string{"strip", "forward"}, sources: allSources, json: true,
		login:  `{"type":"connection_init","payload":{"Authorization":"Bearer %s"}}`,
		later:  []string{`{"type":"connection_init","payload":{"headers":{"Authorization":"%s"}}}`},
		marker: `{"type":"subscribe","id":"marker"}`, names: []string{"type", "payload", "headers", "Authorization"},
	},
	{
		dialect: "graphql_legacy", passes: []string{"strip", "forward"}, sources: allSources, json: true,
		login:  `{"type":"connection_init","payload":{"authToken":"%s"}}`,
		later:  []string{`{"type":"connection_init","payload":{"authToken":"%s"}}`},
		marker: `{"type":"start","id":"marker"}`, names: []string{"type", "payload", "authToken"},
	},
	{
		dialect: "phoenix", passes: []string{"strip", "forward"}, sources: allSources, json: true, plain: "http authenticate",
		login: `["1","1","room:1","phx_join",{"token":"%s"}]`,
		later: []string{
			`["2","2","room:2","phx_join",{"access_token":"%s"}]`,
			`{"topic":"room:2","event":"phx_join","payload":{"user_token":"%s"},"ref":"2"}`,
			`{"topic":"room:1","event":"access_token","payload":{"access_token":"%s"},"ref":"2"}`,
		},
		marker: `[null,"9","room:1","marker",{}]`, names: []string{"event", "payload", "token", "access_token", "user_token"},
	},
	{
		dialect: "actioncable", passes: []string{"strip", "forward"}, sources: allSources, json: true, early: true,
		words: "credential /token /data/token",
		login: `{"command":"subscribe","identifier":"{\"channel\":\"C\"}","token":"%s"}`,
		later: []string{
			`{"command":"subscribe","identifier":"{\"channel\":\"D\"}","token":"%s"}`,
			`{"command":"message","identifier":"{\"channel\":\"C\"}","data":"{\"token\":\"%s\"}"}`,
		},
		marker: `{"command":"marker"}`, names: []string{"command", "data", "token"},
	},
	{
		dialect: "actioncable", variant: "identifier", passes: []string{"forward"}, sources: allSources, json: true, early: true,
		words:  "credential /identifier/token",
		login:  `{"command":"subscribe","identifier":"{\"channel\":\"C\",\"token\":\"%s\"}"}`,
		later:  []string{`{"command":"subscribe","identifier":"{\"channel\":\"D\",\"token\":\"%s\"}"}`},
		marker: `{"command":"marker"}`, names: []string{"command", "identifier", "token"},
	},
	{
		dialect: "socketio", passes: []string{"strip", "forward"}, sources: append([]string{"polling"}, allSources...), json: true, early: true,
		plain: "http authenticate", words: "path /{route}/socket.io/", path: "socket.io/?EIO=4&transport=websocket",
		login: `40{"token":"%s"}`, later: []string{`40/admin,{"token":"%s"}`},
		marker: `42["marker"]`, names: []string{"token"},
	},
	{
		dialect: "home_assistant", passes: []string{"forward", "strip", "consume"}, sources: allSources, json: true, early: true,
		login: `{"type":"auth","access_token":"%s"}`, later: []string{`{"type":"auth","access_token":"%s"}`},
		marker: `{"type":"marker","id":9}`, names: []string{"type", "access_token"},
	},
	{
		dialect: "stomp", passes: []string{"strip", "forward"}, sources: allSources, once: true, plain: "http reject",
		login:  "CONNECT\naccept-version:1.2\nhost:h\nAuthorization:Bearer %s\n\n\x00",
		later:  []string{"CONNECT\naccept-version:1.2\npasscode:%s\n\n\x00", "STOMP\naccept-version:1.2\nTOKEN:%s\n\n\x00"},
		marker: "SEND\ndestination:/marker\n\n\x00", join: "\n",
		long: func(token string) string {
			return "CONNECT\naccept-version:1.2\nx:" + strings.Repeat("x", 17000) + "\ntoken:" + token + "\n\n\x00"
		},
	},
	{
		dialect: "mqtt", passes: []string{"strip", "forward"}, sources: allSources, once: true, plain: "http reject", binary: true,
		login: "%s", later: []string{"%s"}, pack: func(password string) string { return mqttLogin(password, 0) }, marker: mqttPublish(9),
		long: func(token string) string { return mqttLogin(token, 17000) },
	},
	{
		dialect: "raw", passes: []string{"consume", "forward"},
		login: "%s", later: []string{"Bearer %s"}, marker: "marker",
		long: func(token string) string { return strings.Repeat(" ", 17000) + token },
	},
}

// says returns a message with a token.
func (b believeSpeech) says(message, token string) string {
	text := fmt.Sprintf(message, token)
	if b.pack != nil {
		return b.pack(text)
	}
	return text
}

// name is that of the route of one configuration.
func (b believeSpeech) name(pass string, renews bool) string {
	parts := []string{b.dialect}
	if b.variant != "" {
		parts = append(parts, b.variant)
	}
	parts = append(parts, pass)
	if renews {
		parts = append(parts, "renews")
	}
	return strings.Join(parts, "-")
}

// route returns the route of one configuration.
func (b believeSpeech) route(pass string, renews bool) believeRoute {
	r := believeRoute{name: b.name(pass, renews)}
	if len(b.sources) > 0 {
		r.sources = "from query\nfrom header\nfrom cookie session\n"
	}
	r.sources += "from first_message {\nwithin 1m\n"
	if b.early {
		r.sources += "early\n"
	}
	r.sources += "}"
	r.lines = fmt.Sprintf("dialect %s {\npass %s\n%s\n}\n%s\n", b.dialect, pass, strings.ReplaceAll(b.words, "{pass}", pass), b.plain)
	if renews {
		r.lines += "on_expiry renew {\nwarn 0s\ngrace 5m\npath /{route}/renew\n}\n"
	}
	return r
}

// believeRoutes are those of all configurations.
func believeRoutes() (routes []believeRoute) {
	for _, b := range believeSpeeches {
		for _, pass := range b.passes {
			routes = append(routes, b.route(pass, false), b.route(pass, true))
		}
	}
	return routes
}

// frame returns a message in one frame.
func (b believeSpeech) frame(message string) []byte { return b.framed(message, b.binary) }

// framed returns a message in one frame, binary or not.
func (b believeSpeech) framed(message string, binary bool) []byte {
	op := byte(rig.OpText)
	if binary {
		op = rig.OpBinary
	}
	return rig.ClientFrame(0x80|op, []byte(message))
}

// believeForm is a way to write a message that carries a credential.
type believeForm struct {
	name   string
	frames []byte
	column int // of the table, which says what becomes of it
}

// forms returns all ways to write the message, with a token that nobody has
// signed; good is one of the socket's own user. limit is how long a message may
// be.
func (b believeSpeech) forms(message, forged, good string, limit int) []believeForm {
	text := b.says(message, forged)
	forms := b.plainForms(message, forged)
	add := func(name, text string, column int) {
		forms = append(forms, believeForm{name, b.frame(text), column})
	}
	forms = append(forms, believeForm{"in a frame of the other kind", b.framed(text, !b.binary), columnBinary})
	if !b.json {
		add("of 17 KB", b.long(forged), columnAnother)
		return forms
	}
	head, tail := text[:strings.IndexAny(text, "{[")], ""
	body := strings.TrimPrefix(text, head)
	if strings.HasSuffix(body, "\x1e") {
		body, tail = body[:len(body)-1], "\x1e"
	}
	inside := func(extra string) string {
		end := len(body) - 1
		if body[end] == ']' {
			return body[:end] + "," + extra + "]"
		}
		return body[:end] + `,"x":` + extra + "}"
	}
	const deep = 40
	add("padded", head+body+strings.Repeat(" ", 12000)+tail, columnAnother)
	add("padded over the limit", head+body+strings.Repeat(" ", limit+1-len(text))+tail, columnTooLong)
	add("nested over the limit", head+inside(strings.Repeat("[", deep)+strings.Repeat("]", deep))+tail, columnUnread)
	add("cut off", head+body[:len(body)-1]+tail, columnUnread)
	add("more behind it", head+body+"{}"+tail, columnUnread)
	add("behind a comment", head+"/**/"+body+tail, columnUnread)
	add("in single quotes", head+strings.ReplaceAll(body, `"`, "'")+tail, columnUnread)
	for _, name := range b.names {
		if !strings.Contains(body, name+`":`) && !strings.Contains(body, name+`\":`) {
			continue
		}
		upper := strings.ToUpper(name)
		other := strings.NewReplacer(name+`":`, upper+`":`, name+`\":`, upper+`\":`)
		add("another case of "+name, head+other.Replace(body)+tail, columnUnread)
	}
	for _, twice := range b.twice(body, forged, good) {
		add("a member twice: "+twice[0], head+twice[1]+tail, columnUnread)
	}
	return forms
}

// plainForms are those in which a credential is looked at, in every dialect.
func (b believeSpeech) plainForms(message, token string) []believeForm {
	text := b.says(message, token)
	first := byte(rig.OpText)
	if b.binary {
		first = rig.OpBinary
	}
	half := len(text) / 2
	forms := []believeForm{
		{"as it is", b.frame(text), columnAnother},
		{"fragmented", slices.Concat(rig.ClientFrame(first, []byte(text[:half])), rig.ClientFrame(rig.OpContinuation, nil),
			rig.ClientFrame(0x80|rig.OpPing, nil), rig.ClientFrame(0x80|rig.OpContinuation, []byte(text[half:]))), columnAnother},
	}
	if b.join != "" {
		forms = append(forms, believeForm{"two records in one frame", b.frame(b.join + text), columnAnother})
	}
	return forms
}

// twice returns the JSON body with the credential's member twice, one of them
// with a good token, and the same for the member around it.
func (b believeSpeech) twice(body, forged, good string) (all [][2]string) {
	for _, quote := range []string{`"`, `\"`} {
		end := strings.Index(body, forged+quote)
		if end < 0 {
			continue
		}
		start := strings.LastIndex(body[:end], quote+":") // of the value, behind the name
		start = strings.LastIndex(body[:start], quote)
		bad := body[start : end+len(forged)+len(quote)]
		member := strings.ReplaceAll(bad, forged, good)
		name := bad[len(quote) : len(quote)+strings.Index(bad[len(quote):], quote)]
		folded := strings.Replace(bad, name, strings.ToUpper(name[:1])+name[1:], 1)
		put := func(text string) string { return body[:start] + text + body[start+len(bad):] }
		all = append(all,
			[2]string{"good, forged", put(member + "," + bad)}, [2]string{"forged, good", put(bad + "," + member)},
			[2]string{"good, forged in another case", put(member + "," + folded)})
		if name == "Authorization" { // begins with a capital already
			all[len(all)-1][1] = put(member + "," + strings.Replace(bad, name, "AUTHORIZATION", 1))
		}
		break
	}
	if i := strings.Index(body, `"payload":`); i >= 0 && body[0] == '{' {
		end := i + bytes.IndexByte([]byte(body[i:]), '}') + 1
		for body[:end] != "" && strings.Count(body[i:end], "{") != strings.Count(body[i:end], "}") {
			end++
		}
		bad := body[i:end]
		fine := strings.ReplaceAll(bad, forged, good)
		all = append(all, [2]string{
			"a good payload, a forged Payload",
			body[:i] + fine + "," + strings.Replace(bad, "payload", "Payload", 1) + body[end:],
		})
	}
	return all
}
