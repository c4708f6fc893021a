package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// Reload gives Caddy another Caddyfile and returns why it was rejected, or
// nil.
func (p *Caddy) Reload(t testing.TB, caddyfile string) error {
	t.Helper()
	for {
		// The admin server of the configuration before may still be closing its
		// socket, with this connection in the queue.
		if err := p.Load(t, caddyfile); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

// Load gives Caddy another Caddyfile in one request to the admin API.
func (p *Caddy) Load(t testing.TB, caddyfile string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.AdminAddr+"/load",
		strings.NewReader(withGlobals(caddyfile)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	// The same configuration again is no reload unless it must be one.
	req.Header.Set("Cache-Control", "must-revalidate")
	// A reload restarts the admin server, and with it ends its connections.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return err
}

// MustReload gives Caddy a configuration that it takes.
func (s *Site) MustReload(t testing.TB, o SiteOptions) {
	t.Helper()
	if err := s.Reload(t, o.Caddyfile()); err != nil {
		t.Fatalf("reload: %v", err)
	}
}

// Crash ends Caddy without a word to it.
func (p *Caddy) Crash() {
	_ = p.Cmd.Process.Kill()
	<-p.Done
}

// Again starts a Caddy that has ended once more, with what it has stored.
func (s *Site) Again(t testing.TB, o SiteOptions) {
	t.Helper()
	o.Env = append(o.Env, WithEnv("JWKS", s.Env["JWKS"]), WithEnv("APP", s.Env["APP"]))
	p, err := Launch(s.Home, o.Caddyfile(), o.Env...)
	if err != nil {
		t.Fatal(err)
	}
	s.Caddy = p
	t.Cleanup(func() {
		s.CloseAll()
		if err := p.Stop(); err != nil {
			t.Errorf("caddy: %v", err)
		}
		if t.Failed() {
			t.Logf("log of caddy:\n%s", lastBytes(p.Logs.String(), 12<<10))
		}
	})
}
