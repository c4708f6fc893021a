package websocketauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// adminMux routes as Caddy does.
func adminMux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range (adminAPI{}).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler.ServeHTTP(w, r)
			if err == nil {
				return
			}
			refusal, ok := errors.AsType[caddy.APIError](err)
			if !ok {
				refusal = caddy.APIError{HTTPStatus: http.StatusInternalServerError}
			}
			if refusal.Message == "" {
				refusal.Message = refusal.Error()
			}
			w.WriteHeader(refusal.HTTPStatus)
			_ = json.NewEncoder(w).Encode(refusal)
		})
	}
	return mux
}

// askMux asks the admin API and returns the status, the header and the body.
func askMux(method, target string, header http.Header, body io.Reader) (int, http.Header, string) {
	r := httptest.NewRequest(method, target, body)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	adminMux().ServeHTTP(w, r)
	return w.Code, w.Header(), w.Body.String()
}

// jsonHeader is what a revocation needs.
var jsonHeader = http.Header{"Content-Type": {"application/json"}}

// registered returns sockets of an issuer that only this test has, which are
// still opening. They are gone when the test ends.
func registered(t *testing.T, n int) (issuer string, all []*socket) {
	t.Helper()
	issuer = "https://" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")) + ".example.com"
	for i := range n {
		id := &auth.Identity{
			Verifier: "jwt", Issuer: issuer, Subject: fmt.Sprintf("user %d", i%2), TokenID: fmt.Sprintf("token %d", i),
			SessionID: "sid", ValidUntil: time.Now().Add(time.Hour),
		}
		s := &socket{handler: &Handler{dialectName: "json"}, request: &request{source: "header"}, identity: id}
		s.session = session.Session{ID: fmt.Sprintf("%s %d", t.Name(), i), Site: "chat", Opened: time.Now(), Socket: s}
		s.session.Close = func() {}
		if !sockets.Add(&s.session) {
			t.Fatal("the registry takes nothing more")
		}
		t.Cleanup(func() { sockets.Remove(&s.session) })
		sockets.Identify(&s.session, sessionIdentity(id))
		all = append(all, s)
	}
	return issuer, all
}

// TestRevocationDefaults: what a revocation does not say is chosen so that no
// token that is meant slips through.
func TestRevocationDefaults(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 31, 12, 0, 0, 5, time.UTC)
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, tt := range []struct {
		body          string
		before, until time.Time
	}{
		{`{"issuer":"x","subject":"a"}`, now, at("2030-01-31T13:00:01Z")},
		{`{"issuer":"x","jti":"a"}`, time.Time{}, at("2030-01-31T13:00:01Z")},
		{`{"issuer":"","sid":"a"}`, time.Time{}, at("2030-01-31T13:00:01Z")},
		{
			`{"issuer":"x","subject":"a","issued_before":"2030-01-01T00:00:00+01:00","until":"2031-01-01T00:00:00Z"}`,
			at("2029-12-31T23:00:00Z"), at("2031-01-01T00:00:00Z"),
		},
	} {
		entry, err := parseRevocation([]byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		r, err := entry.completed(now, time.Hour)
		if err != nil || !r.IssuedBefore.Equal(tt.before) || !r.Until.Equal(tt.until) {
			t.Errorf("%s: issued before %v, until %v, %v; want %v and %v", tt.body, r.IssuedBefore, r.Until, err, tt.before, tt.until)
		}
	}
}

// TestRevocationOutlastsTokens: unless it says until when, a revocation counts
// for as long as any token may that is good at the moment, also if the
// provider's clock is ahead.
func TestRevocationOutlastsTokens(t *testing.T) {
	t.Parallel()
	base, err := testCaddy()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	defer cancel()
	config := fmt.Sprintf(`{"secret":%q,"audiences":["chat"],"max_lifetime":"1h","leeway":"20s"}`, inspectSecret)
	module, err := ctx.LoadModuleByID("http.websocket_auth.verifiers.jwt", json.RawMessage(config))
	if err != nil {
		t.Fatal(err)
	}
	app, err := appOf(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	issued := now.Add(29 * time.Second)
	claims, err := jwt.NewBuilder().
		Subject("alice").Audience([]string{"chat"}).JwtID("a").IssuedAt(issued).Expiration(issued.Add(time.Hour)).
		Build()
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Sign(claims, jwt.WithKey(jwa.HS256(), []byte(inspectSecret)))
	if err != nil {
		t.Fatal(err)
	}
	id, err := module.(*JWTVerifier).Verify(t.Context(), string(token), now)
	if err != nil {
		t.Fatal(err)
	}
	r, err := revocationEntry{TokenID: "a"}.completed(now, app.Longest())
	if err != nil || r.Until.Before(id.ValidUntil) {
		t.Errorf("%v: the revocation is over %v before the token", err, id.ValidUntil.Sub(r.Until))
	}
}

// TestAdminSessionList: filters, pages and single sessions.
func TestAdminSessionList(t *testing.T) {
	t.Parallel()
	issuer, all := registered(t, 5)
	list := func(query string) sessionPage {
		status, header, body := askMux(http.MethodGet, adminPrefix+"sessions?issuer="+issuer+query, nil, nil)
		var page sessionPage
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != http.StatusOK {
			t.Fatalf("sessions %s: status %d, %v: %s", query, status, err, body)
		}
		if header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "application/json" {
			t.Errorf("header %v", header)
		}
		return page
	}
	for query, want := range map[string]int{
		"": 5, "&subject=user+0": 3, "&subject=user+1": 2, "&jti=token+3": 1, "&sid=sid": 5, "&site=chat": 5, "&site=other": 0,
		"&subject=user+0&jti=token+1": 0, "&subject=user": 0,
	} {
		if page := list(query); len(page.Sessions) != want || page.Total != want || page.Next != "" {
			t.Errorf("sessions %s: %d of %d, next %q, want %d", query, len(page.Sessions), page.Total, page.Next, want)
		}
	}
	var ids []string
	for query := "&limit=2"; ; {
		page := list(query)
		for _, s := range page.Sessions {
			ids = append(ids, s.ID)
		}
		if len(page.Sessions) > 2 || page.Total != 5 {
			t.Errorf("%d sessions on a page, total %d", len(page.Sessions), page.Total)
		}
		if page.Next == "" {
			break
		}
		query = "&limit=2&next=" + page.Next
	}
	for i, s := range all {
		if i >= len(ids) || ids[i] != s.session.ID {
			t.Fatalf("the pages have %q", ids)
		}
	}
	if page := list("&next=!"); len(page.Sessions) != 0 {
		t.Errorf("%d sessions behind a place that is none", len(page.Sessions))
	}
}

// TestAdminEndsOpening: a socket that is not open yet counts once, and is
// ended as soon as it opens.
func TestAdminEndsOpening(t *testing.T) {
	t.Parallel()
	issuer, all := registered(t, 3)
	for _, want := range []string{`{"sockets":2}`, `{"sockets":0}`} {
		_, _, body := askMux(http.MethodDelete, adminPrefix+"sessions?code=4001&reason=go&subject=user+0&issuer="+issuer, nil, nil)
		if strings.TrimSpace(body) != want {
			t.Errorf("answered %s, want %s", body, want)
		}
	}
	if end := all[0].endsAs; end == nil || end.Code != 4001 || end.Reason != "go" || end.Cause != causeAdmin {
		t.Errorf("the socket will end as %+v", end)
	}
	if all[1].endsAs != nil {
		t.Error("a socket of another subject was ended")
	}
	// Without a code of the operator's it is the dialect's, or ours.
	if end, first := all[1].endOfAdmin(proxy.CloseNone, ""); !first || end.Code != proxy.CloseForbidden || end.Reason != "closed_by_admin" {
		t.Errorf("the socket will end as %+v", end)
	}
}

// TestAdminIssuerOfNobody: who has not logged in is no client with a token
// that has no issuer.
func TestAdminIssuerOfNobody(t *testing.T) {
	t.Parallel()
	s := &socket{handler: new(Handler), request: new(request)}
	s.session = session.Session{ID: t.Name(), Site: t.Name(), Socket: s, Close: func() {}}
	if !sockets.Add(&s.session) {
		t.Fatal("the registry takes nothing more")
	}
	t.Cleanup(func() { sockets.Remove(&s.session) })
	for query, want := range map[string]int{"issuer=&site=" + t.Name(): 0, "site=" + t.Name(): 1} {
		_, _, body := askMux(http.MethodGet, adminPrefix+"sessions?"+query, nil, nil)
		if !strings.Contains(body, fmt.Sprintf(`"total":%d,`, want)) {
			t.Errorf("the list of %s is %s, want %d", query, body, want)
		}
		_, _, body = askMux(http.MethodDelete, adminPrefix+"sessions?"+query, nil, nil)
		if strings.TrimSpace(body) != fmt.Sprintf(`{"sockets":%d}`, want) {
			t.Errorf("of %s there end %s, want %d", query, body, want)
		}
	}
}

// TestExpireNowWithoutJitter: the grace begins at the moment of the request,
// however much jitter there is.
func TestExpireNowWithoutJitter(t *testing.T) {
	t.Parallel()
	now := time.Now()
	policy := session.Policy{Renew: true, Grace: time.Minute, Jitter: 0.5}
	s := &socket{
		handler: new(Handler), request: &request{policies: []session.Policy{policy}}, random: 0.9,
		identity: &auth.Identity{ValidUntil: now.Add(4 * time.Hour)}, since: now.Add(-4 * time.Hour),
	}
	if at := s.expiryUnderLocked(&policy); !at.Before(now.Add(time.Hour)) {
		t.Errorf("with jitter %v from now", at.Sub(now))
	}
	if _, acted := s.expireNow(); !acted {
		t.Fatal("there was nothing to do")
	}
	if at := s.expiryUnderLocked(&policy); at.Before(now) || at.After(time.Now()) || !s.expiryLocked().Equal(at) {
		t.Errorf("%v from now", at.Sub(now))
	}
	if _, acted := s.expireNow(); acted {
		t.Error("it acted twice, and would lengthen the grace")
	}
	ended := &socket{
		handler: new(Handler), request: &request{policies: []session.Policy{policy}},
		identity: &auth.Identity{ValidUntil: now.Add(-time.Second)}, since: now.Add(-time.Hour),
	}
	if _, acted := ended.expireNow(); acted {
		t.Error("a socket whose time is up already has a longer grace")
	}
}

// TestPrintable: a terminal is shown letters alone.
func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "-", "alice": "alice", "Zoë 雪": "Zoë 雪", "a b": "a b", "a\x1b[2Jb": `a\x1b[2Jb`, "a\nb": `a\nb`, "a\tb": `a\tb`,
		"a\u202eb": `a\u202eb`, "a\u200bb": `a\u200bb`, "a\u0085b": `a\u0085b`, "\xff": `\xff`, "a\u00a0b": `a\u00a0b`,
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestTableOfLongNames: one long name does not make a table unreadable. What is
// last in a line, such as an error, is whole.
func TestTableOfLongNames(t *testing.T) {
	t.Parallel()
	cmd := newSessionsCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	entries := []json.RawMessage{json.RawMessage(`"` + strings.Repeat("ä", 4000) + `"`), json.RawMessage(`"bob"`)}
	row := func(name string) []string { return []string{name, name} }
	if err := printList(cmd, "names", entries, 2, "NAME\tAGAIN", row); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	short, whole := strings.Repeat("ä", maxCell-1)+"…", strings.Repeat("ä", 4000)
	if len(lines) != 4 || lines[1] != short+"  "+whole || lines[2] != "bob"+strings.Repeat(" ", maxCell-1)+"bob" {
		t.Errorf("printed %.800q", out.String())
	}
	out.Reset()
	if err := cmd.Flags().Set("json", "true"); err != nil {
		t.Fatal(err)
	}
	if err := printList(cmd, "names", entries, 2, "", row); err != nil || !strings.Contains(out.String(), whole) {
		t.Errorf("%v: for programs the name is cut: %.800q", err, out.String())
	}
}

// TestPageOf: all pages together are the list, also where an entry goes away
// in between, whatever the limit.
func TestPageOf(t *testing.T) {
	t.Parallel()
	self := func(s string) string { return s }
	all := []string{"a", "b", "c", "d", "e", "f", "g"}
	for limit := 1; limit <= len(all)+1; limit++ {
		var got []string
		for next := ""; ; {
			var page []string
			page, next = pageOf(all, self, next, limit)
			got = append(got, page...)
			if next == "" {
				break
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("limit %d: %q", limit, got)
		}
	}
	if page, _ := pageOf([]string{"a", "c"}, self, "b", 5); !slices.Equal(page, []string{"c"}) {
		t.Errorf("behind an entry that is gone: %q", page)
	}
	if page, next := pageOf(all, self, "z", 5); len(page) != 0 || next != "" {
		t.Errorf("behind the last: %q, %q", page, next)
	}
}

// TestLockoutAddress: an address is found as lockouts count it.
func TestLockoutAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1": "2001:db8::/64", "2001:db8::/64": "2001:db8::/64", "2001:DB8:0:0::5/64": "2001:db8::/64",
	} {
		if got, err := addressOf(map[string][]string{"address": {text}}); got != want || err != nil {
			t.Errorf("addressOf(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}
