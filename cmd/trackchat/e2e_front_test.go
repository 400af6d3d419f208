package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestDevicesBehindABalancer: on a plain port and on one with TLS the service knows a device by the
// address in the PROXY header, from configuration to log.
func TestDevicesBehindABalancer(t *testing.T) {
	cfg := testConfig(t, 2)
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	issue(t, cert, key, 1, time.Hour)
	for i := range cfg.Gateway.Listeners {
		ln := &cfg.Gateway.Listeners[i]
		switch ln.Protocol {
		case "wialon":
			ln.ProxyProtocol = []string{"10.0.0.0/8", "127.0.0.1/8"}
		case "jt808":
			ln.Protocol, ln.ProxyProtocol, ln.TLSCert, ln.TLSKey = "wialon",
				[]string{"127.0.0.0/8"}, cert, key
		}
	}
	core, logs := observer.New(zapcore.DebugLevel)
	app, err := New(cfg, zap.New(core))
	must(t, err)
	must(t, app.Start(t.Context()))
	t.Cleanup(func() { must(t, app.Stop(context.Background())) })
	pem, err := os.ReadFile(cert)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	addr := app.Addrs()["wialon"].String() // the first of the two, which has TLS
	nc, err := net.Dial("tcp", addr)
	must(t, err)
	defer func() { _ = nc.Close() }()
	must(t, nc.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(nc, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 6808\r\n")
	must(t, err)
	tc := tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	_, err = fmt.Fprintf(tc, "#L#%s;NA\r\n", deviceOf(2))
	must(t, err)
	if line, err := bufio.NewReader(tc).ReadString('\n'); err != nil || line != "#AL#1\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	in := logs.FilterMessage("device logged in").All()
	if len(in) != 1 || in[0].ContextMap()["remote"] != "192.0.2.7:4711" {
		t.Errorf("logged in: %v", in)
	}
	bare, err := net.Dial("tcp", addr)
	must(t, err)
	defer func() { _ = bare.Close() }()
	_, err = io.WriteString(bare, "#L#1;NA\r\n")
	must(t, err)
	eventually(t, "refused", func() bool {
		res, err := http.Get("http://" + app.Addrs()["admin"].String() + "/metrics")
		must(t, err)
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		must(t, err)
		return strings.Contains(string(body), `trackchat_refused_total{reason="proxy_header"} 1`)
	})
}
