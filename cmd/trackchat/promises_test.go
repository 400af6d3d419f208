package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trackchat/api/admin"
	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// promising is a service as it is by default, but for its ports: those of EGTS and Galileosky and
// the API have TLS, Galileosky's with client_ca.
type promising struct {
	*service
	logs   *observer.ObservedLogs
	client tls.Certificate // that client_ca takes
}

// TestPromises holds a running service to the numbers that README.md, SECURITY.md and docs/ state.
// Those of the configuration stand in configs/trackchat.yaml.
func TestPromises(t *testing.T) {
	t.Parallel()
	p := promise(t)
	for _, c := range []struct {
		what  string
		check func(*promising)
	}{
		{"4 KiB of unread bytes before the login", (*promising).unread},
		{"16 refused frames before the login", (*promising).garbage},
		{"bytes that begin no frame", (*promising).framing},
		{"64 answers that wait for the store", (*promising).answers},
		{"ten takeovers within two minutes", (*promising).takeovers},
		{"40 characters of an id", (*promising).stranger},
		{"TLS from 1.2 on", (*promising).versions},
		{"the certificate that ends first", (*promising).certificates},
		{"2,000 closes a second at the end", (*promising).stop},
	} {
		t.Run(c.what, func(t *testing.T) {
			p.T = t
			c.check(p)
		})
	}
}

func promise(t *testing.T) *promising {
	t.Helper()
	cfg := apptest.Config(t, 6)
	cfg.Gateway.Limits.TextsPerMinute = 0 // fewer than the answers that may wait
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	cert, key := file("cert.pem"), file("key.pem")
	apptest.Issue(t, cert, key, 1, time.Hour)
	apptest.Issue(t, file("api.pem"), file("api.key"), 4, 2*time.Hour)
	ca := apptest.NewIdentity(t, nil, 2, time.Hour)
	ca.Write(t, file("ca.pem"), "")
	device := apptest.NewIdentity(t, ca, 3, time.Hour)
	cfg.API.TLSCert, cfg.API.TLSKey = file("api.pem"), file("api.key")
	for i := range cfg.Gateway.Listeners {
		ln := &cfg.Gateway.Listeners[i]
		switch ln.Protocol {
		case "egts":
			ln.TLSCert, ln.TLSKey = cert, key
		case "galileosky":
			ln.TLSCert, ln.TLSKey, ln.ClientCA = cert, key, file("ca.pem")
		}
	}
	core, logs := observer.New(zapcore.InfoLevel)
	app, err := app.New(cfg, zap.New(core))
	apptest.Must(t, err)
	p := &promising{apptest.Start(t, app), logs, tls.Certificate{
		Certificate: [][]byte{device.Cert.Raw},
		PrivateKey:  device.Key,
	}}
	return p
}

func (p *promising) metric(name string, labels ...string) float64 {
	p.T.Helper()
	return apptest.Metric(p.T, p.Addrs["admin"], name, labels...)
}

func (p *promising) counts(n float64, name string, labels ...string) {
	p.T.Helper()
	apptest.Eventually(p.T, fmt.Sprint(name, labels, " ", n), func() bool {
		return p.metric(name,
			labels...) == n
	})
}

// peer is a bare connection to a port.
type peer struct {
	t  *testing.T
	nc net.Conn
}

func (p *promising) peer(protocol, says string) *peer {
	p.T.Helper()
	nc, err := net.Dial("tcp", p.Addrs[protocol])
	apptest.Must(p.T, err)
	p.T.Cleanup(func() { _ = nc.Close() })
	apptest.Must(p.T, nc.SetDeadline(time.Now().Add(apptest.Patience)))
	c := &peer{p.T, nc}
	c.say(says)
	return c
}

func (c *peer) say(s string) {
	c.t.Helper()
	_, err := io.WriteString(c.nc, s)
	apptest.Must(c.t, err)
}

func (c *peer) hears(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.nc, got); err != nil || string(got) != want {
		c.t.Fatalf("answered %q, want %q: %v", got[:n], want, err)
	}
}

// gone reads to the end.
func (c *peer) gone() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.nc); errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection stays")
	}
}

func (p *promising) login(id int) *peer {
	p.T.Helper()
	c := p.peer("wialon", "#L#"+apptest.DeviceOf(id)+";NA\r\n#P#\r\n")
	c.hears("#AL#1\r\n#AP#\r\n")
	return c
}

func (p *promising) unread() {
	c := p.peer("wialon", "#L#"+strings.Repeat("1", 4<<10-3))
	p.counts(4<<10, "trackchat_engine_partial_bytes")
	c.say("1")
	c.gone()
	p.counts(1, "trackchat_closed_total", `reason="too_much"`)
}

func (p *promising) garbage() {
	const frame = "#?#\r\n"
	p.peer("wialon", strings.Repeat(frame, 15)+"#P#\r\n").hears("#AP#\r\n")
	p.peer("wialon", strings.Repeat(frame, 16)).gone()
	p.counts(1, "trackchat_closed_total", `reason="garbage"`)
}

func (p *promising) framing() {
	p.peer("teltonika", "\x01").gone()
	p.counts(1, "trackchat_closed_total", `reason="framing"`)
}

func (p *promising) answers() {
	c := p.login(2)
	for n, pauses := range map[int]float64{63: 0, 64: 1} {
		var texts bytes.Buffer
		for i := range n {
			fmt.Fprintf(&texts, "#M#%d of %d\r\n", i, n)
		}
		before := p.metric("trackchat_reads_paused_total")
		c.say(texts.String())
		c.hears(strings.Repeat("#AM#1\r\n", n))
		if got := p.metric("trackchat_reads_paused_total") - before; got != pauses {
			p.T.Errorf("%v pauses with %d answers that wait", got, n)
		}
	}
}

func (p *promising) takeovers() {
	last := p.login(4)
	for range 10 {
		next := p.login(4)
		last.gone()
		last = next
	}
	p.peer("wialon", "#L#"+apptest.DeviceOf(4)+";NA\r\n").gone()
	p.counts(1, "trackchat_refused_total", `reason="takeovers"`)
	p.counts(10, "trackchat_takeovers_total")
	last.say("#P#\r\n")
	last.hears("#AP#\r\n")
}

func (p *promising) stranger() {
	p.peer("wialon", "#L#"+strings.Repeat("7", 60)+";NA\r\n").gone()
	want := strings.Repeat("7", 40)
	var got struct{ Refused []admin.RefusedDevice }
	_, body := p.Ask(http.MethodGet, "/admin/errors")
	apptest.Must(p.T, json.Unmarshal([]byte(body), &got))
	if got.Refused[0].Reason != "unknown_device" || got.Refused[0].Device != want {
		p.T.Errorf("refused: %+v", got.Refused[0])
	}
	lines := p.logs.FilterMessage("device refused").FilterField(zap.String("why",
		"unknown_device")).All()
	if len(lines) != 1 || lines[0].ContextMap()["device"] != want {
		p.T.Errorf("the log says %v", lines)
	}
}

func (p *promising) versions() {
	for _, name := range []string{"api", "egts", "galileosky"} {
		for version, fails := range map[uint16]bool{
			tls.VersionTLS11: true, tls.VersionTLS12: false, tls.VersionTLS13: false,
		} {
			conf := &tls.Config{
				InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
				Certificates: []tls.Certificate{p.client},
			}
			dialer := &net.Dialer{Timeout: apptest.Patience}
			nc, err := tls.DialWithDialer(dialer, "tcp", p.Addrs[name], conf)
			if err == nil {
				_ = nc.Close()
			}
			if (err != nil) != fails {
				p.T.Errorf("%s, %s: %v", name, tls.VersionName(version), err)
			}
		}
	}
}

func (p *promising) certificates() {
	first := apptest.CertificateOf(p.T, p.Addrs["egts"]).NotAfter.Unix()
	if last := apptest.CertificateOf(p.T, p.Addrs["api"]).NotAfter.Unix(); last <= first {
		p.T.Fatalf("ends at %d and %d", first, last)
	}
	p.counts(float64(first), "trackchat_certificate_expires_seconds")
}

func (p *promising) stop() {
	apptest.Must(p.T, p.App.Stop(context.Background()))
	lines := p.logs.FilterMessage("draining").All()
	if len(lines) != 1 || lines[0].ContextMap()["per_second"] != int64(2000) {
		p.T.Errorf("the log says %v", lines)
	}
}
