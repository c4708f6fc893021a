package websocketauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"hash"
)

// resolver is a verifier that can tell what its configuration has resolved to.
type resolver interface {
	// Resolved returns a hash of all that decides about credentials: what
	// placeholders and files have held when the configuration was loaded, and
	// not what they are called.
	Resolved() [sha256.Size]byte
}

// trustOf returns what stands for verifiers. A login by polling counts wherever
// that is the same. Of a verifier that cannot tell, each load is another one:
// the same words may mean other keys.
func trustOf(verifiers []namedVerifier) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, v := range verifiers {
		h.Write([]byte(v.name))
		h.Write([]byte{0})
		if tells, ok := v.Verifier.(resolver); ok {
			resolved := tells.Resolved()
			h.Write(resolved[:])
			continue
		}
		h.Write([]byte(rand.Text()))
		h.Write([]byte{0})
	}
	h.Sum(sum[:0])
	return sum
}

// resolution collects what a configuration has resolved to. Only the hash is
// kept: secrets are among it.
type resolution struct{ hash hash.Hash }

func newResolution() *resolution { return &resolution{sha256.New()} }

// add adds a part, which has no text of the next in it.
func (r *resolution) add(part []byte) {
	sum := sha256.Sum256(part)
	r.hash.Write(sum[:])
}

// addJSON adds what is exported of a value.
func (r *resolution) addJSON(value any) error {
	text, err := json.Marshal(value)
	if err == nil {
		r.add(text)
	}
	return err
}

func (r *resolution) sum() (sum [sha256.Size]byte) {
	r.hash.Sum(sum[:0])
	return sum
}
