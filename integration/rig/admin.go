package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Command runs `caddy websocket-auth` against p.
func (p *Caddy) Command(t testing.TB, args ...string) (output string, ok bool) {
	t.Helper()
	return RunCaddy(t, "", append(append([]string{"websocket-auth"}, args...), "--address", p.AdminAddr)...)
}

// JSONType is what a revocation is sent with.
var JSONType = http.Header{"Content-Type": {"application/json"}}

// AdminRevocation is a revocation as the admin API shows it.
type AdminRevocation struct {
	Issuer, Subject, Jti, Sid, Reason string

	IssuedBefore *time.Time `json:"issued_before"`
	Until        time.Time
}

// Revoke revokes and returns the revocation and how many sockets it has ended.
func (p *Caddy) Revoke(t testing.TB, revocation map[string]any) (AdminRevocation, int) {
	t.Helper()
	text, err := json.Marshal(revocation)
	if err != nil {
		t.Fatal(err)
	}
	status, body := p.Ask(t, http.MethodPost, "revocations", string(text), JSONType)
	var answer struct {
		Revocation AdminRevocation
		Sockets    int
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		t.Fatalf("revoking %s: status %d, %v: %s", text, status, err, body)
	}
	return answer.Revocation, answer.Sockets
}

// Revocations returns the revocations that a query finds.
func (p *Caddy) Revocations(t testing.TB, query string) []AdminRevocation {
	t.Helper()
	return Answer[struct{ Revocations []AdminRevocation }](t, p, "revocations?"+query).Revocations
}

// AdminSession is a session as the admin API shows it.
type AdminSession struct {
	ID, Site, Subject, Issuer, Jti, Sid, Source, Verifier, Dialect, State string

	ClientIP    string     `json:"client_ip"`
	OpenedAt    time.Time  `json:"opened_at"`
	ValidUntil  *time.Time `json:"valid_until"`
	BytesIn     int64      `json:"bytes_in"`
	BytesOut    int64      `json:"bytes_out"`
	MessagesIn  int64      `json:"messages_in"`
	MessagesOut int64      `json:"messages_out"`
}

// Ask sends the admin API a request and returns the status and the body.
func (p *Caddy) Ask(t testing.TB, method, path, body string, header http.Header) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.AdminAddr+"/websocket_auth/"+path, content)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
		if name == "Host" {
			r.Host = values[0]
		}
	}
	answer, err := AdminClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer.StatusCode, strings.TrimSpace(string(text))
}

// Asks expects this answer with status 200.
func (p *Caddy) Asks(t testing.TB, method, path, body, want string) {
	t.Helper()
	if status, got := p.Ask(t, method, path, body, nil); status != http.StatusOK || got != want {
		t.Fatalf("%s %s: %d %s, want %s", method, path, status, got, want)
	}
}

// Answer asks for something that is JSON.
func Answer[T any](t testing.TB, p *Caddy, path string) (value T) {
	t.Helper()
	status, text := p.Ask(t, http.MethodGet, path, "", nil)
	if err := json.Unmarshal([]byte(text), &value); err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v: %s", path, status, err, text)
	}
	return value
}

// Sessions returns the sessions that a query names.
func (p *Caddy) Sessions(t testing.TB, query string) []AdminSession {
	t.Helper()
	return Answer[struct{ Sessions []AdminSession }](t, p, "sessions?"+query).Sessions
}

// NoSessionLeft waits until there is none.
func (p *Caddy) NoSessionLeft(t testing.TB) {
	t.Helper()
	Eventually(t, Patience, func() string {
		if all := p.Sessions(t, ""); len(all) > 0 {
			return fmt.Sprintf("sessions are left: %+v", all)
		}
		return ""
	})
}

// Session returns one session.
func (p *Caddy) Session(t testing.TB, id string) AdminSession {
	t.Helper()
	return Answer[AdminSession](t, p, "sessions/"+id)
}

// Snapshot returns the only file in which a Caddy keeps revocations.
func (p *Caddy) Snapshot(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Home, "data", "caddy", "websocket_auth", "revocations", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("snapshots %v, %v, want one", files, err)
	}
	return files[0]
}

// AdminClient leaves no connection behind that would count as Caddy's.
var AdminClient = &http.Client{
	Transport: AdminTransport{&http.Transport{DisableKeepAlives: true}}, Timeout: Patience,
}

// AdminTransport tries again where nobody took the request: after a reload the
// admin server of the configuration before may still be closing its socket, with
// a new connection in the queue, and no admin server waits long for a request.
type AdminTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a AdminTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	for tries := 1; ; tries++ {
		answer, err := a.RoundTripper.RoundTrip(r)
		untaken := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) ||
			err != nil && strings.Contains(err.Error(), "server closed idle connection")
		if !untaken || tries == 5 || r.Body != nil && r.GetBody == nil {
			return answer, err
		}
		r = r.Clone(r.Context())
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// Admin returns what the admin API answers to a GET.
func (s *Site) Admin(t testing.TB, path string) string {
	t.Helper()
	answer, err := AdminClient.Get("http://" + s.AdminAddr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %s", path, answer.Status, err, body)
	}
	return string(body)
}
