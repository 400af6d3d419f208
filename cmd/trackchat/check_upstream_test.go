package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
)

// acceptor is a server that counts the connections that it gets, and reads them to their end.
func acceptor(t *testing.T) (address string, accepted *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(t, err)
	accepted = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		apptest.Must(t, ln.Close())
		<-done
	})
	return ln.Addr().String(), accepted
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(t, err)
	apptest.Must(t, ln.Close())
	return ln.Addr().String()
}

func upstreamAt(address string) *config.Upstream {
	u := config.DefaultUpstream()
	u.Address = address
	return &u
}

// aboutUpstreams are the lines of a check that speak of upstreams, and its exit code.
func aboutUpstreams(t *testing.T, cfg *config.Config) (int, string) {
	t.Helper()
	code, text := checked(t, cfg, nil, "")
	var lines strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "upstream") {
			lines.WriteString(line)
		}
	}
	return code, lines.String()
}

func TestCheckDialsUpstreams(t *testing.T) {
	server, accepted := acceptor(t)
	dead := nobody(t)
	cfg := apptest.Config(t, 1)
	listeners := cfg.Gateway.Listeners
	listeners[0].Upstream, listeners[1].Upstream = upstreamAt(server), upstreamAt(server)
	secure := upstreamAt(dead)
	secure.TLS = true
	listeners[2].Upstream = secure
	var b strings.Builder
	b.WriteString("accounts: [{id: 1}]\ntrackers:\n")
	for id, upstream := range []string{"", "none", server, dead, dead} {
		fmt.Fprintf(&b, "  - {id: %d, account: 1, protocol: jt808, device_id: %d, upstream: %q}\n",
			id+1, id+1, upstream)
	}
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(b.String()), 0o600))
	code, got := aboutUpstreams(t, cfg)
	want := "ok      gateway.listeners[0].upstream: " + server + " takes connections\n" +
		"wrong   gateway.listeners[2].upstream: " + dead + ": tcp " + dead +
		": connect: connection refused\n" +
		"wrong   directory: upstream of tracker 4: " + dead + ": tcp " + dead +
		": connect: connection refused\n"
	if code != 1 || got != want {
		t.Errorf("exit code %d:\n%swant:\n%s", code, got, want)
	}
	apptest.Eventually(t, "the connection", func() bool { return accepted.Load() == 1 })
	cfg.Roles = []string{config.RoleAPI} // its gateways are elsewhere
	if code, got := aboutUpstreams(t, cfg); code != 0 || got != "" {
		t.Errorf("without a gateway: exit code %d:\n%s", code, got)
	}
}

// Each of many upstreams is waited for at the same time, and no more than a bound.
func TestCheckOfManyUpstreams(t *testing.T) {
	cfg := apptest.Config(t, 1)
	own := upstreamAt("192.0.2.1:1") // an address of nobody (RFC 5737)
	own.DialTimeout = config.Duration(100 * time.Millisecond)
	for i := range cfg.Gateway.Listeners {
		cfg.Gateway.Listeners[i].Upstream = own
	}
	var b strings.Builder
	b.WriteString("accounts: [{id: 1}]\ntrackers:\n")
	for id := 2; id < 72; id++ {
		fmt.Fprintf(&b, "  - {id: %d, account: 1, protocol: jt808, device_id: %d, upstream: \"192.0.2.%d:1\"}\n", id, id, id)
	}
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(b.String()), 0o600))
	code, got := aboutUpstreams(t, cfg)
	if code != 1 || strings.Count(got, "wrong ") != 1+64 || strings.Count(got, "192.0.2.1:1") == 0 ||
		!strings.HasSuffix(got, "warning directory: 6 more upstreams of trackers are not dialled\n") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
}

func TestCheckOfAnUpstreamWithTLS(t *testing.T) {
	ca := apptest.NewIdentity(t, nil, 1, time.Hour)
	server := apptest.NewIdentity(t, ca, 2, time.Hour)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	ca.Write(t, file("ca.pem"), "")
	server.Write(t, file("cert.pem"), file("key.pem"))
	other := apptest.Config(t, 1)
	for i := range other.Gateway.Listeners {
		l := &other.Gateway.Listeners[i]
		l.TLSCert, l.TLSKey = file("cert.pem"), file("key.pem")
	}
	address := startService(t, other).Addrs["jt808"]

	cfg := apptest.Config(t, 1)
	u := upstreamAt(address)
	u.TLS, u.CA, u.ServerName = true, file("ca.pem"), "localhost"
	cfg.Gateway.Listeners[0].Upstream = u
	if code, got := aboutUpstreams(t, cfg); code != 0 || !strings.HasPrefix(got, "ok ") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	u.ServerName = "tracking.example"
	if code, got := aboutUpstreams(t, cfg); code != 1 || !strings.Contains(got, "certificate") {
		t.Errorf("another name: exit code %d:\n%s", code, got)
	}
}

// A listener without an upstream loses positions: that is said in one line, and is no error.
func TestCheckWarnsOfDiscardedPositions(t *testing.T) {
	const warning = ": no upstream: positions are acknowledged and discarded; name the tracking server (docs/relay.md), or set discard_positions: true\n"
	cfg := apptest.Config(t, 1)
	listeners := cfg.Gateway.Listeners
	for i := range listeners {
		listeners[i].DiscardPositions = false
	}
	if code, got := aboutUpstreams(t, cfg); code != 0 ||
		got != "warning gateway.listeners"+warning {
		t.Errorf("none has one: exit code %d:\n%s", code, got)
	}
	server, _ := acceptor(t)
	for i := range listeners {
		listeners[i].Upstream = upstreamAt(server)
	}
	listeners[0].Upstream, listeners[2].Upstream = nil, nil
	listeners[3].Upstream, listeners[3].DiscardPositions = nil, true
	want := fmt.Sprintf("warning gateway.listeners[0] (%s), gateway.listeners[2] (%s)%s",
		listeners[0].Protocol, listeners[2].Protocol, warning)
	if code, got := aboutUpstreams(t, cfg); code != 0 || !strings.HasSuffix(got, want) {
		t.Errorf("two have none: exit code %d:\n%s", code, got)
	}
}
