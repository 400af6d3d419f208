package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"testing"
	"time"
)

// issue writes a self-signed pair that ends after a time and tells its certificate's serial number.
func issue(t *testing.T, certFile, keyFile string, number int64, life time.Duration) {
	t.Helper()
	newIdentity(t, nil, number, life).write(t, certFile, keyFile)
}

// identity is a certificate and its key.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newIdentity makes a certificate that issuer signs, or itself without one.
func newIdentity(t *testing.T, issuer *identity, number int64, life time.Duration) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: fmt.Sprint(number)},
		DNSNames:  []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life), IsCA: issuer == nil,
		BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{
			x509.ExtKeyUsageServerAuth,
			x509.ExtKeyUsageClientAuth,
		},
	}
	id := &identity{key: key}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)
	id.cert, err = x509.ParseCertificate(der)
	must(t, err)
	return id
}

// write puts the key first: whoever looks in between sees a pair that does not match.
func (id *identity) write(t *testing.T, certFile, keyFile string) {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(id.key)
	must(t, err)
	if keyFile != "" {
		replaceFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	}
	replaceFile(t, certFile, pem.EncodeToMemory(&pem.Block{
		Type:  "CERTIFICATE",
		Bytes: id.cert.Raw,
	}))
}

func replaceFile(t *testing.T, name string, text []byte) {
	t.Helper()
	must(t, os.WriteFile(name+".new", text, 0o600))
	must(t, os.Rename(name+".new", name))
}

// certificateOf is the certificate that a server shows.
func certificateOf(t *testing.T, addr string) *x509.Certificate {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", addr)
	must(t, err)
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0]
}
