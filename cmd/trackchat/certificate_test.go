package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// issue writes a self-signed pair that ends after a time and tells its certificate's serial number.
func issue(t *testing.T, certFile, keyFile string, number int64, life time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(number), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	// The key comes first: whoever looks in between sees a pair that does not match.
	for _, f := range []struct{ name, kind, text string }{{keyFile, "PRIVATE KEY", string(private)}, {certFile, "CERTIFICATE", string(cert)}} {
		must(t, os.WriteFile(f.name+".new", pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: []byte(f.text)}), 0o600))
		must(t, os.Rename(f.name+".new", f.name))
	}
}

// serial is the serial number of the certificate that a server shows.
func serial(t *testing.T, addr string) int64 {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it is looked at, not trusted
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", addr)
	must(t, err)
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestCertificatesAreReplaced changes the files under a running service: new connections of clients and of devices get the new certificate, and a pair that does not fit changes nothing.
func TestCertificatesAreReplaced(t *testing.T) {
	cfg := testConfig(t, 1)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	issue(t, cert, key, 1, 1000*time.Hour)
	cfg.API.TLSCert, cfg.API.TLSKey = cert, key
	for i := range cfg.Gateway.Listeners {
		cfg.Gateway.Listeners[i].TLSCert, cfg.Gateway.Listeners[i].TLSKey = cert, key
	}
	core, logs := observer.New(zapcore.InfoLevel)
	app, err := New(cfg, zap.New(core))
	must(t, err)
	app.certs.every = 10 * time.Millisecond
	must(t, app.Start(t.Context()))
	t.Cleanup(func() { must(t, app.Stop(context.Background())) })
	addrs := []string{app.Addrs()["api"].String(), app.Addrs()["jt808"].String()}
	all := func(want int64) {
		t.Helper()
		for _, addr := range addrs {
			if got := serial(t, addr); got != want {
				t.Errorf("certificate %d, want %d", got, want)
			}
		}
	}
	all(1)
	old, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addrs[0], &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as above
	must(t, err)
	defer old.Close()

	issue(t, cert, key, 2, 24*time.Hour)
	eventually(t, "the new certificate", func() bool { return serial(t, addrs[0]) == 2 && serial(t, addrs[1]) == 2 })
	if logs.FilterMessage("certificate ends soon").Len() == 0 {
		t.Error("nobody was warned of a certificate of one day")
	}
	_, err = old.Write([]byte("GET /v2/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	must(t, err)
	if n, err := old.Read(make([]byte, 10)); n == 0 {
		t.Errorf("the connection from before was cut: %v", err)
	}

	before := logs.FilterMessage("certificate not replaced").Len()
	must(t, os.WriteFile(cert, []byte("no certificate"), 0o600))
	eventually(t, "the complaint", func() bool { return logs.FilterMessage("certificate not replaced").Len() > before })
	all(2)
	if err := app.Reload(t.Context()); err == nil {
		t.Error("a reload finds nothing wrong with it")
	}
	all(2)
	issue(t, cert, key, 3, 1000*time.Hour)
	eventually(t, "the third certificate", func() bool { return serial(t, addrs[0]) == 3 })
	must(t, app.Reload(t.Context()))
	all(3)
}
