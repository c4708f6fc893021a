package handshake

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// ownCertificate makes the certificate of a client, which nobody else has
// signed: what counts is who has its key.
func ownCertificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rig.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	rig.Check(err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// boundTo returns the claim that binds a token to a certificate, RFC 8705
// section 3.1.
func boundTo(c *tls.Certificate) map[string]any {
	sum := sha256.Sum256(c.Certificate[0])
	return map[string]any{"cnf": map[string]any{"x5t#S256": rig.Base64URL(sum[:])}}
}

// showing returns the configuration of a client that shows a certificate, none
// if it is nil.
func showing(c *tls.Certificate, protocols ...string) *tls.Config {
	config := rig.ClientTLS(protocols...)
	if c != nil {
		config.Certificates = []tls.Certificate{*c}
	}
	return config
}

// boundSite asks its clients for a certificate and takes any, or none.
type boundSite struct{ *rig.Site }

// boundConfig has one part for each way in which tokens come.
const boundConfig = `
https://{$TLS} {
	tls {$CERT} {$KEY} {
		client_auth {
			mode request
		}
	}
	handle_path /every/* {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			from every_message
		}
		reverse_proxy {$APP}
	}
	handle_path /polled/* {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			from first_message {
				within 2s
				early
			}
			dialect socketio
			http authenticate
		}
		reverse_proxy {$APP}
	}
	handle {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			from header
			from first_message
			on_expiry renew {
				warn 0s
				path ` + rig.RenewalPath + `
			}
		}
		reverse_proxy {$APP} {
			header_up X-Session {http.websocket_auth.session}
		}
	}
}
`

func startBoundSite(t *testing.T) boundSite {
	t.Helper()
	s := &rig.Site{Issuer: rig.NewIssuer(t), App: rig.StartApp(t)}
	t.Cleanup(s.CloseAll)
	s.Caddy = rig.StartCaddy(t, boundConfig, rig.WithEnv("JWKS", s.Issuer.JWKSURL()), rig.WithEnv("APP", s.App.Addr()))
	t.Cleanup(s.CloseAll)
	return boundSite{s}
}

// connect opens a connection on which the certificate is shown.
func (s boundSite) connect(ctx context.Context, version string, cert *tls.Certificate) (rig.ClientConn, error) {
	if version == rig.H3 {
		conn, err := quic.DialAddr(ctx, s.TLSAddr, showing(cert, http3.NextProtoH3), nil)
		if err != nil {
			return nil, err
		}
		c := rig.H3Conn{Conn: conn, Client: new(http3.Transport).NewClientConn(conn)}
		select {
		case <-c.Client.ReceivedSettings():
			return c, nil
		case <-ctx.Done():
			c.Close()
			return nil, ctx.Err()
		}
	}
	protocol := "http/1.1"
	if version == rig.H2 {
		protocol = http2.NextProtoTLS
	}
	conn, err := (&tls.Dialer{Config: showing(cert, protocol)}).DialContext(ctx, "tcp", s.TLSAddr)
	if err != nil || version == rig.H1 {
		return rig.H1Conn{Conn: conn}, err
	}
	cc, err := new(http2.Transport).NewClientConn(conn) //nolint:staticcheck // see rig.H2Conn
	if err != nil {
		conn.Close()
		return nil, err
	}
	return rig.H2Conn{Conn: conn, Client: cc}, nil
}

// try tries to open a WebSocket on a connection of its own.
func (s boundSite) try(t *testing.T, version string, cert *tls.Certificate, path string, header http.Header) (*rig.Conn, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	conn, err := s.connect(ctx, version, cert)
	if err != nil {
		t.Fatalf("connecting over %s: %v", version, err)
	}
	s.Adopt(conn)
	r, err := rig.NewHandshake(ctx, version, "https://"+s.TLSAddr+path, header)
	if err != nil {
		t.Fatal(err)
	}
	c, answer, err := conn.Open(r)
	if err != nil {
		t.Fatalf("handshake over %s: %v", version, err)
	}
	return c, answer
}

// opens is try for a handshake that is accepted.
func (s boundSite) opens(t *testing.T, version string, cert *tls.Certificate, path string, header http.Header) *rig.Conn {
	t.Helper()
	c, answer := s.try(t, version, cert, path, header)
	if c == nil {
		t.Fatalf("handshake over %s refused: %s", version, answer.Status)
	}
	return c
}

// asks sends an ordinary request, and returns the status.
func (s boundSite) asks(t *testing.T, cert *tls.Certificate, method, path, body string, header http.Header) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "https://"+s.TLSAddr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: showing(cert), DialContext: (&net.Dialer{}).DialContext,
	}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}
