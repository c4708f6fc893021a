package rig

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

// Certificate is for localhost and its own authority.
type Certificate struct{ CertPEM, keyPEM []byte }

// OwnTLS is the certificate of all tests.
var OwnTLS = sync.OnceValue(func() Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA:     true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	Check(err)
	return Certificate{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
})

// client returns the configuration of a client that trusts it.
func (c Certificate) client() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CertPEM)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// write puts certificate and key in files of dir.
func (c Certificate) write(dir string) (cert, key string, err error) {
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err = os.WriteFile(cert, c.CertPEM, 0o600); err == nil {
		err = os.WriteFile(key, c.keyPEM, 0o600)
	}
	return cert, key, err
}

// Check panics for errors that no machine has on which the tests can run.
func Check(err error) {
	if err != nil {
		panic(err)
	}
}
