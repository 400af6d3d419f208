package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/queuetest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestDrainForARollingUpgrade: two nodes on one Redis, devices on the first. Drained, it is not
// ready, closes its sessions and lets nobody in, still answers the API, and the texts that wait
// reach their devices through the other node.
func TestDrainForARollingUpgrade(t *testing.T) {
	const devices = 30
	server := queuetest.StartRedis(t)
	node := func() *service {
		cfg := apptest.Config(t, devices)
		cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, []string{server.Addr}
		return startService(t, cfg)
	}
	old, young := node(), node()
	for id := 1; id <= devices; id++ {
		old.Device(id, nil)
	}
	apptest.Eventually(t, "logged in", func() bool { return old.App.gateway.Sessions() == devices })
	if code, body := old.Ask(http.MethodPost, "/admin/drain"); code != http.StatusOK ||
		body != `{"success":true}` {
		t.Fatalf("drain: %d %s", code, body)
	}
	wantUnready(t, old, "draining")
	apptest.Eventually(t, "drained", func() bool { return old.App.gateway.Sessions() == 0 })
	old.App.checkStore(t.Context()) // of every minute
	wantUnready(t, old, "draining")
	if code, _ := old.Ask(http.MethodPost, "/admin/drain"); code != http.StatusOK {
		t.Errorf("a second time: %d", code)
	}
	ids := make([]int64, devices+1)
	for id := 1; id <= devices; id++ {
		ids[id] = old.API.Send(id, "written through a node without devices")
		young.Device(id, nil) // its side of the load balancer
	}
	for id := 1; id <= devices; id++ {
		young.API.Delivered(id, ids[id])
	}
	if n := old.App.gateway.Sessions(); n != 0 {
		t.Errorf("%d sessions came back", n)
	}
}

// TestStopDrains: an orderly stop gives a device the moment that it needs to acknowledge what it
// shows.
func TestStopDrains(t *testing.T) {
	cfg := apptest.Config(t, 1)
	s := startService(t, cfg)
	shown := make(chan struct{})
	s.Device(1, func(o *trackersim.Options) {
		var once sync.Once
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			once.Do(func() { close(shown) })
			return trackersim.Action{Delay: 300 * time.Millisecond}
		}
	})
	id := s.API.Send(1, "on the screen")
	<-shown
	ctx, cancel := context.WithTimeout(t.Context(), StopWithin)
	defer cancel()
	apptest.Must(t, s.App.Stop(ctx))
	if err := s.App.Drain(ctx); !errors.Is(err, queue.ErrUnavailable) ||
		!strings.Contains(err.Error(), "stopping") {
		t.Errorf("drained after the stop: %v", err)
	}
	st := apptest.OpenStore(t, cfg.Store.Path)
	ms, err := st.Find(t.Context(), []int64{id})
	apptest.Must(t, err)
	if ms[0].Status != queue.StatusDelivered {
		t.Errorf("the device acknowledged it, the store says %q", ms[0].Status)
	}
}

// TestDrainSpeed: 100 sessions are closed in a second on request, 2,000 at the end, and as many
// more as a minute and three seconds ask for.
func TestDrainSpeed(t *testing.T) {
	for _, c := range []struct{ sessions, onRequest, atTheEnd int }{
		{0, 100, 2000}, {6000, 100, 2000}, {12_000, 200, 4000}, {1_000_000, 16_666, 333_333},
	} {
		if got := drainSpeed(c.sessions, drainRate, drainOver); got != c.onRequest {
			t.Errorf("%+v: %d on request", c, got)
		}
		if got := drainSpeed(c.sessions, drainStopRate, drainStopOver); got != c.atTheEnd {
			t.Errorf("%+v: %d at the end", c, got)
		}
	}
}

// TestDevicesBehindABalancer: on a plain port and on one with TLS the service knows a device by the
// address in the PROXY header, from configuration to log.
func TestDevicesBehindABalancer(t *testing.T) {
	cfg := apptest.Config(t, 2)
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	apptest.Issue(t, cert, key, 1, time.Hour)
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
	apptest.Must(t, err)
	apptest.Must(t, app.Start(t.Context()))
	t.Cleanup(func() { apptest.Must(t, app.Stop(context.Background())) })
	pem, err := os.ReadFile(cert)
	apptest.Must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	addr := app.Addrs()["wialon"].String() // the first of the two, which has TLS
	nc, err := net.Dial("tcp", addr)
	apptest.Must(t, err)
	defer func() { _ = nc.Close() }()
	apptest.Must(t, nc.SetDeadline(time.Now().Add(apptest.Patience)))
	_, err = io.WriteString(nc, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 6808\r\n")
	apptest.Must(t, err)
	tc := tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	_, err = fmt.Fprintf(tc, "#L#%s;NA\r\n", apptest.DeviceOf(2))
	apptest.Must(t, err)
	if line, err := bufio.NewReader(tc).ReadString('\n'); err != nil || line != "#AL#1\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	in := logs.FilterMessage("device logged in").All()
	if len(in) != 1 || in[0].ContextMap()["remote"] != "192.0.2.7:4711" {
		t.Errorf("logged in: %v", in)
	}
	bare, err := net.Dial("tcp", addr)
	apptest.Must(t, err)
	defer func() { _ = bare.Close() }()
	_, err = io.WriteString(bare, "#L#1;NA\r\n")
	apptest.Must(t, err)
	apptest.Eventually(t, "refused", func() bool {
		res, err := http.Get("http://" + app.Addrs()["admin"].String() + "/metrics")
		apptest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		apptest.Must(t, err)
		return strings.Contains(string(body), `trackchat_refused_total{reason="proxy_header"} 1`)
	})
}
