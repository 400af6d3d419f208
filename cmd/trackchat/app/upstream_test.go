package app

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// shakes reports how the handshake of a client with the configuration of a connection ends at a
// server that shows id.
func shakes(t *testing.T, conf *tls.Config, id *apptest.Identity) error {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{
		Certificate: [][]byte{id.Cert.Raw}, PrivateKey: id.Key,
	}}})
	apptest.Must(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if c, err := ln.Accept(); err == nil {
			_ = c.(*tls.Conn).HandshakeContext(t.Context()) // the client tells how it ended
			_ = c.Close()
		}
	}()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: apptest.Patience}, Config: conf}
	c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err == nil {
		_ = c.Close()
	}
	apptest.Must(t, ln.Close())
	<-served
	return err
}

func TestUpstreamTLS(t *testing.T) {
	ca := apptest.NewIdentity(t, nil, 1, time.Hour)
	server := apptest.NewIdentity(t, ca, 2, time.Hour) // localhost
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca.Write(t, file, "")
	for name, c := range map[string]struct {
		u       config.Upstream
		address string
		ok      bool
	}{
		"its host":              {config.Upstream{TLS: true, CA: file}, "localhost:1", true},
		"another host":          {config.Upstream{TLS: true, CA: file}, "a.example:1", false},
		"an address":            {config.Upstream{TLS: true, CA: file}, "127.0.0.1:1", false},
		"a name":                {config.Upstream{TLS: true, CA: file, ServerName: "localhost"}, "127.0.0.1:1", true},
		"another name":          {config.Upstream{TLS: true, CA: file, ServerName: "a.example"}, "localhost:1", false},
		"the system's, unknown": {config.Upstream{TLS: true}, "localhost:1", false},
	} {
		conf, err := UpstreamTLS(&c.u, c.address)
		apptest.Must(t, err)
		if err := shakes(t, conf, server); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if conf, err := UpstreamTLS(&config.Upstream{CA: file}, "localhost:1"); conf != nil ||
		err != nil {
		t.Errorf("without TLS: %v %v", conf, err)
	}
	if _, err := UpstreamTLS(&config.Upstream{TLS: true, CA: file + "x"}, "a:1"); err == nil {
		t.Error("no authorities are no error")
	}
}

// TestAuthoritiesOfAnUpstreamAreReplaced: each connection is secured with the newest ones, whatever
// its address is, and a file that is none changes nothing.
func TestAuthoritiesOfAnUpstreamAreReplaced(t *testing.T) {
	first, second := apptest.NewIdentity(t, nil, 1, time.Hour), apptest.NewIdentity(t, nil, 2,
		time.Hour)
	file := filepath.Join(t.TempDir(), "ca.pem")
	first.Write(t, file, "")
	cs := newCertificates(zap.NewNop(), prometheus.NewRegistry())
	u := config.DefaultUpstream()
	u.Address, u.TLS, u.CA = "a.example:1", true, file
	conf, err := cs.upstream(3, &u)
	apptest.Must(t, err)
	trusts := func(want *apptest.Identity) {
		t.Helper()
		for address, host := range map[string]string{
			"a.example:1": "a.example",
			"b.example:2": "b.example",
		} {
			c := conf(address)
			roots := x509.NewCertPool()
			roots.AddCert(want.Cert)
			if !c.RootCAs.Equal(roots) || c.ServerName != host {
				t.Errorf("%s: other authorities, or the name %q", address, c.ServerName)
			}
		}
	}
	trusts(first)
	second.Write(t, file, "")
	apptest.Must(t, cs.refresh(true))
	trusts(second)
	apptest.Must(t, os.WriteFile(file, []byte("no certificate"), 0o600))
	if err := cs.refresh(true); err == nil {
		t.Error("a file without a certificate is taken")
	}
	trusts(second)
	// A listener that has another upstream, or none, has no file that could be wrong.
	if conf, err := cs.upstream(3, nil); conf != nil || err != nil {
		t.Errorf("no upstream: %v", err)
	}
	apptest.Must(t, cs.refresh(true))
}
