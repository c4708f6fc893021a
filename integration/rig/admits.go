package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// Of returns the header of a client with a token of this subject's.
func (s *Site) Of(subject string) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.Issuer.Token(map[string]any{
		"sub": subject, "jti": "jti of " + subject, "sid": "sid of " + subject,
	})}}
}

// LogsReason waits for a line in the log that refuses for this reason.
func (s *Site) LogsReason(t testing.TB, reason string) map[string]any {
	t.Helper()
	var found map[string]any
	Eventually(t, Patience, func() string {
		for _, entry := range s.Logs.Entries("request refused") {
			if entry["reason"] == reason {
				found = entry
				return ""
			}
		}
		return fmt.Sprintf("no line says %q: %v", reason, s.Logs.Entries("request refused"))
	})
	return found
}

// NoHeader is for clients that have nothing to say in the handshake.
var NoHeader http.Header

// OpenFrom opens a socket from a client address of this machine.
func (s *Site) OpenFrom(ctx context.Context, ip string) (*Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	conn, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	r, err := s.Request(ctx, H1, "/", nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c, answer, err := H1Conn{conn}.Open(r)
	if err == nil && c == nil {
		err = errors.New(answer.Status)
	}
	if err != nil {
		conn.Close()
	}
	return c, err
}

// Loopback returns client address n. Where the system knows only one, it is
// that.
func Loopback(n int) string {
	if runtime.GOOS == "darwin" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.0.%d.%d", 1+n/200, 1+n%200)
}

// Post renews the socket with this id over plain HTTP, by the site over TLS
// or the other one, and returns the status and the body.
func (s *Site) Post(t testing.TB, tls bool, session string, header http.Header) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	url, client := "http://"+s.Addr, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if tls {
		url = "https://" + s.TLSAddr
		client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.TLSConfig}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+RenewalPath+"?session="+session, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// Named returns the header of a client whose token has these claims.
func (s *Site) Named(claims map[string]any) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.Issuer.Token(claims)}}
}

// Admits tries a handshake and returns its status; a socket that it opens is
// ended.
func (s *Site) Admits(t testing.TB, header http.Header) int {
	t.Helper()
	c, answer := s.Handshake(t, H1, "/", header)
	if c != nil {
		c.Vanish()
	}
	return answer.StatusCode
}

// Expects tries a handshake and expects this status.
func (s *Site) Expects(t testing.TB, who string, header http.Header, status int) {
	t.Helper()
	if got := s.Admits(t, header); got != status {
		t.Errorf("%s: status %d, want %d", who, got, status)
	}
}

// Bearer returns the header of a client whose token ends at the second exp.
func (s *Site) Bearer(exp time.Time) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.Issuer.Expiring(exp)}}
}
