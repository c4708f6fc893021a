package websocketauth

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// keyPool has the key sets of all configurations of this process, so that a
// reload does not fetch them anew. It holds *pooledKeys by keySource.
var keyPool = caddy.NewUsagePool()

// keySource is what makes two key sets the same.
type keySource struct {
	url       string // of the key set, or
	issuer    string // whose discovery names it
	ca        [sha256.Size]byte
	allowHTTP bool
}

// name is what logs call the source. Neither part has a user or a secret in
// it: such URLs are refused.
func (s keySource) name() string {
	if s.issuer != "" {
		return s.issuer
	}
	return s.url
}

// pooledKeys is a key set that lives as long as a configuration uses it.
type pooledKeys struct {
	*auth.RemoteKeys
	source keySource

	mu sync.Mutex
	// loggers are those of the configurations that use the set; guarded by
	// mu. The set outlives each of them, and the log of a configuration that
	// is gone may be closed.
	loggers []*zap.Logger
}

// acquireKeys returns the set of source, a new one if no configuration has
// it. It does not wait for the network. The caller must call release with the
// same logger. ca is nil for the system's.
func acquireKeys(source keySource, ca *x509.CertPool, logger *zap.Logger) (*pooledKeys, error) {
	value, _, err := keyPool.LoadOrNew(source, func() (caddy.Destructor, error) {
		p := &pooledKeys{source: source}
		var err error
		p.RemoteKeys, err = auth.NewRemoteKeys(auth.RemoteConfig{
			URL: source.url, Issuer: source.issuer,
			AllowHTTP: source.allowHTTP, RootCAs: ca,
			Events: auth.KeyEvents{StateChanged: p.logState, OddKeys: p.logOdd},
		})
		return p, err
	})
	if err != nil {
		return nil, err
	}
	p, ok := value.(*pooledKeys)
	if !ok {
		return nil, errors.New("key pool has a value of another type")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loggers = append(p.loggers, logger)
	return p, nil
}

// release gives the set back.
func (p *pooledKeys) release(logger *zap.Logger) error {
	p.mu.Lock()
	if i := slices.Index(p.loggers, logger); i >= 0 {
		p.loggers = slices.Delete(p.loggers, i, i+1)
	}
	p.mu.Unlock()
	_, err := keyPool.Delete(p.source)
	return err
}

// retain keeps the set, which somebody holds, until release is called.
func (p *pooledKeys) retain() (release func()) {
	_, loaded, err := keyPool.LoadOrNew(p.source, func() (caddy.Destructor, error) {
		return nil, errors.New("the set is gone")
	})
	if err != nil || !loaded {
		return func() {}
	}
	return func() { _, _ = keyPool.Delete(p.source) } // the last one closes it
}

// heldKeys are the key sets that a module holds. Modules have a pointer to it:
// Caddy copies them to ask for their name, also while they are cleaned up.
type heldKeys struct {
	mu   sync.Mutex // guards the following
	keys []*pooledKeys
}

func (h *heldKeys) add(keys *pooledKeys) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys = append(h.keys, keys)
}

// release gives the sets back, once. h may be nil: nothing was ever held.
func (h *heldKeys) release(logger *zap.Logger) error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	held := h.keys
	h.keys = nil
	h.mu.Unlock()
	var errs []error
	for _, keys := range held {
		errs = append(errs, keys.release(logger))
	}
	return errors.Join(errs...)
}

// retain keeps the sets for somebody else until release is called.
func (h *heldKeys) retain() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var releases []func()
	for _, keys := range h.keys {
		releases = append(releases, keys.retain())
	}
	return func() {
		for _, release := range releases {
			release()
		}
	}
}

// Destruct implements [caddy.Destructor].
func (p *pooledKeys) Destruct() error {
	p.Close()
	return nil
}

// logger returns the newest logger.
func (p *pooledKeys) logger() *zap.Logger {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.loggers) == 0 {
		return zap.NewNop()
	}
	return p.loggers[len(p.loggers)-1]
}

func (p *pooledKeys) logState(state auth.KeyState, cause error) {
	source := zap.String("key_source", p.source.name())
	switch state {
	case auth.KeysFresh:
		p.logger().Info("keys are up to date", source)
	case auth.KeysStale:
		p.logger().Warn("keys cannot be fetched, older ones serve", source, zap.Error(cause))
	default:
		p.logger().Error("keys cannot be fetched, tokens cannot be verified", source, zap.Error(cause))
	}
}

func (p *pooledKeys) logOdd(odd []error) {
	p.logger().Warn("keys of the provider are not as they should be",
		zap.String("key_source", p.source.name()), zap.Int("count", len(odd)), zap.Errors("errors", odd))
}

// loadCA reads PEM certificates. The sum tells one content from another.
func loadCA(path string) (pool *x509.CertPool, sum [sha256.Size]byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, sum, fmt.Errorf("ca: %w", err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, sum, fmt.Errorf("ca %s has no certificate in PEM form", path)
	}
	return pool, sha256.Sum256(text), nil
}
