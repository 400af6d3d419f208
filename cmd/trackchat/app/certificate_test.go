package app

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// serial is the serial number of the certificate that a server shows.
func serial(t *testing.T, addr string) int64 {
	t.Helper()
	return apptest.CertificateOf(t, addr).SerialNumber.Int64()
}

// TestCertificatesAreReplaced changes the files under a running service: new connections of clients
// and of devices get the new certificate, and a pair that does not fit changes nothing.
func TestCertificatesAreReplaced(t *testing.T) {
	cfg := apptest.Config(t, 1)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	apptest.Issue(t, cert, key, 1, 1000*time.Hour)
	cfg.API.TLSCert, cfg.API.TLSKey = cert, key
	for i := range cfg.Gateway.Listeners {
		cfg.Gateway.Listeners[i].TLSCert, cfg.Gateway.Listeners[i].TLSKey = cert, key
	}
	core, logs := observer.New(zapcore.InfoLevel)
	app, err := New(cfg, zap.New(core))
	apptest.Must(t, err)
	app.certs.every = 10 * time.Millisecond
	apptest.Must(t, app.Start(t.Context()))
	t.Cleanup(func() { apptest.Must(t, app.Stop(context.Background())) })
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
	old, err := tls.DialWithDialer(&net.Dialer{Timeout: apptest.Patience}, "tcp", addrs[0],
		&tls.Config{InsecureSkipVerify: true})
	apptest.Must(t, err)
	defer old.Close()

	apptest.Issue(t, cert, key, 2, 24*time.Hour)
	apptest.Eventually(t, "the new certificate", func() bool {
		return serial(t, addrs[0]) == 2 &&
			serial(t, addrs[1]) == 2
	})
	if logs.FilterMessage("certificate ends soon").Len() == 0 {
		t.Error("nobody was warned of a certificate of one day")
	}
	_, err = old.Write([]byte("GET /v2/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	apptest.Must(t, err)
	if n, err := old.Read(make([]byte, 10)); n == 0 {
		t.Errorf("the connection from before was cut: %v", err)
	}

	figure := func(name string) float64 {
		return apptest.Metric(t, app.Addrs()["admin"].String(), "trackchat_certificate_"+name)
	}
	if got, want := figure("expires_seconds"), apptest.CertificateOf(t,
		addrs[0]).NotAfter.Unix(); got != float64(want) {
		t.Errorf("the figure says that the certificate ends at %v, not %d", got, want)
	}
	before := logs.FilterMessage("certificate not replaced").Len()
	// at once: an empty file would be a complaint more.
	apptest.Must(t, os.WriteFile(cert+".new", []byte("no certificate"), 0o600))
	apptest.Must(t, os.Rename(cert+".new", cert))
	apptest.Eventually(t, "the complaint",
		func() bool { return logs.FilterMessage("certificate not replaced").Len() > before })
	all(2)
	failed := figure("errors_total")
	if err := app.Reload(t.Context()); err == nil {
		t.Error("a reload finds nothing wrong with it")
	}
	if n := figure("errors_total") - failed; n != float64(1+len(cfg.Gateway.Listeners)) {
		t.Errorf("%v certificates could not be used, not that of each listener", n)
	}
	all(2)
	apptest.Issue(t, cert, key, 3, 1000*time.Hour)
	apptest.Eventually(t, "the third certificate", func() bool { return serial(t, addrs[0]) == 3 })
	apptest.Must(t, app.Reload(t.Context()))
	all(3)
}

// TestClientCertificates: a device port with client_ca hears only devices with a certificate of
// that authority, and the authority can be replaced under a running service.
func TestClientCertificates(t *testing.T) {
	cfg := apptest.Config(t, 2)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	apptest.Issue(t, file("cert.pem"), file("key.pem"), 1, 1000*time.Hour)
	first := apptest.NewIdentity(t, nil, 2, 1000*time.Hour)
	second := apptest.NewIdentity(t, nil, 3, 1000*time.Hour)
	first.Write(t, file("ca.pem"), "")
	for i := range cfg.Gateway.Listeners {
		l := &cfg.Gateway.Listeners[i]
		l.TLSCert, l.TLSKey, l.ClientCA = file("cert.pem"), file("key.pem"), file("ca.pem")
	}
	app, err := New(cfg, zap.NewNop())
	apptest.Must(t, err)
	app.certs.every = 10 * time.Millisecond
	apptest.Must(t, app.Start(t.Context()))
	t.Cleanup(func() { apptest.Must(t, app.Stop(context.Background())) })

	// login tries to log device 2 in and returns the connection if the service answered.
	login := func(issuer *apptest.Identity, number int64) net.Conn {
		t.Helper()
		conf := &tls.Config{InsecureSkipVerify: true}
		if issuer != nil {
			id := apptest.NewIdentity(t, issuer, number, time.Hour)
			conf.Certificates = []tls.Certificate{{
				Certificate: [][]byte{id.Cert.Raw},
				PrivateKey:  id.Key,
			}}
		}
		d := tls.Dialer{Config: conf}
		c, err := d.DialContext(t.Context(), "tcp", app.Addrs()["wialon"].String())
		if err != nil {
			return nil
		}
		apptest.Must(t, c.SetDeadline(time.Now().Add(apptest.Patience)))
		answer := make([]byte, 64)
		_, _ = c.Write([]byte("#L#" + apptest.DeviceOf(2) + ";NA\r\n")) // a refusal may have come already
		n, _ := c.Read(answer)
		if got := string(answer[:n]); got != "#AL#1\r\n" {
			_ = c.Close()
			return nil
		}
		return c
	}
	refused := func(what string, c net.Conn) {
		t.Helper()
		if c != nil {
			t.Errorf("%s was let in", what)
			_ = c.Close()
		}
	}
	refused("a device without a certificate", login(nil, 0))
	refused("a device with another authority's certificate", login(second, 10))
	refused("a device that shows a certificate of its own making", login(apptest.NewIdentity(t, nil, 2,
		time.Hour), 11))
	trusted := login(first, 12)
	if trusted == nil {
		t.Fatal("the device of the right authority was not let in")
	}
	defer trusted.Close()

	apptest.ReplaceFile(t, file("ca.pem"), []byte("no certificate"))
	if err := app.Reload(t.Context()); err == nil {
		t.Error("a reload finds nothing wrong with it")
	}
	refused("a device without a certificate", login(nil, 0))

	second.Write(t, file("ca.pem"), "")
	apptest.Eventually(t, "the second authority", func() bool {
		c := login(second, 13)
		if c == nil {
			return false
		}
		_ = c.Close()
		return true
	})
	refused("a device of the authority before", login(first, 14))
}
