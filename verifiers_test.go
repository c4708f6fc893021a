package websocketauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// TestAttackAnotherVerifiersIdentity: who is alice for one block is nobody for
// another one, whatever both are called.
func TestAttackAnotherVerifiersIdentity(t *testing.T) {
	alice := auth.Identity{Verifier: "jwt", Block: "a", Issuer: "i", Subject: "alice", User: "Alice", SessionID: "s"}
	for name, tt := range map[string]struct {
		change func(*auth.Identity)
		same   bool
	}{
		"herself":                   {func(*auth.Identity) {}, true},
		"herself, no sid":           {func(id *auth.Identity) { id.SessionID = "" }, true},
		"herself, called otherwise": {func(id *auth.Identity) { id.User = "A." }, true},
		"another block":             {func(id *auth.Identity) { id.Block = "b" }, false},
		"no block":                  {func(id *auth.Identity) { id.Block = "" }, false},
		"another kind":              {func(id *auth.Identity) { id.Verifier = "basic" }, false},
		"another issuer":            {func(id *auth.Identity) { id.Issuer = "j" }, false},
		"another subject":           {func(id *auth.Identity) { id.Subject = "bob" }, false},
		"another sid":               {func(id *auth.Identity) { id.SessionID = "t" }, false},
	} {
		other := alice
		tt.change(&other)
		for _, err := range []error{sameIdentity(&alice, &other), sameIdentity(&other, &alice)} {
			if (err == nil) != tt.same || err != nil && reasonOf(err) != reasonOtherIdentity {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// blocksOf returns what stands for the verifiers of a handler.
func blocksOf(t *testing.T, verifiers ...string) []string {
	t.Helper()
	base, err := caddy.ProvisionContext(&caddy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	defer cancel()
	var list []json.RawMessage
	for _, v := range verifiers {
		list = append(list, json.RawMessage(v))
	}
	config, err := json.Marshal(map[string]any{"verifiers": list})
	if err != nil {
		t.Fatal(err)
	}
	module, err := ctx.LoadModuleByID("http.handlers.websocket_auth", config)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, v := range module.(*Handler).verifiers {
		blocks = append(blocks, v.block)
	}
	return blocks
}

// TestBlocksOfVerifiers: the same block is the same after a reload, wherever it
// stands, and one that resolves to anything else is another.
func TestBlocksOfVerifiers(t *testing.T) {
	const (
		secret = `{"verifier":"jwt","audiences":["chat"],"secret":"{env.WEBSOCKET_AUTH_TEST_SECRET}"}`
		mail   = `{"verifier":"jwt","audiences":["mail"],"secret":"{env.WEBSOCKET_AUTH_TEST_SECRET}"}`
		issuer = `{"verifier":"jwt","issuers":["https://id.example.com"]}`
	)
	t.Setenv("WEBSOCKET_AUTH_TEST_SECRET", "0123456789abcdef0123456789abcdef")
	before := blocksOf(t, secret, mail, issuer)
	moved := blocksOf(t, issuer, secret)
	if before[0] == before[1] || before[1] == before[2] || before[0] == before[2] || before[0] == "" {
		t.Errorf("three blocks are %q", before)
	}
	if moved[1] != before[0] || moved[0] != before[2] {
		t.Errorf("after a reload %q, before %q", moved, before)
	}
	t.Setenv("WEBSOCKET_AUTH_TEST_SECRET", "fedcba9876543210fedcba9876543210")
	if after := blocksOf(t, secret); after[0] == before[0] {
		t.Error("with another secret it is the same")
	}
}

// guestVerifier vouches for one identity, as a module of somebody else's may.
type guestVerifier struct{ id *auth.Identity }

func (g guestVerifier) Verify(context.Context, string, time.Time) (*auth.Identity, error) {
	return g.id, nil
}

// TestAttackGuestVerifierForgets: what must hold for each identity holds whoever
// vouches, and what a verifier remembers is not changed.
func TestAttackGuestVerifierForgets(t *testing.T) {
	certificate := &x509.Certificate{Raw: []byte("any")}
	shown := auth.WithConnection(t.Context(), &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}})
	for name, tt := range map[string]struct {
		id   auth.Identity
		want auth.Reason
	}{
		"good":                     {auth.Identity{User: "alice"}, ""},
		"control character":        {auth.Identity{User: "alice\x00"}, auth.ReasonClaims},
		"bound to a certificate":   {auth.Identity{User: "a", Claims: auth.Claims{"cnf": map[string]any{"x5t#S256": "x"}}}, auth.ReasonUnproved},
		"bound to a key":           {auth.Identity{User: "a", Claims: auth.Claims{"cnf": map[string]any{"jkt": "x"}}}, auth.ReasonBinding},
		"bound to nobody knows it": {auth.Identity{User: "a", Claims: auth.Claims{"cnf": nil}}, auth.ReasonBinding},
	} {
		given := tt.id
		h := &Handler{verifiers: []namedVerifier{{Verifier: guestVerifier{&given}, name: "guest", block: "own"}}}
		id, err := h.verify(shown, "credential", false)
		switch {
		case tt.want != "" && (err == nil || reasonOf(err) != tt.want || id != nil):
			t.Errorf("%s: %+v, %v, want %q", name, id, err, tt.want)
		case tt.want == "" && (err != nil || id.Block != "own"):
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		if given.Block != "" {
			t.Errorf("%s: the verifier's own identity is changed", name)
		}
	}
}

// TestJitterIsANumber: what JSON cannot say, a configuration made in code can.
func TestJitterIsANumber(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 50.1} {
		if err := (&Handler{Jitter: bad}).checkWords(); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	for _, good := range []float64{0, 0.5, 50} {
		if err := (&Handler{Jitter: good}).checkWords(); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
}
