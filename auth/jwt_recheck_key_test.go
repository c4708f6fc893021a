package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"testing"
	"time"
)

// An identity is refused whose key is none of the new configuration's, in
// whatever form and under whatever id that has it.
func TestRecheckOfKeys(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	static := func(text string) *StaticKeys {
		t.Helper()
		keys, _, err := NewStaticKeys([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	secret := func(text string) *StaticKeys {
		t.Helper()
		keys, err := NewSecretKeys([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	newKey := func() (asJWK, asPEM string) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		asJWK = fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":"one","x":%q,"y":%q}`,
			base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:]))
		return asJWK, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	jwk, asPEM := newKey()
	other, _ := newKey()
	unfetched, err := NewRemoteKeys(RemoteConfig{URL: "https://never.example.com/keys"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unfetched.Close)
	claims, err := decodeObject(fmt.Appendf(nil, `{"aud":"chat","sub":"alice","exp":%d}`, now.Add(time.Minute).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	const hush, hushed = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	for name, tt := range map[string]struct {
		old  *StaticKeys
		keys KeySet
		want Reason
	}{
		"same secret":      {secret(hush), secret(hush), ""},
		"other secret":     {secret(hush), secret(hushed), ReasonUnknownKey},
		"same key":         {static(jwk), static(jwk), ""},
		"in another form":  {static(jwk), static(asPEM), ""},
		"among others":     {static(jwk), static(`{"keys":[` + other + `,` + jwk + `]}`), ""},
		"other key":        {static(jwk), static(other), ReasonUnknownKey},
		"key for a secret": {static(jwk), secret(hush), ReasonUnknownKey},
		"no key is known":  {&StaticKeys{table: &keyTable{keys: []*Key{nil}}}, static(other), ReasonUnknownKey},
		// Another verifier's, perhaps: nothing says that it would vouch.
		"not fetched yet":                     {static(jwk), unfetched, ReasonUnknownKey},
		"not fetched yet and no key is known": {&StaticKeys{table: &keyTable{keys: []*Key{nil}}}, unfetched, ReasonUnknownKey},
		"secret for a key":                    {secret(hush), static(jwk), ReasonUnknownKey},
		"same, another kid":                   {static(`{"keys":[` + jwk + `]}`), static(asPEM), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := JWTConfig{Audiences: []string{"chat"}, Keys: tt.keys}
			v, err := NewJWT(cfg)
			if err != nil {
				t.Fatal(err)
			}
			id := &Identity{key: tt.old.table.keys[0], keys: tt.old, User: "alice", Claims: claims}
			if got := reasonIn(v.Recheck(t.Context(), id, now)); got != tt.want {
				t.Errorf("reason %q, want %q", got, tt.want)
			}
		})
	}
}

// An identity whose own key set has no keys just now, since the provider has
// been away for too long, is not refused by it: that is no fault of the client.
func TestRecheckInAnOutage(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	remote := func() *RemoteKeys {
		t.Helper()
		keys, err := NewRemoteKeys(RemoteConfig{URL: "https://never.example.com/keys"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(keys.Close)
		return keys
	}
	own, other := remote(), remote()
	claims, err := decodeObject(fmt.Appendf(nil, `{"aud":"chat","sub":"alice","exp":%d}`, now.Add(time.Minute).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	id := &Identity{key: new(Key), keys: own, User: "alice", Claims: claims}
	for keys, want := range map[*RemoteKeys]Reason{own: "", other: ReasonUnknownKey} {
		v, err := NewJWT(JWTConfig{Audiences: []string{"chat"}, Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		if got := reasonIn(v.Recheck(t.Context(), id, now)); got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
	}
}
