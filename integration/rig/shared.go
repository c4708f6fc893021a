package rig

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Fixture is a Caddy with an issuer and a backend, which many tests share
// because each Caddy takes a second to start. Each test uses paths of its own.
type Fixture struct {
	*Caddy
	Issuer  *Issuer
	Backend *Backend
}

// standard is the configuration of the shared Caddy. The body of a refusal is
// its reason word.
const standard = `
{
	debug
	servers {
		# more than the default of 16 KiB, so that huge tokens get to us
		max_header_size 3MB
	}
}
(app) {
	reverse_proxy {$BACKEND} {
		header_up X-User {http.auth.user.id}
		header_up X-Subject {http.websocket_auth.subject}
		header_up X-Source {http.websocket_auth.source}
		header_up X-Role {http.websocket_auth.claims.role}
		stream_close_delay 1h
	}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}

# what the README begins with
http://{$SITE} {
	websocket_auth {$JWKS} chat
	import app
}

# as strict as can be
http://{$SITE2} {
	websocket_auth {
		verify jwt {
			issuer {$ISSUER}
			audience chat
			type at+jwt
			max_lifetime 2h
		}
		require scope chat:write
	}
	import app
}

# the other sources
http://{$SITE3} {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		from cookie session
		from query ticket token
		from header X-Token
		from subprotocol openai-insecure-api-key.* bearer
	}
	import app
}
`

var (
	sharedOnce    sync.Once
	sharedFixture *Fixture
	errShared     error
)

// Shared returns the fixture that tests share. They must not reload or stop
// it, nor change the issuer's answers.
func Shared(t testing.TB) *Fixture {
	t.Helper()
	sharedOnce.Do(func() {
		home := filepath.Join(tempDir, "shared")
		if errShared = os.Mkdir(home, 0o700); errShared != nil {
			return
		}
		f := &Fixture{Issuer: startIssuer(), Backend: startBackend()}
		f.Caddy, errShared = Launch(home, standard,
			WithEnv("JWKS", f.Issuer.JWKSURL()), WithEnv("ISSUER", f.Issuer.URL),
			WithEnv("BACKEND", f.Backend.Addr))
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
	err := f.Stop()
	f.Backend.close()
	f.Issuer.server.Close()
	return err
}

// Refuses checks that the handshake is refused with one of the reasons, each
// with the status that belongs to it, and that nothing of it has come anywhere.
func (f *Fixture) Refuses(t testing.TB, addr string, h Handshake, token string, status int, reasons ...string) {
	t.Helper()
	resp := Refused(t, addr, h, status)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	if !slices.Contains(reasons, string(body)) {
		t.Errorf("refused with reason %q, want one of %q", body, reasons)
	}
	if strings.Contains(fmt.Sprint(resp.Header), token) {
		t.Errorf("the answer holds the token: %v", resp.Header)
	}
	path, _, _ := strings.Cut(h.Path, "?")
	if len(f.Backend.Seen(path)) > 0 || f.Backend.Received(token) {
		t.Error("a refused handshake has reached the application")
	}
}
