package websocketauth

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// TestAttackLogoutRequest: everything that is not a POST of a form with exactly
// one token. (section 2.5)
func TestAttackLogoutRequest(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	form := func() string { return logoutForm(g.token(nil)) }
	twice := form()
	request := func(body string, change func(*http.Request)) *http.Request {
		r := logoutRequest(body)
		if change != nil {
			change(r)
		}
		return r
	}
	contentType := func(lines ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["Content-Type"] = lines }
	}
	method := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Method = name }
	}
	for name, row := range map[string]struct {
		r      *http.Request
		status int
		reason auth.Reason
	}{
		"GET":                       {request(form(), method("GET")), 405, reasonMethod},
		"GET with the query":        {httptest.NewRequest("GET", "/logout?"+form(), nil), 405, reasonMethod},
		"HEAD":                      {request(form(), method("HEAD")), 405, reasonMethod},
		"PUT":                       {request(form(), method("PUT")), 405, reasonMethod},
		"OPTIONS":                   {request(form(), method("OPTIONS")), 405, reasonMethod},
		"post":                      {request(form(), method("post")), 405, reasonMethod},
		"override":                  {request(form(), func(r *http.Request) { r.Method = "GET"; r.Header.Set("X-Http-Method-Override", "POST") }), 405, reasonMethod},
		"no content type":           {request(form(), contentType()), 400, auth.ReasonLogoutRequest},
		"JSON":                      {request(`{"logout_token":"`+g.token(nil)+`"}`, contentType("application/json")), 400, auth.ReasonLogoutRequest},
		"form as JSON":              {request(form(), contentType("application/json")), 400, auth.ReasonLogoutRequest},
		"form as text":              {request(form(), contentType("text/plain")), 400, auth.ReasonLogoutRequest},
		"the token alone":           {request(g.token(nil), contentType("application/jwt")), 400, auth.ReasonLogoutRequest},
		"multipart":                 {request("--b\r\nContent-Disposition: form-data; name=\"logout_token\"\r\n\r\n"+g.token(nil)+"\r\n--b--\r\n", contentType("multipart/form-data; boundary=b")), 400, auth.ReasonLogoutRequest},
		"two content types":         {request(form(), contentType("application/x-www-form-urlencoded", "application/x-www-form-urlencoded")), 400, auth.ReasonLogoutRequest},
		"content type of two":       {request(form(), contentType("application/x-www-form-urlencoded, text/plain")), 400, auth.ReasonLogoutRequest},
		"empty":                     {request("", nil), 400, auth.ReasonLogoutRequest},
		"other parameter":           {request("token="+url.QueryEscape(g.token(nil)), nil), 400, auth.ReasonLogoutRequest},
		"other case":                {request("Logout_Token="+url.QueryEscape(g.token(nil)), nil), 400, auth.ReasonLogoutRequest},
		"array parameter":           {request("logout_token[]="+url.QueryEscape(g.token(nil)), nil), 400, auth.ReasonLogoutRequest},
		"two tokens":                {request(logoutForm(g.token(nil), g.token(nil)), nil), 400, auth.ReasonLogoutRequest},
		"the same token twice":      {request(twice+"&"+twice, nil), 400, auth.ReasonLogoutRequest},
		"a token and an empty one":  {request(form()+"&logout_token=", nil), 400, auth.ReasonLogoutRequest},
		"an empty token":            {request("logout_token=", nil), 400, auth.ReasonMalformed},
		"token in the query":        {request("", func(r *http.Request) { r.URL.RawQuery = form() }), 400, auth.ReasonLogoutRequest},
		"token in query and body":   {request(form(), func(r *http.Request) { r.URL.RawQuery = form() }), 400, auth.ReasonLogoutRequest},
		"token in query by escapes": {request("", func(r *http.Request) { r.URL.RawQuery = "logout%5Ftoken=" + g.token(nil) }), 400, auth.ReasonLogoutRequest},
		"broken query":              {request(form(), func(r *http.Request) { r.URL.RawQuery = "a;logout_token=x" }), 400, auth.ReasonLogoutRequest},
		"broken escape":             {request("a=%zz&"+form(), nil), 400, auth.ReasonLogoutRequest},
		"semicolons":                {request("a=1;"+form(), nil), 400, auth.ReasonLogoutRequest},
		"17 KiB":                    {request(form()+"&pad="+strings.Repeat("x", 17<<10), nil), 400, auth.ReasonLogoutRequest},
		"17 KiB unannounced":        {request(form()+"&pad="+strings.Repeat("x", 17<<10), func(r *http.Request) { r.ContentLength = -1 }), 400, auth.ReasonLogoutRequest},
		"token of 9 KiB":            {request(logoutForm(g.token(map[string]any{"pad": strings.Repeat("x", 9<<9)})+strings.Repeat("x", 9<<9)), nil), 400, auth.ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w := g.send(t, from(row.r, name)) // so that no line is suppressed
			if w.Code != row.status || g.lastReason() != string(row.reason) {
				t.Errorf("status %d, reason %q, want %d, %q", w.Code, g.lastReason(), row.status, row.reason)
			}
			if allow := w.Header().Get("Allow"); (allow == "POST") != (row.status == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
	if n := len(g.all()); n != 0 {
		t.Errorf("%d logouts done", n)
	}
	// What is beside these is fine.
	for _, lines := range []string{"application/x-www-form-urlencoded; charset=utf-8", "Application/X-WWW-Form-Urlencoded"} {
		if w := g.send(t, request(form(), contentType(lines))); w.Code != 200 {
			t.Errorf("%s: status %d %s", lines, w.Code, w.Body)
		}
	}
	if w := g.send(t, request(form(), func(r *http.Request) { r.URL.RawQuery = "realm=1" })); w.Code != 200 {
		t.Errorf("another query: status %d %s", w.Code, w.Body)
	}
}

// countedBody is a body of that many bytes, which counts what is read.
type countedBody struct {
	size int
	read atomic.Int64 // bytes
}

func (b *countedBody) Read(p []byte) (int, error) {
	n := min(len(p), b.size-int(b.read.Load()))
	if n == 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = 'x'
	}
	b.read.Add(int64(n))
	return n, nil
}

// TestAttackLogoutBody: 10 MiB are refused without being read, whether they are
// announced or not.
func TestAttackLogoutBody(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	for announced, most := range map[int64]int64{10 << 20: 0, -1: maxLogoutBody + 1} {
		body := &countedBody{size: 10 << 20}
		r := logoutRequest("")
		r.Body, r.ContentLength = io.NopCloser(body), announced
		if w := g.send(t, r); w.Code != 400 || w.Header().Get("Connection") != "close" {
			t.Errorf("status %d, Connection %q", w.Code, w.Header().Get("Connection"))
		}
		if read := body.read.Load(); read > most {
			t.Errorf("%d bytes read, want at most %d", read, most)
		}
	}
	// Over a real connection: what the server reads to be polite is bounded,
	// and what comes in time is served, also when it waits afterwards.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = g.ServeHTTP(w, r, caddyhttp.HandlerFunc(nil))
	}))
	defer server.Close()
	body := &countedBody{size: 64 << 20}
	resp, err := http.Post(server.URL, "application/x-www-form-urlencoded", body)
	if err == nil { // else the connection was cut before all was sent
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if sent := body.read.Load(); sent > 32<<20 {
		t.Errorf("%d bytes sent", sent)
	}
	for range 2 {
		resp, err := http.Post(server.URL, "application/x-www-form-urlencoded", strings.NewReader(logoutForm(g.token(nil))))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
}

// deadlineRecorder notes the read deadlines that are set.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlineRecorder) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// stalledBody fails as a connection does whose read deadline is over.
type stalledBody struct{}

func (stalledBody) Read([]byte) (int, error) {
	return 0, fmt.Errorf("read tcp: %w", os.ErrDeadlineExceeded)
}

// TestAttackLogoutSlowBody: a body that trickles in has a bounded time, which
// does not count on once it is there.
func TestAttackLogoutSlowBody(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	for name, row := range map[string]struct {
		body   io.Reader
		status int
		ends   bool // the deadline
	}{
		"good":    {strings.NewReader(logoutForm(g.token(nil))), 200, true},
		"stalled": {stalledBody{}, 400, false},
	} {
		w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
		r := logoutRequest("")
		r.Body, r.ContentLength = io.NopCloser(row.body), -1
		start := time.Now()
		if err := g.ServeHTTP(w, r, nil); err != nil || w.Code != row.status {
			t.Errorf("%s: status %d, %v", name, w.Code, err)
		}
		if len(w.set) == 0 || w.set[0].Sub(start) < time.Second || time.Until(w.set[0]) > logoutBodyTimeout {
			t.Errorf("%s: deadlines %v, want one in %v", name, w.set, logoutBodyTimeout)
		}
		if ended := len(w.set) == 2 && w.set[1].IsZero(); ended != row.ends {
			t.Errorf("%s: deadlines %v", name, w.set)
		}
	}
}

// TestAttackLogoutTokens: each token that must not count gets the same kind of
// answer, out of a closed set, with nothing of the token in it. The checks
// themselves are tested in package auth. (section 2.6)
func TestAttackLogoutTokens(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	now := time.Now().Unix()
	good := g.token(nil)
	part := strings.Split(good, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	for name, row := range map[string]struct {
		token  string
		reason auth.Reason
	}{
		"iss":          {g.token(map[string]any{"iss": g.provider.URL + "/"}), auth.ReasonIssuer},
		"aud":          {g.token(map[string]any{"aud": "secret"}), auth.ReasonAudience},
		"no iat":       {g.token(map[string]any{"iat": nil}), auth.ReasonClaims},
		"old iat":      {g.token(map[string]any{"iat": now - 160}), auth.ReasonExpired},
		"future iat":   {g.token(map[string]any{"iat": now + 60}), auth.ReasonNotYetValid},
		"no exp":       {g.token(map[string]any{"exp": nil}), auth.ReasonClaims},
		"exp over":     {g.token(map[string]any{"exp": now - 31}), auth.ReasonExpired},
		"no jti":       {g.token(map[string]any{"jti": nil}), auth.ReasonClaims},
		"nonce":        {g.token(map[string]any{"nonce": "secret"}), auth.ReasonType},
		"no events":    {g.token(map[string]any{"events": nil}), auth.ReasonType},
		"nobody":       {g.token(map[string]any{"sub": nil, "sid": nil}), auth.ReasonClaims},
		"typ":          {g.signed(`{"alg":"EdDSA","kid":"k","typ":"at+jwt"}`, nil), auth.ReasonType},
		"ID token":     {g.signed(`{"alg":"EdDSA","kid":"k"}`, map[string]any{"events": nil, "at_hash": "secret"}), auth.ReasonType},
		"access token": {g.signed(`{"alg":"EdDSA","kid":"k"}`, map[string]any{"events": nil, "scope": "secret"}), auth.ReasonType},
		"crit":         {g.signed(`{"alg":"EdDSA","kid":"k","crit":["exp"]}`, nil), auth.ReasonMalformed},
		"unsigned":     {unsigned + "." + part[1] + ".", auth.ReasonMalformed},
		"alg none":     {unsigned + "." + part[1] + "." + part[2], auth.ReasonAlgorithm},
		"JWE":          {good + ".AAAA.AAAA", auth.ReasonMalformed},
		"forged":       {part[0] + "." + part[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), auth.ReasonSignature},
		"unknown key":  {g.signed(`{"alg":"EdDSA","kid":"secret"}`, nil), auth.ReasonUnknownKey},
	} {
		w := g.send(t, from(logoutRequest(logoutForm(row.token)), name))
		if w.Code != 400 || g.lastReason() != string(row.reason) {
			t.Errorf("%s: status %d, reason %q, want 400, %q", name, w.Code, g.lastReason(), row.reason)
		}
		for piece := range strings.SplitSeq(row.token+".secret", ".") {
			if piece != "" && strings.Contains(w.Body.String(), piece) {
				t.Errorf("%s: answer %s", name, w.Body)
			}
		}
	}
	if n := len(g.all()); n != 0 {
		t.Errorf("%d logouts done", n)
	}
	if w := g.send(t, logoutRequest(logoutForm(good))); w.Code != 200 {
		t.Errorf("the good one after all that: status %d %s", w.Code, w.Body)
	}
}

// TestAttackLogoutTokenReplayed: a token counts once, also for the handler of
// the next configuration.
func TestAttackLogoutTokenReplayed(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	next := newLogoutRigOf(t, g.provider, `{"issuer":"`+g.provider.URL+`","audiences":["app2","app"]}`)
	form := logoutForm(g.token(nil))
	if w := g.send(t, logoutRequest(form)); w.Code != 200 {
		t.Fatalf("status %d %s", w.Code, w.Body)
	}
	for _, again := range []*logoutRig{g, next} {
		if w := again.send(t, logoutRequest(form)); w.Code != 400 || again.lastReason() != string(auth.ReasonReplayed) {
			t.Errorf("status %d, reason %q", w.Code, again.lastReason())
		}
	}
	if len(g.all()) != 1 || len(next.all()) != 0 {
		t.Errorf("%d and %d logouts done", len(g.all()), len(next.all()))
	}
}

// TestAttackLogoutReplayedAtAnotherNode: nodes do not tell each other which
// tokens were used. One that is replayed at another node, or comes late, ends
// nothing that was opened since: who has logged in again stays.
func TestAttackLogoutReplayedAtAnotherNode(t *testing.T) {
	t.Parallel()
	here := newLogoutRig(t)
	there := newLogoutRigOf(t, here.provider, `{"issuer":"`+here.provider.URL+`","audiences":["app"]}`)
	var err error
	there.verifier, err = auth.NewLogoutVerifier(auth.LogoutConfig{
		Issuer: there.provider.URL, Audiences: []string{"app"}, Keys: there.acquired.keys[0], Seen: new(auth.SeenTokens),
	})
	if err != nil {
		t.Fatal(err)
	}
	loggedOut := time.Now().Add(-90 * time.Second)
	form := logoutForm(here.token(map[string]any{"sid": nil, "iat": loggedOut.Unix()}))
	for name, g := range map[string]*logoutRig{"first use": here, "replay": there} {
		if w := g.send(t, logoutRequest(form)); w.Code != 200 {
			t.Fatalf("%s: status %d %s", name, w.Code, w.Body)
		}
		r := g.all()[0]
		id := session.Identity{Issuer: g.provider.URL, Subject: "alice-secret", IssuedAt: loggedOut}
		if !r.Means(id) {
			t.Errorf("%s: spares what was issued before the logout", name)
		}
		id.IssuedAt = loggedOut.Add(2 * time.Second)
		if r.Means(id) {
			t.Errorf("%s: ends what was issued after the logout", name)
		}
	}
}
