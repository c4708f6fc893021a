package rig

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// LogoutTokenOf returns a logout token with claims, of which there has to be a
// jti.
func LogoutTokenOf(from *Issuer, claims ...map[string]any) string {
	return Sign(JWT{Header: map[string]any{"typ": "logout+jwt"}, Claims: from.Claims(append([]map[string]any{{
		"aud": "chat-client", "exp": time.Now().Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		"scope":  Absent, "sub": Absent,
	}}, claims...)...)})
}

// Logout sends a token as the provider does and returns the status.
func (p *Caddy) Logout(t testing.TB, token string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	form := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr+"/logout", form)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", resp.Header.Get("Cache-Control"))
	}
	return resp.StatusCode
}
