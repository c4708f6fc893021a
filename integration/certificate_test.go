package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// certificate is for localhost and its own authority.
type certificate struct{ certPEM, keyPEM []byte }

// testTLS is the certificate of all tests.
var testTLS = sync.OnceValue(func() certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA:     true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	return certificate{
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
})

// client returns the configuration of a client that trusts it.
func (c certificate) client() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.certPEM)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// write puts certificate and key in files of dir.
func (c certificate) write(dir string) (cert, key string, err error) {
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err = os.WriteFile(cert, c.certPEM, 0o600); err == nil {
		err = os.WriteFile(key, c.keyPEM, 0o600)
	}
	return cert, key, err
}

// check panics for errors that no machine has on which the tests can run.
func check(err error) {
	if err != nil {
		panic(err)
	}
}
