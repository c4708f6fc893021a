package polling

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// pollApp is an application that clients poll. It notes what it gets, and
// answers at once, but for polls with hold in the query: those it holds.
type pollApp struct {
	*httptest.Server
	got  chan pollRequest
	held chan *heldPoll
}

// pollRequest is a request as the application got it.
type pollRequest struct {
	method, uri, body string
	header            http.Header
}

// heldPoll is a poll that waits for the application. What is sent to say goes
// out; closing it ends the answer.
type heldPoll struct {
	say  chan string
	gone chan struct{} // closed when the request has ended
}

func startPollApp(t *testing.T) *pollApp {
	t.Helper()
	a := &pollApp{got: make(chan pollRequest, 1000), held: make(chan *heldPoll, 100)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP implements http.Handler.
func (a *pollApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut on the way
	}
	a.got <- pollRequest{r.Method, r.RequestURI, string(body), r.Header.Clone()}
	if !r.URL.Query().Has("hold") {
		_, _ = io.WriteString(w, "app")
		return
	}
	h := &heldPoll{say: make(chan string), gone: make(chan struct{})}
	defer close(h.gone)
	a.held <- h
	for {
		select {
		case text, more := <-h.say:
			if !more {
				return
			}
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// pollSite is a site in front of an application that clients poll.
type pollSite struct {
	*rig.Site
	polls *pollApp
	good  string // a token of alice's,
	of    map[string]string
	heard hearing // parts of answers
}

// forgedToken is one for admin that another key has signed.
func forgedToken(i *rig.Issuer) string {
	return rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: i.Claims(map[string]any{"sub": "admin"})})
}

func startPollSite(t *testing.T, o rig.SiteOptions) *pollSite {
	t.Helper()
	a := startPollApp(t)
	o.Env = append(o.Env, rig.WithEnv("APP", a.Listener.Addr().String()))
	s := &pollSite{Site: rig.StartSite(t, o), polls: a, heard: make(hearing, 1000)}
	s.good = s.Issuer.Token()
	s.of = map[string]string{
		"GOOD": s.good, "NEWER": s.Issuer.Expiring(time.Now().Add(90 * time.Minute)),
		"BOB": s.Issuer.Token(map[string]any{"sub": "bob"}), "FORGED": forgedToken(s.Issuer),
	}
	return s
}

// fill puts tokens in the place of their names, all at once: a token may happen
// to have the name of another one in it.
func (s *pollSite) fill(text string) string {
	var pairs []string
	for name, token := range s.of {
		pairs = append(pairs, name, token)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// pollAnswer is the answer to a request.
type pollAnswer struct {
	status int    // 0 if there is none
	body   string // as much as has come
	err    error  // how the body has ended, if not well
}

// send sends a request and returns the answer.
func (s *pollSite) send(ctx context.Context, t *testing.T, method, target, body string, header http.Header) pollAnswer {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, rig.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header.Get("Transfer-Encoding") != "" {
		r.ContentLength, r.Body = -1, io.NopCloser(struct{ io.Reader }{strings.NewReader(body)})
	}
	maps.Copy(r.Header, header)
	r.Header.Del("Transfer-Encoding")
	client := http.Client{Transport: rig.AdminTransport{RoundTripper: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: rig.Patience}}}
	answer, err := client.Do(r)
	if err != nil {
		return pollAnswer{err: err}
	}
	defer answer.Body.Close()
	var text strings.Builder
	_, err = io.Copy(io.MultiWriter(&text, s.heard), answer.Body)
	return pollAnswer{answer.StatusCode, text.String(), err}
}

// hearing tells of what clients have got.
type hearing chan string

// Write implements io.Writer.
func (h hearing) Write(p []byte) (int, error) {
	select {
	case h <- string(p):
	default: // nobody has asked for a while
	}
	return len(p), nil
}

// logsInBy has alice log in by polling.
func (s *pollSite) logsInBy(t *testing.T, sid, token string) {
	t.Helper()
	if got := s.send(t.Context(), t, http.MethodPost, "/socket.io/"+rig.Polling(sid), rig.LoginPacket(token), nil); got.status != http.StatusOK {
		t.Fatalf("login: %+v", got)
	}
	rig.Receive(t, "login at the application", s.polls.got, rig.Patience)
}

// waits begins a poll that waits at the application, and returns it with the
// answer that the client will have.
func (s *pollSite) waits(t *testing.T, sid string) (*heldPoll, <-chan pollAnswer) {
	t.Helper()
	answer := make(chan pollAnswer, 1)
	go func() {
		answer <- s.send(t.Context(), t, http.MethodGet, "/socket.io/"+rig.Polling(sid)+"&hold=1", "", nil)
	}()
	held := rig.Receive(t, "poll at the application", s.polls.held, rig.Patience)
	rig.Receive(t, "poll", s.polls.got, rig.Patience)
	return held, answer
}

// nothingGot expects that the application has got nothing.
func (s *pollSite) nothingGot(t *testing.T, what string) {
	t.Helper()
	for len(s.polls.got) > 0 {
		got := <-s.polls.got
		t.Errorf("%s: the application got %s %s with a body of %d bytes: %.200s", what, got.method, got.uri, len(got.body), got.body)
	}
}

// isCut expects that the answer of a poll that had begun was cut.
func isCut(t *testing.T, got pollAnswer, begun string) {
	t.Helper()
	if got.status != http.StatusOK || got.body != begun || !errors.Is(got.err, io.ErrUnexpectedEOF) {
		t.Errorf("the answer that had begun is %+v, want it cut after %q", got, begun)
	}
}

// connectRaw returns a connection for a request that is written by hand.
func (s *pollSite) connectRaw(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
