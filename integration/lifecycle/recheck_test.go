package lifecycle

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// rechecked is a site that a reload changes. The zero value of each member is
// as it was before.
type rechecked struct {
	verify string // lines of verify jwt
	lines  string // more of websocket_auth
	path   string // where it is
	guard  string // what stands in the place of websocket_auth
	policy string // recheck if empty
	others string // other sites
}

func (r rechecked) caddyfile() string {
	if r.verify == "" {
		r.verify = "audience chat other"
	}
	if r.path == "" {
		r.path = "/chat"
	}
	if r.policy == "" {
		r.policy = "recheck"
	}
	if r.guard == "" {
		r.guard = `websocket_auth {
			verify jwt {$JWKS} {
				` + r.verify + `
			}
			from header
			from first_message {
				within 1m
			}
			on_reload ` + r.policy + `
			` + r.lines + `
		}`
	}
	return `{
	grace_period 5s
}
http://{$SITE} {
	route ` + r.path + ` {
		` + r.guard + `
		reverse_proxy {$APP} {
			stream_close_delay 1h
		}
	}
}
` + r.others
}

// recheckSite is a site with sockets that differ in what a configuration may
// ask for.
type recheckSite struct {
	*rig.PeerSite
	conns map[string]*rig.Conn
	peers map[string]*rig.Peer
}

func startRecheckSite(t testing.TB, r rechecked) *recheckSite {
	t.Helper()
	s := &recheckSite{conns: make(map[string]*rig.Conn), peers: make(map[string]*rig.Peer)}
	s.PeerSite = rig.StartPeerSiteOf(t, r.caddyfile())
	for name, claims := range map[string]map[string]any{
		"plain":        {},
		"other aud":    {"aud": "other"},
		"both auds":    {"aud": []string{"other", "chat"}},
		"other issuer": {"iss": "https://other.example.com"},
		"admin":        {"scope": "admin"},
	} {
		s.conns[name] = s.Open(t, rig.H1, "/chat", s.Named(claims))
		s.peers[name] = s.Socket(t)
	}
	return s
}

// judge expects exactly these sockets to end, and the others to live on.
func (s *recheckSite) judge(t testing.TB, l *rig.Lag, since time.Time, ending ...string) {
	t.Helper()
	for _, name := range ending {
		if _, end := s.conns[name].Last(t, rig.Patience); end.Code != rig.CloseForbidden {
			t.Errorf("%s: %v, want 3003", name, end)
		}
		l.InTime(t, "close frame of "+name, since, time.Now(), 2*time.Second)
		s.peers[name].Ends(t, rig.CloseGoingAway)
		delete(s.conns, name)
	}
	for name, c := range s.conns {
		c.Says(t, "still here")
		s.peers[name].Hears(t, "still here")
		s.peers[name].Says(t, "nothing before this")
		c.Hears(t, "nothing before this")
	}
}

// everybody are the sockets of a recheckSite.
var everybody = []string{"plain", "other aud", "both auds", "other issuer", "admin"}

// TestRecheck: on_reload recheck ends the sockets that the new configuration
// would refuse, and no others; keep ends none.
func TestRecheck(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		old, after rechecked
		ending     []string
	}{
		"unchanged":        {after: rechecked{others: rig.Elsewhere}},
		"audience removed": {after: rechecked{verify: "audience chat"}, ending: []string{"other aud"}},
		"issuer demanded":  {after: rechecked{verify: "issuer {$ISSUER}\naudience chat other"}, ending: []string{"other issuer"}},
		"other keys": {after: rechecked{guard: `websocket_auth {
			verify jwt {
				jwks_file {$STRANGER}
				audience chat other
			}
			from header
			on_reload recheck
		}`}, ending: everybody},
		"rule added":          {after: rechecked{lines: "require scope admin"}, ending: []string{"plain", "other aud", "both auds", "other issuer"}},
		"rule that all meet":  {after: rechecked{lines: "require claim sub alice"}},
		"rule that none meet": {after: rechecked{lines: "require claim sub bob"}, ending: everybody},
		"route moved":         {after: rechecked{path: "/moved"}, ending: everybody},
		"guard gone":          {after: rechecked{guard: "vars a b", others: rig.Elsewhere}, ending: everybody},
		"all guards gone":     {after: rechecked{guard: "vars a b"}, ending: everybody},
		"kept, audience gone": {after: rechecked{verify: "audience chat", policy: "keep"}},
		"kept, rule added":    {after: rechecked{lines: "require claim sub bob", policy: "keep"}},
		"kept, guard gone":    {old: rechecked{policy: "keep"}, after: rechecked{guard: "vars a b", others: rig.Elsewhere}},
		"kept, all gone":      {old: rechecked{policy: "keep"}, after: rechecked{guard: "vars a b"}},
		"from keep to recheck": {
			old: rechecked{policy: "keep"}, after: rechecked{lines: "require scope admin"},
			ending: []string{"plain", "other aud", "both auds", "other issuer"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startRecheckSite(t, tt.old)
			lag, start := rig.MeasureLag(t), time.Now()
			if err := s.Reload(t, tt.after.caddyfile()); err != nil {
				t.Fatal(err)
			}
			s.judge(t, lag, start, tt.ending...)
			if err := s.Reload(t, tt.after.caddyfile()); err != nil { // and it stays so
				t.Fatal(err)
			}
			s.judge(t, lag, start)
		})
	}
}

// TestRecheckOfARejectedConfig: a configuration that fails to start changes
// nothing, however far it has come.
func TestRecheckOfARejectedConfig(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := startRecheckSite(t, rechecked{})
	for n := range 5 { // apps start in no fixed order
		bad := rechecked{
			lines: "require claim sub bob", others: fmt.Sprintf("http://%s {\nrespond ok\n}\n", taken.Addr()),
		}
		if err := s.Reload(t, bad.caddyfile()); err == nil {
			t.Fatal("the configuration was not rejected, so the test shows nothing")
		}
		gone := rechecked{guard: "vars a b", others: bad.others}
		if err := s.Reload(t, gone.caddyfile()); err == nil {
			t.Fatal("the configuration was not rejected, so the test shows nothing")
		}
		s.judge(t, nil, time.Time{})
		if t.Failed() {
			t.Fatalf("after %d rejected configurations", n+1)
		}
	}
}

// TestRecheckOfPending: who logs in after the reload, on a socket of before it,
// meets the new rules, too.
func TestRecheckOfPending(t *testing.T) {
	t.Parallel()
	s := startRecheckSite(t, rechecked{})
	first, second := s.Open(t, rig.H1, "/chat", rig.NoHeader), s.Open(t, rig.H1, "/chat", rig.NoHeader)
	lag, start := rig.MeasureLag(t), time.Now()
	if err := s.Reload(t, rechecked{lines: "require scope admin"}.caddyfile()); err != nil {
		t.Fatal(err)
	}
	s.judge(t, lag, start, "plain", "other aud", "both auds", "other issuer")
	first.Says(t, rig.Login(s.Issuer.Token()))
	if _, end := first.Last(t, rig.Patience); end.Code != rig.CloseForbidden {
		t.Errorf("%v, want 3003", end)
	}
	second.Says(t, rig.Login(s.Issuer.Token(map[string]any{"scope": "admin"})))
	second.HearsWord(t, "auth_ok")
	second.Says(t, "hello")
	for {
		p := s.Socket(t)
		if text := <-p.Got; text == "hello" {
			return
		}
	}
}
