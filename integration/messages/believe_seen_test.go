package messages

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// believeSeen is an attack that was seen to work.
type believeSeen struct {
	name    string
	route   string // as believeSpeech.name returns it
	source  string
	message string // with %[1]s for the forged token, %[2]s for one of the user's own
	binary  bool
	code    uint16 // with which the socket ends, 0 if it lives on
}

// speechOf returns the speech of a route, and what else its name says.
func speechOf(t *testing.T, route string) (b believeSpeech, pass string) {
	t.Helper()
	for _, b := range believeSpeeches {
		for _, pass := range b.passes {
			if route == b.name(pass, false) || route == b.name(pass, true) {
				return b, pass
			}
		}
	}
	t.Fatalf("there is no route %s", route)
	return b, ""
}

// believeSeenAll are the attacks.
func believeSeenAll(t *testing.T) (all []believeSeen) {
	t.Helper()
	for _, route := range []string{
		"json-forward", "phoenix-forward", "actioncable-forward", "socketio-forward", "home_assistant-forward",
		"graphql-strip", "graphql_legacy-strip", "json-strip", "json-forward-renews",
		"mqtt-forward", "mqtt-strip", "stomp-forward", "stomp-strip",
	} {
		b, _ := speechOf(t, route)
		for _, source := range []string{"query", "header"} {
			seen := believeSeen{
				name: "good in the " + source + ", forged in the login message", route: route, source: source,
				message: strings.ReplaceAll(b.login, "%s", "%[1]s"), binary: b.binary,
			}
			if b.once {
				seen.code = rig.CloseUnauthorized
			}
			all = append(all, seen)
		}
	}
	spaces := strings.Repeat(" ", 17000)
	reauth := `{"type":"reauth","data":{"token":"%[1]s"}}`
	deep := strings.Repeat("[", 33) + strings.Repeat("]", 33)
	for _, source := range []string{"none", "query"} {
		all = append(all, []believeSeen{
			{"forged renewal in a binary frame", "json-renew-forward-renews", source, reauth, true, rig.ClosePolicy},
			{"forged renewal with 17,000 spaces behind it", "json-renew-forward-renews", source, reauth + spaces, false, 0},
			{"forged join of 17 KB", "phoenix-strip", source, `["2","2","room:2","phx_join",{"token":"%[1]s"}]` + spaces, false, 0},
			{"forged CONNECT of 17 KB", "socketio-strip", source, `40/admin,{"token":"%[1]s"}` + spaces, false, 0},
			{"nested 33 deep: join as an array", "phoenix-forward", source, `["2","2","room:2","phx_join",{"token":"%[1]s","x":` + deep + `}]`, false, rig.ClosePolicy},
			{"nested 33 deep: join as an object", "phoenix-forward", source, `{"topic":"room:2","event":"phx_join","payload":{"token":"%[1]s"},"ref":` + deep + `}`, false, rig.ClosePolicy},
			{"nested 33 deep: access_token", "phoenix-strip", source, `{"topic":"room:1","event":"access_token","payload":{"access_token":"%[1]s","x":` + deep + `},"ref":"1"}`, false, rig.ClosePolicy},
			{"nested 33 deep: command", "actioncable-strip", source, `{"command":"subscribe","identifier":"{}","token":"%[1]s","x":` + deep + `}`, false, rig.ClosePolicy},
			{"nested 33 deep: identifier", "actioncable-identifier-forward", source, `{"command":"subscribe","identifier":"{\"token\":\"%[1]s\",\"x\":` + deep + `}"}`, false, rig.ClosePolicy},
			{"nested 33 deep: auth", "home_assistant-strip", source, `{"type":"auth","access_token":"%[1]s","x":` + deep + `}`, false, rig.ClosePolicy},
			{"a good payload, a forged Payload", "graphql-forward", source, `{"type":"connection_init","payload":{"Authorization":"%[2]s"},"Payload":{"Authorization":"%[1]s"}}`, false, rig.ClosePolicy},
			{"a good payload, a forged Payload", "graphql_legacy-strip", source, `{"type":"connection_init","payload":{"authToken":"%[2]s"},"Payload":{"authToken":"%[1]s"}}`, false, rig.ClosePolicy},
			{"a good token, a forged Token", "json-forward", source, `{"type":"auth","token":"%[2]s","Token":"%[1]s"}`, false, rig.ClosePolicy},
			{"type of the packet in Arabic digits", "socketio-forward", source, `٤0/admin,{"token":"%[1]s"}`, false, rig.ClosePolicy},
			{"type of Socket.IO in Arabic digits", "socketio-forward", source, `4٠/admin,{"token":"%[1]s"}`, false, rig.ClosePolicy},
			{"type of Socket.IO out of 0 to 6", "socketio-forward", source, `47/admin,{"token":"%[1]s"}`, false, rig.ClosePolicy},
			{"CONNECT behind white space", "socketio-forward", source, ` 40/admin,{"token":"%[1]s"}`, false, rig.ClosePolicy},
			{"type of the packet by half of its byte", "socketio-forward", source, `D0/admin,{"token":"%[1]s"}`, false, rig.ClosePolicy},
			{"CONNECT behind a length", "socketio-forward", source, `25:40/admin,{"token":"%[1]s"}`, true, rig.ClosePolicy},
			{"CONNECT behind another packet", "socketio-forward", source, "42[\"x\"]\x1e40/admin,{\"token\":\"%[1]s\"}", false, rig.ClosePolicy},
			{"CONNECT behind another packet, binary", "socketio-forward", source, "42[\"x\"]\x1e40/admin,{\"token\":\"%[1]s\"}", true, rig.ClosePolicy},
			{"CONNECT behind a long packet", "socketio-forward", source, `42["` + strings.Repeat("x", 1<<20) + "\"]\x1e40/admin,{\"token\":\"%[1]s\"}", false, rig.CloseTooBig},
			{"behind what is no record of the protocol, and too long", "json-records-forward", source, "PING\x1em{\"type\":\"auth\",\"token\":\"%[1]s\"}\x1e" + strings.Repeat("x", 1<<20), false, rig.CloseTooBig},
			{"behind a comment that begins with #", "json-forward", source, "#\n{\"type\":\"auth\",\"token\":\"%[1]s\"}", false, rig.ClosePolicy},
			{"behind a comment that begins with #", "home_assistant-forward", source, "#\n{\"type\":\"auth\",\"access_token\":\"%[1]s\"}", true, rig.ClosePolicy},
			{"behind a prefix that is not to run", "phoenix-forward", source, ")]}'\n[\"2\",\"2\",\"room:2\",\"phx_join\",{\"token\":\"%[1]s\"}]", false, rig.ClosePolicy},
			{"with bytes that some leave out", "graphql-forward", source, "{\"type\":\"connection\xff_init\",\"payload\":{\"Authorization\":\"%[1]s\"}}", true, rig.ClosePolicy},
		}...)
	}
	return append(all, believeSeen{
		"good by polling, forged CONNECT of a namespace behind the upgrade", "socketio-forward", "polling",
		`40/admin,{"token":"%[1]s"}`, false, 0,
	})
}

// triesSeen checks that none of the attacks that were seen to work does.
func (s *believeSite) triesSeen(t *testing.T) {
	for _, a := range believeSeenAll(t) {
		t.Run(a.route+"/"+a.source+"/"+a.name, func(t *testing.T) {
			t.Parallel()
			b, pass := speechOf(t, a.route)
			c := &believeCase{
				believeSite: s, speech: b, pass: pass, source: a.source, route: a.route, version: rig.H1,
				table: believeTableOf(t)[b.dialect+" "+pass],
			}
			c.tokens = c.newTokens("")
			who := c.enter(t, a.name)
			message := strings.NewReplacer("%[1]s", c.tokens.forged, "%[2]s", c.tokens.own).Replace(a.message)
			if b.pack != nil {
				message = b.pack(message)
			}
			frames := b.framed(message, a.binary)
			if a.source == "polling" {
				frames = append(append(b.frame("2probe"), b.frame("5")...), frames...)
			}
			o := who.outcome(t, []byte(b.marker), append(frames, b.frame(b.marker)...))
			if o.lives != (a.code == 0) || o.code != a.code {
				t.Errorf("the socket lives: %v, and ends with %d, want %d", o.lives, o.code, a.code)
			}
			if o.holds(c.tokens.forged) {
				t.Errorf("a forged token reached the application: %.300q", o.arrived)
			}
		})
	}
}

// triesBeforeLogin checks that a message that nobody has verified reaches no
// application before the login either, however it is written.
func (s *believeSite) triesBeforeLogin(t *testing.T) {
	for _, b := range believeSpeeches {
		for _, pass := range b.passes {
			route := b.name(pass, false)
			t.Run(route, func(t *testing.T) {
				t.Parallel()
				own := s.Issuer.Token()
				forms := b.forms(b.login, believeForged(), own, 16<<10)
				for _, f := range forms {
					t.Run(f.name, func(t *testing.T) {
						path := "/" + route + "/" + b.path
						who := s.believer(t, rig.H1, path, rig.NoHeader)
						defer who.Vanish()
						o := who.outcome(t, []byte(b.marker), append(f.frames, b.frame(b.marker)...))
						if o.lives || len(o.arrived) > 0 {
							t.Errorf("the socket lives: %v; the application got %.300q", o.lives, o.arrived)
						}
						if want := uint16(rig.CloseTooBig); f.column == columnTooLong && o.code != want {
							t.Errorf("the socket ends with %d, want %d", o.code, want)
						}
					})
				}
			})
		}
	}
}

// TestBelieveFallback: the transports of a protocol over plain requests have its
// messages in their bodies, which are not read. None gets to the application, by
// a good credential in the request either.
func TestBelieveFallback(t *testing.T) {
	t.Parallel()
	first, early := "from first_message\nfrom query\n", "from first_message {\nearly\n}\nfrom query\n"
	s := startBelieveSite(t, []believeRoute{
		{"phoenix", first, "dialect phoenix\nhttp authenticate"},
		{"stomp", first, "dialect stomp\nhttp authenticate"},
		{"cable", early, "dialect actioncable {\ncredential /identifier/token\n}\nhttp authenticate"},
		{"cableless", "from query\n", "dialect actioncable\nhttp authenticate"},
	})
	good, forged := s.Issuer.Token(), believeForged()
	for _, tt := range []struct {
		path string
		want int
	}{
		{"phoenix/socket/longpoll", http.StatusBadRequest},
		{"phoenix/socket/longpoll/", http.StatusBadRequest},
		{"phoenix/socket//longpoll//", http.StatusBadRequest},
		{"phoenix/socket/Longpoll", http.StatusBadRequest},
		{"phoenix/socket/long%70oll", http.StatusBadRequest},
		{"phoenix/socket/longpoll;x=1", http.StatusBadRequest},
		{"phoenix/socket/longpoll/.", http.StatusBadRequest},
		{"phoenix/socket/longpoll/x/..", http.StatusBadRequest},
		{"phoenix/page", http.StatusOK},
		{"stomp/ws;a=b/123/abcdefgh/xhr_send", http.StatusBadRequest},
		{"stomp/ws/123/abcdefgh/xhr_send/;a", http.StatusBadRequest},
		{"stomp/ws/123/abcdefgh/xhr_send", http.StatusBadRequest},
		{"stomp/ws/123/abcdefgh/xhr", http.StatusBadRequest},
		{"stomp/ws/123/abcdefgh/xhr_streaming", http.StatusBadRequest},
		{"stomp/ws/123/abcdefgh/jsonp_send", http.StatusBadRequest},
		{"stomp/ws/info", http.StatusOK},
		{"cable/lp", http.StatusBadRequest},
		{"cable/help", http.StatusOK},
		{"cableless/lp", http.StatusOK}, // has no tokens in messages
	} {
		row := s.newRow()
		url := "http://" + s.Addr + "/" + tt.path + "?access_token=" + good + "&row=" + row
		if status := rig.Poll(t, http.MethodPost, url, `["1","1","room:1","phx_join",{"token":"`+forged+`"}]`); status != tt.want {
			t.Errorf("%s: answered %d, want %d", tt.path, status, tt.want)
		}
		select {
		case body := <-s.app.row(row).got:
			if tt.want != http.StatusOK {
				t.Errorf("%s: the application got %.100q", tt.path, body)
			}
		default:
			if tt.want == http.StatusOK {
				t.Errorf("%s: the application got nothing", tt.path)
			}
		}
	}
}

// TestBelieveDoesNotLoad: combinations in which a credential would pass that
// nobody looks at do not load.
func TestBelieveDoesNotLoad(t *testing.T) {
	t.Parallel()
	s := startBelieveSite(t, nil)
	first, early := "from first_message\n", "from first_message {\nearly\n}\n"
	tests := []struct{ name, lines, words string }{
		{"raw without a login", "dialect raw", "is for from first_message"},
		{"json, every message, pass", "from every_message\ndialect graphql", "no place for a credential in each message"},
		{"signalr, login", first + "dialect signalr\nhttp authenticate", "no message that logs in"},
		{"actioncable without a place", early + "dialect actioncable", "no message that logs in"},
		{"actioncable, identifier, strip", early + "dialect actioncable {\ncredential /identifier/token\npass strip\n}", "pass strip"},
		{"actioncable, identifier beside others", early + "dialect actioncable {\ncredential /identifier/token /token\n}", "no other place"},
		{"socketio, polling without authenticate", early + "dialect socketio", "http authenticate"},
		{"phoenix, polling without authenticate", first + "dialect phoenix", "http authenticate"},
	}
	for _, source := range []string{"query", "header", "cookie session", "subprotocol"} {
		tests = append(tests, struct{ name, lines, words string }{
			"raw beside " + source, first + "from " + source + "\ndialect raw", "does not go beside a source of the request",
		})
	}
	for _, dialect := range []string{"graphql", "graphql_legacy", "socketio", "actioncable", "phoenix", "stomp", "mqtt"} {
		tests = append(tests, struct{ name, lines, words string }{
			dialect + ", consume", early + "http authenticate\ndialect " + dialect + " {\npass consume\n}", "pass",
		})
	}
	for _, tt := range tests {
		err := s.Reload(t, believeCaddyfile([]believeRoute{{name: "none", sources: tt.lines}}))
		if err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.words)
		}
	}
}

// triesData checks that what is no message of the protocol passes once somebody
// has logged in.
func (s *believeSite) triesData(t *testing.T) {
	data := []struct {
		text   string
		binary bool
	}{
		{"PING", false},
		{"", false},
		{"ls -l\r", false},
		{"\x1b[A", false},
		{"", true},
		{"OggS\x00\x02" + strings.Repeat("\x93x", 300), true},
		{"{\x93\x17\xf0\"\x00\xff", true},
		{"[\x80\x81\x82", true},
		{strings.Repeat("PING", 300<<10), false}, // more than is read, see below
	}
	for _, b := range believeSpeeches {
		source := "query"
		if len(b.sources) == 0 {
			source = "none"
		}
		if b.once { // what is no frame of theirs is for their own tests
			continue
		}
		for _, pass := range b.passes {
			t.Run(b.name(pass, false), func(t *testing.T) {
				t.Parallel()
				c := &believeCase{
					believeSite: s, speech: b, pass: pass, source: source, route: b.name(pass, false), version: rig.H1,
					table: believeTableOf(t)[b.dialect+" "+pass],
				}
				c.tokens = c.newTokens("")
				who := c.enter(t, "data")
				data := data
				if b.dialect == "socketio" || b.variant == "records" { // a login could stand behind that beginning
					data = data[:len(data)-1]
				}
				var frames []byte
				for _, d := range data {
					frames = append(frames, b.framed(d.text, d.binary)...)
				}
				o := who.outcome(t, []byte(b.marker), append(frames, b.frame(b.marker)...))
				if !o.lives || len(o.arrived) != len(data) {
					t.Fatalf("the socket lives: %v, ends with %d, and %d messages have arrived", o.lives, o.code, len(o.arrived))
				}
				for i, d := range data {
					if string(o.arrived[i]) != d.text {
						t.Errorf("the application got %.100q, want %.100q", o.arrived[i], d.text)
					}
				}
			})
		}
	}
}
