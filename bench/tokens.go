package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

const audience = "bench"

// issuer signs the tokens of the benchmark, with the standard library alone,
// and serves its public keys.
type issuer struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	// url is where the key set is.
	url string
	srv *http.Server
}

// newIssuer makes its keys and serves them on loopback until close.
func newIssuer() (*issuer, error) {
	i := new(issuer)
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, fmt.Errorf("making the RSA key: %w", err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making the EC key: %w", err)
	}
	set, err := i.keySet()
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the key set: %w", err)
	}
	i.url = "http://" + ln.Addr().String() + "/jwks.json"
	i.srv = &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jwk-set+json")
			_, _ = w.Write(set) // the reader is gone: nothing to do
		}),
	}
	go func() { _ = i.srv.Serve(ln) }() // ends with close
	return i, nil
}

func (i *issuer) close() { _ = i.srv.Close() }

// keySet is the JWK set of both public keys, RFC 7517.
func (i *issuer) keySet() ([]byte, error) {
	point, err := i.ec.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, fmt.Errorf("encoding the EC key: %w", err)
	}
	e := []byte{byte(i.rsa.E >> 16), byte(i.rsa.E >> 8), byte(i.rsa.E)}
	return json.Marshal(map[string]any{"keys": []map[string]string{
		{
			"kty": "RSA", "kid": "RS256", "alg": "RS256", "use": "sig",
			"n": b64(i.rsa.N.Bytes()), "e": b64(e),
		},
		{
			"kty": "EC", "crv": "P-256", "kid": "ES256", "alg": "ES256", "use": "sig",
			"x": b64(point[1:33]), "y": b64(point[33:]),
		},
	}})
}

// token returns a signed token for the subject that ends at end, whole
// seconds. alg is RS256 or ES256.
func (i *issuer) token(alg, subject string, end time.Time) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": alg, "typ": "JWT", "kid": alg})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": "https://id.example.com", "aud": audience, "sub": subject,
		"iat": time.Now().Unix(), "exp": end.Unix(), "jti": rand.Text(),
		"scope": "chat:read chat:write", "name": "Bench " + subject,
	})
	if err != nil {
		return "", err
	}
	input := b64(head) + "." + b64(claims)
	sum := sha256.Sum256([]byte(input))
	sig, err := i.sign(alg, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return input + "." + b64(sig), nil
}

func (i *issuer) sign(alg string, sum []byte) ([]byte, error) {
	if alg == "RS256" {
		return rsa.SignPKCS1v15(nil, i.rsa, crypto.SHA256, sum)
	}
	r, s, err := ecdsa.Sign(rand.Reader, i.ec, sum)
	if err != nil {
		return nil, err
	}
	sig := make([]byte, 64) // r and s, 32 bytes each: RFC 7518, 3.4
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig, nil
}

// tokens returns n tokens of n subjects, no two alike.
func (i *issuer) tokens(alg string, n int, end time.Time) ([]string, error) {
	all := make([]string, n)
	err := parallel(n, 2, func(k int) (err error) {
		all[k], err = i.token(alg, "user-"+strconv.Itoa(k), end)
		return err
	})
	return all, err
}

// renewals returns n tokens of one subject, each a second longer than the
// last.
func (i *issuer) renewals(n int, subject string, end time.Time) ([]string, error) {
	all := make([]string, n)
	err := parallel(n, 2, func(k int) (err error) {
		all[k], err = i.token("RS256", subject, end.Add(time.Duration(k+1)*time.Second))
		return err
	})
	return all, err
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
