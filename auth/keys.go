package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxTried is how many keys are tried for one token. It bounds what a token
// without a key id can cost.
const maxTried = 4

// KeySet finds the keys that may have signed a token. It is safe for
// concurrent use.
type KeySet interface {
	// Find returns the keys, at most four and at least one, that have this
	// key id and serve this algorithm. Without a key id (kid is empty) all
	// keys of the algorithm count, and a key without an id counts for every
	// kid that no other key has. Find returns a *RefusedError if there is
	// none, and an *OutageError if it cannot tell. It may wait for the
	// network, bounded by ctx and by itself.
	Find(ctx context.Context, alg, kid string) ([]*Key, error)
	// Holds reports whether a key that Find has returned is still good. It
	// never waits.
	Holds(k *Key) bool
	// Symmetric reports whether this is a secret that signs as well as
	// verifies. It never changes.
	Symmetric() bool
}

// Key is a key that verifies signatures. It is immutable.
type Key struct {
	id       string
	algs     []string // what it may verify
	material any      // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
	// print is the same for two keys only if they are the same in all of
	// this: it lets a refreshed set keep its keys' identities.
	print string
}

// keyTable is a set of keys at one moment. It is immutable. The nil table is
// empty.
type keyTable struct {
	keys []*Key
	held map[*Key]struct{}
}

func newKeyTable(keys []*Key) *keyTable {
	t := &keyTable{keys: keys, held: make(map[*Key]struct{}, len(keys))}
	for _, k := range keys {
		t.held[k] = struct{}{}
	}
	return t
}

// keeping returns a table with the keys of t, in which the keys that old has
// too are old's, so that tokens verified with them stay known.
func (t *keyTable) keeping(old *keyTable) *keyTable {
	if old == nil {
		return t
	}
	keys := slices.Clone(t.keys)
	for i, k := range keys {
		same := slices.IndexFunc(old.keys, func(o *Key) bool { return o.print == k.print })
		if same >= 0 {
			keys[i] = old.keys[same]
		}
	}
	return newKeyTable(keys)
}

// find returns what [KeySet.Find] promises. known is false if kid, or for a
// token without one the algorithm, is of no key here. Several keys with the
// same id are all tried.
func (t *keyTable) find(alg, kid string) (keys []*Key, known bool) {
	if t == nil {
		return nil, false
	}
	var nameless []*Key
	for _, k := range t.keys {
		if k.id == kid && kid != "" {
			known = true
		}
		if !slices.Contains(k.algs, alg) {
			continue
		}
		switch {
		case kid == "" || k.id == kid:
			keys = append(keys, k)
		case k.id == "":
			nameless = append(nameless, k)
		}
	}
	if !known && len(keys) == 0 {
		keys = nameless
	}
	return keys[:min(len(keys), maxTried)], known || len(keys) > 0
}

func (t *keyTable) holds(k *Key) bool {
	if t == nil {
		return false
	}
	_, ok := t.held[k]
	return ok
}

// errWrongAlgorithm is for a key id that is there, with a key of another kind.
var errWrongAlgorithm = Refuse(ReasonAlgorithm, "the key with the token's kid does not serve its algorithm")

// StaticKeys is a set of keys that never changes.
type StaticKeys struct {
	table  *keyTable
	secret int // its length in bytes; 0 for public keys
}

// NewStaticKeys reads keys from text: a JSON Web Key Set, a single JSON Web
// Key (RFC 7517), or PEM blocks with public keys or certificates. Of private
// keys in JSON the public half is used. odd has an error for each key that
// cannot be used: providers publish keys for encryption in the same set. The
// last error is for a text in which no usable key is.
func NewStaticKeys(text []byte) (set *StaticKeys, odd []error, err error) {
	keys, odd, err := parseKeys(text)
	if err != nil {
		return nil, odd, err
	}
	return &StaticKeys{table: newKeyTable(keys)}, odd, nil
}

// NewSecretKeys returns a set with one shared secret, for the HS* algorithms
// whose hash is not longer than the secret (RFC 7518 section 3.2).
func NewSecretKeys(secret []byte) (*StaticKeys, error) {
	k := &Key{material: slices.Clone(secret)}
	for _, alg := range knownAlgorithms {
		if alg.hmac > 0 && len(secret) >= alg.hmac {
			k.algs = append(k.algs, alg.name)
		}
	}
	if len(k.algs) == 0 {
		return nil, fmt.Errorf("secret has %d bytes, HS256 needs at least 32: "+
			"make one with openssl rand -base64 48", len(secret))
	}
	return &StaticKeys{table: newKeyTable([]*Key{k}), secret: len(secret)}, nil
}

// Find implements [KeySet].
func (s *StaticKeys) Find(_ context.Context, alg, kid string) ([]*Key, error) {
	keys, known := s.table.find(alg, kid)
	switch {
	case len(keys) > 0:
		return keys, nil
	case known:
		return nil, errWrongAlgorithm
	}
	return nil, Refuse(ReasonUnknownKey, "no key has the token's kid and algorithm")
}

// Holds implements [KeySet].
func (s *StaticKeys) Holds(k *Key) bool { return s.table.holds(k) }

// Symmetric implements [KeySet].
func (s *StaticKeys) Symmetric() bool { return s.secret > 0 }

// algorithm is a signature algorithm of RFC 7518 section 3.1, RFC 8037 or
// RFC 9864 that can be configured.
type algorithm struct {
	name string
	hmac int // bytes of the hash, for HMAC
}

// knownAlgorithms are all that can be configured. The unsecured "none" is not
// among them, nor are algorithms that no library here verifies.
var knownAlgorithms = []algorithm{
	{"RS256", 0},
	{"RS384", 0},
	{"RS512", 0},
	{"PS256", 0},
	{"PS384", 0},
	{"PS512", 0},
	{"ES256", 0},
	{"ES384", 0},
	{"ES512", 0},
	{"EdDSA", 0},
	{"Ed25519", 0},
	{"HS256", 32},
	{"HS384", 48},
	{"HS512", 64},
}

// lookupAlgorithm returns the algorithm of that exact name (names are
// case-sensitive, RFC 7515 section 4.1.1).
func lookupAlgorithm(name string) (algorithm, error) {
	i := slices.IndexFunc(knownAlgorithms, func(a algorithm) bool { return a.name == name })
	if i >= 0 {
		return knownAlgorithms[i], nil
	}
	var names []string
	for _, a := range knownAlgorithms {
		names = append(names, a.name)
	}
	if strings.EqualFold(name, "none") {
		return algorithm{}, errors.New("algorithms must not name none: such a token is not signed by anybody; remove it")
	}
	return algorithm{}, fmt.Errorf("algorithms names %q, which is unknown; known are %v", name, names)
}
