package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

const (
	// maxKeys is how many keys a set may have.
	maxKeys = 100
	// RSA moduli in bits: RFC 7518 section 3.3 has the lower bound, the upper
	// one bounds what a signature check costs.
	minRSABits = 2048
	maxRSABits = 16384
)

// publicMembers are what is taken of a JSON Web Key. The private members stay
// out, so the public half is all that is ever used, and so do x5c, x5t and
// x5u: they could contradict the key, and nothing here trusts a certificate.
var publicMembers = []string{"kty", "crv", "n", "e", "x", "y", "kid", "alg", "use", "key_ops"}

// parseKeys reads a JSON Web Key Set, a single JSON Web Key or PEM. Entries
// that cannot be used do not spoil the others (RFC 7517 section 5): odd says
// why, one error each, and also if there is a private half. Keys for
// encryption are left out and are not odd. It returns an error if no key is
// left. Errors hold nothing of the text.
func parseKeys(text []byte) (keys []*Key, odd []error, err error) {
	text = bytes.TrimSpace(text)
	if bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		keys, odd = parsePEM(text)
	} else {
		entries, err := splitKeySet(text)
		if err != nil {
			return nil, nil, err
		}
		for _, entry := range entries {
			k, err := parseKey(entry)
			if k != nil {
				keys = append(keys, k)
			}
			if err != nil && !errors.Is(err, errOtherUse) {
				odd = append(odd, err)
			}
		}
	}
	if len(keys) == 0 {
		why := append(odd, errors.New("it is empty"))[0]
		return nil, odd, fmt.Errorf("no usable key in the key set: %w", why)
	}
	return keys, odd, nil
}

// splitKeySet returns the entries of a key set, or a single key as the only
// entry.
func splitKeySet(text []byte) ([]json.RawMessage, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
		Kty  string            `json:"kty"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("keys are neither a JSON Web Key Set nor PEM")
	}
	if set.Kty != "" {
		return []json.RawMessage{text}, nil
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("key set has %d keys, at most %d are taken", len(set.Keys), maxKeys)
	}
	return set.Keys, nil
}

var (
	// errOtherUse is for a key that is not for signatures. Sets that hold
	// such a key, too, are common.
	errOtherUse = errors.New("key is not for signatures (use)")
	// errPrivate goes with a key, which is used all the same.
	errPrivate = errors.New("key has its private half with it, and whoever can read that can make tokens")
)

// parseKey reads one JSON Web Key and applies the rules for keys: for
// signatures, strong enough, on its curve (RFC 7517 section 4, RFC 7518
// section 6). With errPrivate it returns a key as well.
func parseKey(entry json.RawMessage) (*Key, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(entry, &all); err != nil {
		return nil, errors.New("key is no JSON object")
	}
	if err := checkUse(all); err != nil {
		return nil, err
	}
	public := make(map[string]json.RawMessage)
	for _, name := range publicMembers {
		if v, ok := all[name]; ok {
			public[name] = v
		}
	}
	text, err := json.Marshal(public) // sorted: equal keys, equal text
	if err != nil {
		return nil, errors.New("key is no JSON object")
	}
	parsed, err := jwk.ParseKey(text)
	if err != nil {
		return nil, errors.New("key is of an unknown kind or broken")
	}
	var material any
	if err := jwk.Export(parsed, &material); err != nil {
		return nil, errors.New("key is of an unknown kind or broken")
	}
	k, err := newPublicKey(material)
	if err != nil {
		return nil, err
	}
	k.print = string(text)
	k.id, _ = parsed.KeyID()
	if len(k.id) > maxKeyID {
		return nil, fmt.Errorf("key has a kid of more than %d bytes", maxKeyID)
	}
	if alg, ok := parsed.Algorithm(); ok {
		if !slices.Contains(k.algs, alg.String()) {
			return nil, errors.New("key has an alg that does not fit its kind")
		}
		k.algs = []string{alg.String()}
	}
	if _, private := all["d"]; private {
		return k, errPrivate
	}
	return k, nil
}

// checkUse refuses keys that are not meant to verify signatures, and
// symmetric ones: a secret in a published set is known to everybody.
func checkUse(members map[string]json.RawMessage) error {
	var m struct {
		Kty    string
		Use    *string
		KeyOps *[]string
	}
	for name, to := range map[string]any{"kty": &m.Kty, "use": &m.Use, "key_ops": &m.KeyOps} {
		if raw, ok := members[name]; ok && json.Unmarshal(raw, to) != nil {
			return errors.New("key has a " + name + " of the wrong type")
		}
	}
	switch {
	case m.Kty == "oct":
		return errors.New("key is symmetric (oct): a shared key is given as secret, never in a key set")
	case m.Use != nil && *m.Use != "sig":
		return errOtherUse
	case m.KeyOps != nil && !slices.Contains(*m.KeyOps, "verify"):
		return errors.New("key is not for verifying (key_ops)")
	}
	return nil
}

// newPublicKey checks the strength of a public key and says which algorithms
// it serves.
func newPublicKey(material any) (*Key, error) {
	switch pub := material.(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("rsa key has %d bits, it must have %d to %d", bits, minRSABits, maxRSABits)
		}
		if pub.E < 3 || pub.E%2 == 0 || pub.N.Bit(0) == 0 {
			return nil, errors.New("rsa key has an exponent or modulus that is even or too small")
		}
		return &Key{material: pub, algs: []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}}, nil
	case *ecdsa.PublicKey:
		alg, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[pub.Curve.Params().Name]
		if !ok {
			return nil, errors.New("elliptic curve key is of an unknown curve")
		}
		if _, err := pub.ECDH(); err != nil { // checks that the point is on the curve
			return nil, errors.New("elliptic curve key is not on its curve")
		}
		return &Key{material: pub, algs: []string{alg}}, nil
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return nil, errors.New("ed25519 key has the wrong length")
		}
		return &Key{material: pub, algs: []string{"EdDSA", "Ed25519"}}, nil
	}
	return nil, errors.New("key is of a kind that verifies no signatures")
}

// parsePEM reads public keys and certificates. Of a certificate only the key
// is used: neither its dates nor who signed it matter.
func parsePEM(text []byte) (keys []*Key, odd []error) {
	for len(keys)+len(odd) < maxKeys {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		k, err := parseBlock(block)
		if err != nil {
			odd = append(odd, err)
			continue
		}
		k.print = block.Type + string(block.Bytes)
		keys = append(keys, k)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		odd = append(odd, fmt.Errorf("after the PEM blocks there is other text, or more than %d keys", maxKeys))
	}
	return keys, odd
}

func parseBlock(block *pem.Block) (*Key, error) {
	var material any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		material, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		material, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			material = cert.PublicKey
		}
	default:
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, errors.New("PEM block is a private key: only its public half belongs here")
		}
		return nil, errors.New("PEM block is neither a public key nor a certificate")
	}
	if err != nil {
		return nil, errors.New("PEM block cannot be read: it must be a public key or a certificate")
	}
	return newPublicKey(material)
}
