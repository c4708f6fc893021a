package websocketauth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// TestPlaceOfMessages: what is refused on a socket is counted as what it was
// meant to be.
func TestPlaceOfMessages(t *testing.T) {
	t.Parallel()
	pending, open := new(socket), &socket{identity: new(auth.Identity)}
	for _, tc := range []struct {
		name   string
		s      *socket
		reason auth.Reason
		want   place
	}{
		{"bad login", pending, auth.ReasonSignature, placeLogin},
		{"no login", pending, reasonLoginTimeout, placeLogin},
		{"garbage before login", pending, reasonBadMessage, placeLogin},
		{"bad renewal", open, auth.ReasonSignature, placeRenewal},
		{"of another", open, reasonOtherIdentity, placeRenewal},
		{"no renewal", open, reasonRenewalTimeout, placeRenewal},
		{"cannot tell", open, reasonUnavailable, placeRenewal},
		{"message without credential", open, auth.ReasonMissing, placeMessage},
		{"too long", open, reasonMessageSize, placeMessage},
		{"too many held", open, reasonHoldFull, placeMessage},
		{"the application's", open, reasonUpstream, placeMessage},
	} {
		if got := tc.s.placeOfLocked(tc.reason); got != tc.want {
			t.Errorf("%s: place %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestPlaceOfRequests is the same for requests.
func TestPlaceOfRequests(t *testing.T) {
	t.Parallel()
	h := &Handler{renew: &renewal{path: "/renew"}}
	for _, tc := range []struct {
		name, method, path string
		q                  *request
		want               place
	}{
		{"handshake", "GET", "/", &request{kind: kindUpgrade}, placeHandshake},
		{"client that was answered", "GET", "/", &request{kind: kindUpgrade, accepted: true}, placeSocket},
		{"request", "GET", "/", &request{kind: kindHTTP}, placeHTTP},
		{"neither", "GET", "/", &request{kind: kindPassed}, placeHTTP},
		{"renewal", "POST", "/renew", &request{kind: kindHTTP}, placeRenewal},
		{"not quite", "GET", "/renew", &request{kind: kindHTTP}, placeHTTP},
	} {
		if got := h.placeOf(httptest.NewRequest(tc.method, tc.path, nil), tc.q); got != tc.want {
			t.Errorf("%s: place %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestRefusalsOfANetwork: a client with an IPv6 network fills the log no more
// than one with an address.
func TestRefusalsOfANetwork(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	h := &Handler{logger: zap.New(core), state: new(handlerState), dialectName: "json", Name: "site"}
	const n = 1000
	for i := range n {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		q := &request{presented: "query", clientIP: fmt.Sprintf("2001:db8::%x", i+1)}
		h.observeRefused(r, q, placeHandshake, auth.ReasonOrigin, auth.Refuse(auth.ReasonOrigin, "no"))
	}
	if got := logs.Len(); got < logsPerSecond || got > n/4 { // on a machine that is slow, some seconds' worth
		t.Errorf("%d lines of %d refusals", got, n)
	}
}

// TestLineFields: a line has what is known, and no empty words.
func TestLineFields(t *testing.T) {
	t.Parallel()
	keys := func(fields []zap.Field) (all []string) {
		for _, f := range fields {
			all = append(all, f.Key+"="+f.String)
		}
		return all
	}
	for _, tc := range []struct {
		name string
		got  []zap.Field
		want []string
	}{
		{"nothing known", lineFields("", "site", "::1", "", "", nil), []string{"site=site", "client_ip=::1"}},
		{
			"all", lineFields("S", "site", "::1", "query", "json", &auth.Identity{Verifier: "jwt", User: "u", Subject: "s", Issuer: "i"}),
			[]string{"session=S", "site=site", "client_ip=::1", "source=query", "dialect=json", "verifier=jwt", "user=u", "subject=s", "issuer=i"},
		},
		{
			"control characters", lineFields("", "a\x9b2J\u009b2J", "::1", "", "", &auth.Identity{Subject: "a\nb\x1b[2J\x7f", User: "Zoë"}),
			[]string{"site=a\uFFFD2J\uFFFD2J", "client_ip=::1", "user=Zoë", "subject=a\uFFFDb\uFFFD[2J\uFFFD"},
		},
	} {
		if got := keys(tc.got); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
