package integration

import (
	"errors"
	"os"
	"sync"
	"testing"
)

// fixture is a Caddy with an issuer and a backend, which many tests share
// because each Caddy takes a second to start. Each test uses paths of its own.
type fixture struct {
	*caddyProc
	issuer  *issuer
	backend *backend
}

// standard is the configuration of the shared Caddy: what the README
// recommends, with headers for all that is known of a client.
const standard = `
{
	debug
}
(site) {
	websocket_auth {$JWKS} chat {
		name shared
	}
	reverse_proxy {$BACKEND} {
		header_up X-User {http.auth.user.id}
		header_up X-Subject {http.websocket_auth.subject}
		header_up X-Source {http.websocket_auth.source}
		header_up X-Role {http.websocket_auth.claims.role}
		stream_close_delay 1h
	}
}
http://{$SITE} {
	import site
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	import site
}
`

var (
	sharedOnce    sync.Once
	sharedFixture *fixture
	errShared     error
)

// shared returns the fixture that tests share. They must not reload or stop
// it, nor change the issuer's answers.
func shared(t *testing.T) *fixture {
	t.Helper()
	sharedOnce.Do(func() {
		home, err := os.MkdirTemp("", "websocket-auth-")
		if err != nil {
			errShared = err
			return
		}
		f := &fixture{issuer: startIssuer(), backend: startBackend()}
		f.caddyProc, errShared = launch(home, standard,
			withEnv("JWKS", f.issuer.jwksURL()), withEnv("BACKEND", f.backend.addr))
		if errShared == nil {
			sharedFixture = f
		}
	})
	if errShared != nil {
		t.Fatal(errShared)
	}
	return sharedFixture
}

// closeShared ends the shared fixture, if there is one.
func closeShared() error {
	f := sharedFixture
	if f == nil {
		return nil
	}
	err := f.stop()
	f.backend.close()
	f.issuer.server.Close()
	return errors.Join(err, os.RemoveAll(f.home))
}
