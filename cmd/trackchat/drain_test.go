package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/queuetest"
)

// ask returns status and body of a request to the admin listener.
func (s *service) ask(method, path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addrs["admin"]+path,
		http.NoBody)
	must(s.t, err)
	return s.answered(req)
}

func (s *service) answered(req *http.Request) (int, string) {
	s.t.Helper()
	res, err := http.DefaultClient.Do(req)
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(s.t, err)
	return res.StatusCode, string(body)
}

// TestDrainForARollingUpgrade: two nodes on one Redis, devices on the first. Drained, it is not
// ready, closes its sessions and lets nobody in, still answers the API, and the texts that wait
// reach their devices through the other node.
func TestDrainForARollingUpgrade(t *testing.T) {
	const devices = 30
	server := queuetest.StartRedis(t)
	node := func() *service {
		cfg := testConfig(t, devices)
		cfg.Store.Backend, cfg.Store.Redis.Addrs = BackendRedis, []string{server.Addr}
		return startService(t, cfg)
	}
	old, young := node(), node()
	for id := 1; id <= devices; id++ {
		old.device(id, nil)
	}
	eventually(t, "logged in", func() bool { return old.app.gateway.Sessions() == devices })
	if code, body := old.ask(http.MethodPost, "/admin/drain"); code != http.StatusOK ||
		body != `{"success":true}` {
		t.Fatalf("drain: %d %s", code, body)
	}
	wantReady(t.Context(), t, old.addrs["admin"], 1, "wrong   not ready: draining\n")
	eventually(t, "drained", func() bool { return old.app.gateway.Sessions() == 0 })
	old.app.checkStore(t.Context()) // of every minute
	wantReady(t.Context(), t, old.addrs["admin"], 1, "not ready: draining")
	if code, _ := old.ask(http.MethodPost, "/admin/drain"); code != http.StatusOK {
		t.Errorf("a second time: %d", code)
	}
	ids := make([]int64, devices+1)
	for id := 1; id <= devices; id++ {
		ids[id] = old.api.send(id, "written through a node without devices")
		young.device(id, nil) // its side of the load balancer
	}
	for id := 1; id <= devices; id++ {
		young.api.delivered(id, ids[id])
	}
	if n := old.app.gateway.Sessions(); n != 0 {
		t.Errorf("%d sessions came back", n)
	}
}

// TestStopDrains: an orderly stop gives a device the moment that it needs to acknowledge what it
// shows.
func TestStopDrains(t *testing.T) {
	cfg := testConfig(t, 1)
	s := startService(t, cfg)
	shown := make(chan struct{})
	s.device(1, func(o *trackersim.Options) {
		var once sync.Once
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			once.Do(func() { close(shown) })
			return trackersim.Action{Delay: 300 * time.Millisecond}
		}
	})
	id := s.api.send(1, "on the screen")
	<-shown
	ctx, cancel := context.WithTimeout(t.Context(), stopWithin)
	defer cancel()
	must(t, s.app.Stop(ctx))
	if err := s.app.Drain(ctx); !errors.Is(err, queue.ErrUnavailable) ||
		!strings.Contains(err.Error(), "stopping") {
		t.Errorf("drained after the stop: %v", err)
	}
	st := openStore(t, cfg.Store.Path)
	ms, err := st.Get(t.Context(), []queue.Ref{{Tracker: 1, ID: id}})
	must(t, err)
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
