package apptest

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

// Issue writes a self-signed pair that ends after a time and tells its certificate's serial number.
func Issue(t *testing.T, certFile, keyFile string, number int64, life time.Duration) {
	t.Helper()
	NewIdentity(t, nil, number, life).Write(t, certFile, keyFile)
}

// Identity is a certificate and its key.
type Identity struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// NewIdentity makes a certificate that issuer signs, or itself without one.
func NewIdentity(t *testing.T, issuer *Identity, number int64, life time.Duration) *Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Must(t, err)
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
	id := &Identity{Key: key}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.Cert, issuer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	Must(t, err)
	id.Cert, err = x509.ParseCertificate(der)
	Must(t, err)
	return id
}

// Write puts the key first: whoever looks in between sees a pair that does not match.
func (id *Identity) Write(t *testing.T, certFile, keyFile string) {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(id.Key)
	Must(t, err)
	if keyFile != "" {
		ReplaceFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	}
	ReplaceFile(t, certFile, pem.EncodeToMemory(&pem.Block{
		Type:  "CERTIFICATE",
		Bytes: id.Cert.Raw,
	}))
}

// ReplaceFile writes a file so that nobody sees a part of it.
func ReplaceFile(t *testing.T, name string, text []byte) {
	t.Helper()
	Must(t, os.WriteFile(name+".new", text, 0o600))
	Must(t, os.Rename(name+".new", name))
}

// CertificateOf is the certificate that a server shows.
func CertificateOf(t *testing.T, addr string) *x509.Certificate {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", addr)
	Must(t, err)
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0]
}
