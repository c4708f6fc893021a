package websocketauth

import (
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
	_, all := registered(t, 1)
	all[0].mu.Lock()
	all[0].identity = nil
	all[0].mu.Unlock()
	sockets.Identify(&all[0].session, session.Identity{})
	all[0].session.Site = t.Name()
	if meant := socketsOf(session.Filter{OfIssuer: true, Site: t.Name()}); len(meant) != 0 {
		t.Errorf("%d sockets are meant", len(meant))
	}
	if meant := socketsOf(session.Filter{Site: t.Name()}); len(meant) != 1 {
		t.Errorf("%d sockets of the site, want 1", len(meant))
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
