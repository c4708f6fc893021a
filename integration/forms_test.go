package integration

import (
	"testing"
)

func TestSmoke(t *testing.T) {
	t.Parallel()
	f := shared(t)
	token := f.issuer.token()
	conn, _ := mustDial(t, f.site, bearer("/smoke", token))
	mustEcho(t, conn, "hello")
	_ = conn.Close()
	if f.backend.received(token) {
		t.Error("token")
	}
	conn, _ = mustDial(t, f.tls, handshake{path: "/smoke?access_token=" + token, tls: f.tlsConfig})
	mustEcho(t, conn, "hello")
}
