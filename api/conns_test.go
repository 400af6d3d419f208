package api_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"trackchat/api"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestConnectionsAreBounded fills a listener with idle connections: those are answered, one more is
// refused, and its place is free when one of them goes.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 50
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewServer(w.api, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(api.NewConns(reg, 0).Listen(ln, "api", most, false)) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	ask := func(c net.Conn) (string, error) {
		if _, err := io.WriteString(c,
			"GET /v2/tracker/chat/unread/count?hash="+berlinKey+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return "", err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return string(b), err
	}
	conns := make([]net.Conn, most)
	for i := range conns {
		conns[i] = dial(t, ln.Addr().String())
		if a, err := ask(conns[i]); err != nil || a != `{"success":true,"value":{}}` {
			t.Fatalf("connection %d: %s %v", i, a, err)
		}
	}
	told, err := io.ReadAll(dial(t, ln.Addr().String()))
	if err != nil || !strings.HasPrefix(string(told), "HTTP/1.1 429 ") ||
		!strings.Contains(string(told), `"code":15,`) {
		t.Errorf("one too many: %q %v", told, err)
	}
	if err := testutil.GatherAndCompare(reg,
		strings.NewReader("# HELP trackchat_http_connections_refused_total "+
			"Connections of HTTP clients closed because there were too many, or too much of unfinished headers.\n"+
			"# TYPE trackchat_http_connections_refused_total counter\ntrackchat_http_connections_refused_total{listener=\"api\"} 1\n"),
		"trackchat_http_connections_refused_total"); err != nil {
		t.Error(err)
	}
	if a, err := ask(conns[7]); err != nil || !strings.Contains(a, "true") {
		t.Errorf("meanwhile: %s %v", a, err)
	}
	if err := conns[3].Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; {
		if a, err := ask(dial(t, ln.Addr().String())); err == nil &&
			a == `{"success":true,"value":{}}` {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place does not become free")
		}
	}
	if err := testutil.GatherAndCompare(reg,
		strings.NewReader("# HELP trackchat_http_connections Open connections of HTTP clients.\n"+
			"# TYPE trackchat_http_connections gauge\ntrackchat_http_connections{listener=\"api\"} 50\n"), "trackchat_http_connections"); err != nil {
		t.Error(err)
	}
}
