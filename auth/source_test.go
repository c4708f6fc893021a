package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// testToken has the shape of a JWT: {"alg":"none"}, {}, a signature.
const testToken = "eyJhbGciOiJub25lIn0.e30.c2ln"

// newUpgrade returns a request for target with header lines "Name: value".
func newUpgrade(t *testing.T, target string, lines ...string) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{
		Method: http.MethodGet, URL: u, RequestURI: target,
		Host: "app.example.com", Header: http.Header{},
	}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("%q is no header line", line)
		}
		// Not Add: the spelling is part of some tests.
		r.Header[name] = append(r.Header[name], value)
	}
	return r
}

// checkReason fails unless err is a refusal with reason, or nil for "".
func checkReason(t *testing.T, err error, reason Reason) {
	t.Helper()
	if reason == "" {
		if err != nil {
			t.Fatalf("err = %v (%v), want nil", err, errors.Unwrap(err))
		}
		return
	}
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || refused.Reason != reason {
		t.Fatalf("err = %v, want a refusal for %s", err, reason)
	}
	if text := refused.Unwrap().Error(); len(text) > 256 {
		t.Errorf("the operator's text has %d bytes: %s", len(text), text)
	}
}

// newSource returns a constructor's result and fails on its error.
func newSource(t *testing.T) func(Source, error) Source {
	return func(s Source, err error) Source {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	cookie := newSource(t)(NewCookieSource([]string{"sid"}))
	bearer := newSource(t)(NewHeaderSource(""))
	query := newSource(t)(NewQuerySource(nil))
	protocol := newSource(t)(NewSubprotocolSource(nil))
	tests := []struct {
		name    string
		sources Sources
		target  string
		lines   []string
		want    Found
		reason  Reason
	}{
		{
			"nothing", DefaultSources(), "/ws", nil,
			Found{},
			ReasonMissing,
		},
		{
			"first configured decides",
			Sources{query, bearer},
			"/ws?access_token=a",
			[]string{"Authorization: Bearer b"},
			Found{Credential: "a", Source: "query"},
			"",
		},
		{
			"order is the configuration's",
			Sources{bearer, query},
			"/ws?access_token=a",
			[]string{"Authorization: Bearer b"},
			Found{Credential: "b", Source: "header"},
			"",
		},
		{
			"an empty carrier is passed over",
			Sources{query, bearer},
			"/ws?access_token=",
			[]string{"Authorization: Bearer b"},
			Found{Credential: "b", Source: "header"},
			"",
		},
		{
			"a malformed one is not passed over",
			Sources{query, bearer},
			"/ws?access_token=%zz",
			[]string{"Authorization: Bearer b"},
			Found{},
			ReasonMalformed,
		},
		{
			"an ambiguous one is not passed over",
			Sources{query, bearer},
			"/ws?access_token=a&access_token=b",
			[]string{"Authorization: Bearer b"},
			Found{},
			ReasonAmbiguous,
		},
		{
			"a later source cannot spoil it",
			Sources{bearer, query},
			"/ws?access_token=a&access_token=b",
			[]string{"Authorization: Bearer b"},
			Found{Credential: "b", Source: "header"},
			"",
		},
		{
			"two bearers in a later offer spoil it",
			Sources{bearer, query, protocol},
			"/ws?access_token=a",
			[]string{"Authorization: Bearer b", "Sec-Websocket-Protocol: bearer, x, bearer, y"},
			Found{Answer: "bearer"},
			ReasonAmbiguous,
		},
		{
			"whatever forms are looked for in it",
			Sources{query, newSource(t)(NewSubprotocolSource([]string{"kubernetes"}))},
			"/ws?access_token=a",
			[]string{"Sec-Websocket-Protocol: bearer, x, bearer, y"},
			Found{},
			ReasonAmbiguous,
		},
		{
			"and after a bad one",
			Sources{query, protocol},
			"/ws?access_token=%zz",
			[]string{"Sec-Websocket-Protocol: bearer, x, jwt, y"},
			Found{Answer: "bearer"},
			ReasonAmbiguous,
		},
		{
			"cookies are ambient",
			Sources{bearer, cookie},
			"/ws",
			[]string{"Cookie: sid=c"},
			Found{Credential: "c", Source: "cookie", Ambient: true, MaybeAmbient: true},
			"",
		},
		{
			"so is their absence",
			Sources{bearer, cookie},
			"/ws",
			nil,
			Found{MaybeAmbient: true},
			ReasonMissing,
		},
		{
			"so are two",
			Sources{cookie, bearer},
			"/ws",
			[]string{"Cookie: sid=c; sid=d"},
			Found{MaybeAmbient: true},
			ReasonAmbiguous,
		},
		{
			"a cookie would have come before what decides",
			Sources{cookie, query},
			"/ws?access_token=a",
			nil,
			Found{Credential: "a", Source: "query", MaybeAmbient: true},
			"",
		},
		{
			"a cookie would have come before what is bad",
			Sources{cookie, query},
			"/ws?access_token=%zz",
			nil,
			Found{MaybeAmbient: true},
			ReasonMalformed,
		},
		{
			"a cookie that does not decide is not",
			Sources{bearer, cookie},
			"/ws",
			[]string{"Cookie: sid=c", "Authorization: Bearer b"},
			Found{Credential: "b", Source: "header"},
			"",
		},
		{
			"the offer is answered for another source",
			Sources{cookie, protocol},
			"/ws",
			[]string{"Cookie: sid=c", "Sec-Websocket-Protocol: bearer, x, chat"},
			Found{Credential: "c", Source: "cookie", Answer: "bearer", Ambient: true, MaybeAmbient: true},
			"",
		},
		{
			"the offer is answered with a refusal",
			Sources{protocol},
			"/ws",
			[]string{"Sec-Websocket-Protocol: chat, base64url.bearer.phx.!"},
			Found{Answer: "chat"},
			ReasonMalformed,
		},
		{
			"the offer is answered with two credentials",
			Sources{protocol},
			"/ws",
			[]string{"Sec-Websocket-Protocol: bearer, x, jwt, y"},
			Found{Answer: "bearer"},
			ReasonAmbiguous,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newUpgrade(t, tt.target, tt.lines...)
			got, err := tt.sources.Take(r)
			checkReason(t, err, tt.reason)
			if got != tt.want {
				t.Errorf("Take = %+v, want %+v", got, tt.want)
			}
			for _, s := range tt.sources {
				// What no configured form looks for is refused, and not stripped.
				again, err := s.Find(r)
				if err != nil && reasonOf(err) != tt.reason || again.Credential != "" {
					t.Errorf("%s still holds something: %+v, %v", s.Name(), again, err)
				}
			}
		})
	}
}

// TestUnconfiguredSourcesAreLeftAlone: what nobody has configured is not
// looked at and not touched.
func TestUnconfiguredSourcesAreLeftAlone(t *testing.T) {
	t.Parallel()
	const target = "/ws?access_token=q"
	r := newUpgrade(t, target, "Cookie: sid=c", "Sec-Websocket-Protocol: bearer, p", "Authorization: Bearer h")
	got, err := Sources{newSource(t)(NewHeaderSource(""))}.Take(r)
	checkReason(t, err, "")
	if got.Credential != "h" || got.Answer != "" {
		t.Errorf("Take = %+v", got)
	}
	if r.URL.RawQuery != "access_token=q" || r.RequestURI != target ||
		r.Header.Get("Cookie") != "sid=c" || r.Header.Get("Sec-Websocket-Protocol") != "bearer, p" {
		t.Errorf("an unconfigured source was touched: %v %v", r.RequestURI, r.Header)
	}
}

// panickySource breaks where it looks for a credential.
type panickySource struct{ Source }

func (panickySource) Find(*http.Request) (Found, error) { panic("broken") }

func TestTakeStripsOnPanic(t *testing.T) {
	t.Parallel()
	query := newSource(t)(NewQuerySource(nil))
	r := newUpgrade(t, "/ws?access_token=a")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = Sources{panickySource{query}}.Take(r)
	}()
	if r.RequestURI != "/ws" || r.URL.RawQuery != "" {
		t.Errorf("the token is still in %q", r.RequestURI)
	}
}

// TestCredentialSanity: what can be no credential is refused before any
// cryptography, whichever way it travels.
func TestCredentialSanity(t *testing.T) {
	values := map[string]string{
		"too long":    strings.Repeat("a", MaxCredential+1),
		"space":       "a b",
		"newline":     "a\nb",
		"nul":         "a\x00b",
		"delete":      "a\x7fb",
		"not ASCII":   "ä",
		"byte 0xff":   "a\xffb",
		"tab in it":   "a\tb",
		"no-break sp": "a\u00a0b",
	}
	query := newSource(t)(NewQuerySource(nil))
	header := newSource(t)(NewHeaderSource("X-Token"))
	bearer := newSource(t)(NewHeaderSource(""))
	cookie := newSource(t)(NewCookieSource([]string{"c"}))
	protocol := newSource(t)(NewSubprotocolSource([]string{"jupyter"}))
	for name, value := range values {
		carriers := map[Source]*http.Request{
			query:    newUpgrade(t, "/?access_token="+url.QueryEscape(value)),
			header:   newUpgrade(t, "/", "X-Token: "+value),
			bearer:   newUpgrade(t, "/", "Authorization: Bearer "+value),
			cookie:   newUpgrade(t, "/", "Cookie: c="+value),
			protocol: newUpgrade(t, "/", "Sec-Websocket-Protocol: "+jupyterPrefix+url.PathEscape(value)),
		}
		for source, r := range carriers {
			// Encoded by QueryEscape, the space is a plus, which is allowed.
			if source.Name() == "query" && name == "space" {
				r = newUpgrade(t, "/?access_token=a%20b")
			}
			t.Run(name+" in "+source.Name(), func(t *testing.T) {
				_, err := source.Find(r)
				checkReason(t, err, ReasonMalformed)
				if text := errors.Unwrap(err).Error(); strings.Contains(text, value) {
					t.Errorf("the error holds the credential: %s", text)
				}
			})
		}
	}
	longest := strings.Repeat("a", MaxCredential)
	if got, err := header.Find(newUpgrade(t, "/", "X-Token: "+longest)); err != nil || got.Credential != longest {
		t.Errorf("the longest credential is refused: %v", err)
	}
}

func TestDefaultSources(t *testing.T) {
	t.Parallel()
	var names []string
	for _, s := range DefaultSources() {
		names = append(names, s.Name())
	}
	if got := strings.Join(names, " "); got != "subprotocol query header" {
		t.Errorf("default sources are %s", got)
	}
}

// BenchmarkTake is what a handshake with a token in the query costs.
func BenchmarkTake(b *testing.B) {
	sources := DefaultSources()
	handshake := httptest.NewRequest(http.MethodGet, "/chat?room=1&access_token="+strings.Repeat("x", 800), nil)
	handshake.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "User-Agent": {"benchmark"}}
	b.ReportAllocs()
	for b.Loop() {
		r, u := *handshake, *handshake.URL
		r.URL = &u
		if found, err := sources.Take(&r); err != nil || found.Source != "query" || u.RawQuery != "room=1" {
			b.Fatalf("%+v, %v, and %q is left", found, err, u.RawQuery)
		}
	}
}

// TestAmbientBefore: it is what Take says of a request that holds one credential
// in the source.
func TestAmbientBefore(t *testing.T) {
	t.Parallel()
	cookie := newSource(t)(NewCookieSource([]string{"sid"}))
	bearer := newSource(t)(NewHeaderSource(""))
	query := newSource(t)(NewQuerySource(nil))
	requests := map[string]*http.Request{
		"cookie": newUpgrade(t, "/", "Cookie: sid=c"), "header": newUpgrade(t, "/", "Authorization: Bearer b"),
		"query": newUpgrade(t, "/?access_token=a"), "first_message": newUpgrade(t, "/"),
	}
	for _, sources := range []Sources{
		nil, {cookie}, {bearer}, {bearer, query}, {cookie, bearer}, {bearer, cookie}, {bearer, cookie, query}, {query, bearer, cookie},
	} {
		for name, r := range requests {
			found, _ := sources.Take(r.Clone(t.Context()))
			if got := sources.AmbientBefore(name); got != found.MaybeAmbient {
				t.Errorf("%v: before %s: %v, Take says %v", sources, name, got, found.MaybeAmbient)
			}
		}
	}
}
