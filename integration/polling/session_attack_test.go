package polling

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// pollSources are the ways to be logged in with a token when a body comes. put
// puts it into a request.
var pollSources = map[string]func(target string, header http.Header, token string) string{
	"header": func(target string, header http.Header, token string) string {
		header.Set("Authorization", "Bearer "+token)
		return target
	},
	"query": func(target string, _ http.Header, token string) string { return target + "&access_token=" + token },
	"cookie": func(target string, header http.Header, token string) string {
		header.Set("Cookie", "session="+token)
		return target
	},
}

// pollBodies are bodies of POST requests of alice, and how each is answered.
// GOOD is her token, NEWER another one of hers, BOB somebody else's, and FORGED
// one that another key has signed.
var pollBodies = []struct {
	name, body string
	header     http.Header
	query      string
	status     int
}{
	{name: "event", body: `42["event"]`, status: 200},
	{name: "events", body: "42[\"a\"]\x1e42[\"b\"]\x1e3", status: 200},
	{name: "pong", body: "3", status: 200},
	{name: "long event", body: `42["` + strings.Repeat("x", 900<<10) + `"]`, status: 200},
	{name: "namespace", body: "40/room,", status: 200},
	{name: "own credential", body: `40{"token":"GOOD"}`, status: 200},
	{name: "own newer credential", body: `40/room,{"token":"NEWER"}`, status: 200},
	{name: "of the client's library", body: `42["event"]`, header: http.Header{"Content-Type": {"text/plain;charset=UTF-8"}}, status: 200},
	{name: "chunked", body: `42["event"]`, header: http.Header{"Transfer-Encoding": {"chunked"}}, status: 200},

	{name: "forged", body: `40{"token":"FORGED"}`, status: 401},
	{name: "forged, namespace", body: `40/admin,{"token":"FORGED"}`, status: 401},
	{name: "forged behind an event", body: "42[\"x\"]\x1e40/admin,{\"token\":\"FORGED\"}", status: 401},
	{name: "forged behind one's own", body: "40{\"token\":\"GOOD\"}\x1e40/admin,{\"token\":\"FORGED\"}", status: 400},
	{name: "forged beside one's own", body: `40{"token":"GOOD","authToken":"FORGED"}`, status: 400},
	{name: "somebody else's", body: `40/admin,{"token":"BOB"}`, status: 403},
	{name: "forged, chunked", body: `40/admin,{"token":"FORGED"}`, header: http.Header{"Transfer-Encoding": {"chunked"}}, status: 401},
	{name: "forged and longer than a login", body: "42[\"" + strings.Repeat("x", 17<<10) + "\"]\x1e40/admin,{\"token\":\"FORGED\"}", status: 401},
	{
		// So that the answer is not lost with what nobody reads.
		name: "too long", body: "42[\"" + strings.Repeat("x", 1<<20) + "\"]\x1e40/admin,{\"token\":\"FORGED\"}",
		header: http.Header{"Expect": {"100-continue"}}, status: 413,
	},
	{
		name: "too long, chunked", body: "42[\"" + strings.Repeat("x", 1<<20) + "\"]\x1e40/admin,{\"token\":\"FORGED\"}",
		header: http.Header{"Transfer-Encoding": {"chunked"}}, status: 413,
	},
	{name: "JSONP", body: "d=" + url.QueryEscape(`40/admin,{"token":"FORGED"}`), query: "&j=0", status: 400},
	{name: "JSONP without the query", body: "d=" + url.QueryEscape(`40/admin,{"token":"FORGED"}`), status: 400},
	{name: "JSONP without the body", body: `40/admin,{"token":"FORGED"}`, query: "&j=0", status: 400},
	{
		name: "form", body: "d=" + url.QueryEscape(`40/admin,{"token":"FORGED"}`),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, status: 400,
	},
	{name: "encoded", body: `40/admin,{"token":"FORGED"}`, header: http.Header{"Content-Encoding": {"gzip"}}, status: 400},
	{
		name: "another charset", body: `40/admin,{"token":"FORGED"}`,
		header: http.Header{"Content-Type": {"text/plain;charset=utf-7"}}, status: 400,
	},
	{
		name: "two types", body: `40/admin,{"token":"FORGED"}`,
		header: http.Header{"Content-Type": {"text/plain", "application/octet-stream"}}, status: 400,
	},
	{name: "no UTF-8", body: "40/admin\xff,{\"token\":\"FORGED\"}", status: 400},
}

// pollLines are the sources of a site for pollSources.
const pollLines = "from header\nfrom query\nfrom cookie session\norigins https://app.example.com\ndialect socketio {\npass forward\n}\nhttp authenticate\n"

// TestAttackPolledBodies: a body is read, whatever source has logged in, and
// whether messages are a source at all. In front of what is not plain, or not
// of the same identity, nothing goes on.
func TestAttackPolledBodies(t *testing.T) {
	t.Parallel()
	for kind, first := range map[string]string{"requests alone": "", "beside messages": "from first_message {\nearly\n}\n"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := startPollSite(t, rig.SiteOptions{Directives: pollLines + first})
			for source, put := range pollSources {
				s.tryBodies(t, source+": ", put)
			}
		})
	}
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		s := startPollSite(t, rig.Polled())
		s.logsInBy(t, "polled", s.good)
		s.tryBodies(t, "", func(target string, _ http.Header, _ string) string { return target })
	})
}

// tryBodies sends all bodies.
func (s *pollSite) tryBodies(t *testing.T, of string, put func(string, http.Header, string) string) {
	t.Helper()
	for _, b := range pollBodies {
		name := of + b.name
		header := http.Header{"Origin": {"https://app.example.com"}}
		maps.Copy(header, b.header)
		target := put("/socket.io/"+rig.Polling("polled")+b.query, header, s.good)
		got := s.send(t.Context(), t, http.MethodPost, target, s.fill(b.body), header)
		if got.status != b.status {
			t.Errorf("%s: answered %d %v, want %d", name, got.status, got.err, b.status)
		}
		if b.status != http.StatusOK {
			s.nothingGot(t, name)
			continue
		}
		app := rig.Receive(t, "request", s.polls.got, rig.Patience)
		if want := s.fill(b.body); app.body != want && !strings.Contains(b.name, "own") {
			t.Errorf("%s: the application got %d bytes, want %d", name, len(app.body), len(want))
		}
		if user := app.header.Get("X-User"); user != "alice" {
			t.Errorf("%s: the application got it from %q", name, user)
		}
	}
}

// TestAttackPolledTransport: servers read paths, queries and methods in their
// own ways. What one of them could take for a request that polls is exactly one,
// or goes no further, even with a good token in its head.
func TestAttackPolledTransport(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.SiteOptions{Directives: pollLines})
	header := func() http.Header { return http.Header{"Authorization": {"Bearer " + s.good}} }
	forged := s.fill(`40/admin,{"token":"FORGED"}`)
	const good = "?EIO=4&transport=polling&sid=x"
	for _, tt := range []struct{ method, target string }{
		{"POST", "/socket.io/"},
		{"POST", "/socket.io/?sid=x"},
		{"POST", "/socket.io/?EIO=4&sid=x"},
		{"POST", "/socket.io/?transport=polling&sid=x"},
		{"POST", "/socket.io/?EIO=3&transport=polling&sid=x"},
		{"POST", "/socket.io/?EIO=4&transport=websocket&sid=x"},
		{"POST", "/socket.io/?EIO=4&transport=polling"},
		{"POST", "/socket.io/" + good + "&EIO=3"},
		{"POST", "/socket.io/" + good + "&eio=3"},
		{"POST", "/socket.io/" + good + "&sid=y"},
		{"POST", "/socket.io/" + good + "&Sid=y"},
		{"POST", "/socket.io/" + good + "&sid[]=y"},
		{"POST", "/socket.io/" + good + ";sid=y"},
		{"POST", "/socket.io/" + good + "&a=%zz"},
		{"POST", "/socket.io/" + good + "&s%69d=y"},
		{"POST", "/socket.io/" + good + "&J=1"},
		{"POST", "/socket.io/?EIO=%34&transport=polling&sid=x"},
		{"POST", "/socket.io/?EIO=4&transport=polling&sid=x%00"},
		{"POST", "/socket.io" + good},
		{"POST", "/socket.io/x" + good},
		{"POST", "//socket.io/" + good},
		{"POST", "/socket%2eio/" + good},
		{"POST", "/SOCKET.IO/" + good},
		{"POST", "/./socket.io/" + good},
		{"POST", "/x/../socket.io/" + good},
		{"POST", "/x/socket.io/" + good},
		{"POST", "/socket.io;v=1/" + good},
		{"POST", "/%2573ocket.io/" + good},
		{"POST", "/socket.io/.." + good},
		{"POST", "/other" + good},
		{"POST", "/other?%45IO=4"},
		{"PUT", "/socket.io/" + good},
		{"PATCH", "/socket.io/" + good},
		{"DELETE", "/socket.io/" + good},
		{"OPTIONS", "/socket.io/" + good},
		{"QUERY", "/socket.io/" + good},
		{"HEAD", "/socket.io/" + good},
		{"post", "/socket.io/" + good},
		{"GET", "/socket.io/" + good},
		{"GET", "/socket.io/?EIO=4&transport=polling"},
		{"GET", "/socket.io/x" + good},
	} {
		got := s.send(t.Context(), t, tt.method, tt.target, forged, header())
		if got.status != http.StatusBadRequest {
			t.Errorf("%s %s: answered %d %v, want 400", tt.method, tt.target, got.status, got.err)
		}
		s.nothingGot(t, tt.method+" "+tt.target)
	}
	preflight := header()
	preflight.Set("Origin", "https://app.example.com")
	preflight.Set("Access-Control-Request-Method", "POST")
	if got := s.send(t.Context(), t, http.MethodOptions, "/socket.io/"+good, forged, preflight); got.status != http.StatusBadRequest {
		t.Errorf("a preflight with a body: answered %d, want 400", got.status)
	}
	s.nothingGot(t, "a preflight with a body")
	for _, target := range []string{
		"/socket.io/?EIO=4&EIO=3&transport=websocket", "/socket.io/?EIO=4&eio=3", "/socket.io/?transport=websocket", "/socket.io/?EIO=5",
		"/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&sid=a&sid=b", "/socket.io/?EIO=4;EIO=3", "/socket.io/x?EIO=4&EIO=3",
	} {
		if _, answer := s.Handshake(t, rig.H1, target, header()); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("handshake %s: answered %s, want 400", target, answer.Status)
		}
	}
}

// TestPolledOtherRequests: what no server takes for a request that polls goes on
// as it is, and so do preflights and the script of the client.
func TestPolledOtherRequests(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.SiteOptions{Directives: pollLines})
	header := http.Header{"Authorization": {"Bearer " + s.good}}
	for _, tt := range []struct{ method, target, body string }{
		{"POST", "/api/messages?filter[a]=1&transport=bus&sid=x&j=1", `{"d":1}`},
		{"PUT", "/socket", "x"},
		{"GET", "/socket.io/socket.io.js", ""},
		{"GET", "/socket.io/socket.io.js?v=4", ""},
		{"GET", "/socket.io/?EIO=4&transport=polling&t=Pq.1", ""},
		{"GET", "/socket.io/?EIO=4&transport=polling&sid=x", ""},
		{"GET", "/socket.io/?EIO=4&transport=polling&room=a%20b&next=/x?y", ""},
	} {
		if got := s.send(t.Context(), t, tt.method, tt.target, tt.body, header); got.status != http.StatusOK {
			t.Errorf("%s %s: answered %+v", tt.method, tt.target, got)
			continue
		}
		if got := rig.Receive(t, "request", s.polls.got, rig.Patience); got.uri != tt.target || got.body != tt.body {
			t.Errorf("%s %s: the application got %+v", tt.method, tt.target, got)
		}
	}
}

// TestAttackPolledOtherHeader: the application knows a connection for that of
// whom it began with, also where each request has its own credential. Nobody
// goes on with it by another one, such as who has two and one of them revoked.
func TestAttackPolledOtherHeader(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.SiteOptions{Directives: pollLines})
	target := "/socket.io/" + rig.Polling("hers")
	by := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	for token, want := range map[string]int{s.good: http.StatusOK, s.of["NEWER"]: http.StatusOK} {
		if got := s.send(t.Context(), t, http.MethodPost, target, `42["x"]`, by(token)); got.status != want {
			t.Errorf("alice: answered %d, want %d", got.status, want)
		}
		rig.Receive(t, "request", s.polls.got, rig.Patience)
	}
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "subject": "alice", "issued_before": "2100-01-01T00:00:00Z"})
	for token, want := range map[string]int{s.good: http.StatusUnauthorized, s.of["BOB"]: http.StatusForbidden} {
		for method, body := range map[string]string{http.MethodGet: "", http.MethodPost: `42["x"]`} {
			if got := s.send(t.Context(), t, method, target, body, by(token)); got.status != want {
				t.Errorf("%s after the revocation: answered %d, want %d", method, got.status, want)
			}
		}
		if _, answer := s.Handshake(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid=hers", by(token)); answer.StatusCode != want {
			t.Errorf("handshake after the revocation: answered %s, want %d", answer.Status, want)
		}
	}
	s.nothingGot(t, "after the revocation")
}

// TestAttackPolledOtherSocket: a socket whose handshake came before a login by
// polling is nobody else's after the end of that.
func TestAttackPolledOtherSocket(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled())
	c := s.Open(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid=other", rig.NoHeader)
	if status := rig.Poll(t, http.MethodPost, "http://"+s.Addr+"/socket.io/"+rig.Polling("other"), rig.LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	s.Asks(t, http.MethodDelete, "sessions?subject=alice", "", `{"sockets":1}`)
	c.Says(t, rig.LoginPacket(s.Issuer.Token(map[string]any{"sub": "bob"})))
	if _, end := c.Last(t, rig.Patience); end.Code != 3003 {
		t.Errorf("%v, want 3003", end)
	}
}

// TestAttackPolledOtherConnection: a good token of one's own is no good on the
// connection of somebody who has logged in by polling.
func TestAttackPolledOtherConnection(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.Polled())
	s.logsInBy(t, "hers", s.good)
	bob := http.Header{"Authorization": {"Bearer " + s.of["BOB"]}}
	target := "/socket.io/" + rig.Polling("hers")
	for method, body := range map[string]string{http.MethodGet: "", http.MethodPost: `42["event"]`} {
		if got := s.send(t.Context(), t, method, target, body, bob); got.status != http.StatusForbidden {
			t.Errorf("%s: answered %d, want 403", method, got.status)
		}
	}
	if _, answer := s.Handshake(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid=hers", bob); answer.StatusCode != http.StatusForbidden {
		t.Errorf("handshake: answered %s, want 403", answer.Status)
	}
	s.nothingGot(t, "bob")
}
