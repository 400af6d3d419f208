package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue"
	"trackchat/queue/queuetest"

	"go.uber.org/zap/zaptest"
)

// TestReadinessFollowsTheStore: long before a check a minute would see it, the service is not ready
// while Redis is dead or stands still, and ready when it is back; what was pending stays known.
func TestReadinessFollowsTheStore(t *testing.T) {
	t.Parallel()
	server := queuetest.StartRedis(t)
	node := func() *service {
		cfg := apptest.Config(t, 3)
		cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, []string{server.Addr}
		cfg.API.Timeout = config.Duration(time.Second)
		return startService(t, cfg)
	}
	first := node()
	for id := 1; id <= 3; id++ {
		first.API.Send(id, "for nobody yet")
	}
	s := node()
	if got := s.Figure("trackchat_pending"); got != "3" || s.Figure("trackchat_ready") != "1" {
		t.Fatalf("from the start on: %s pending, ready %s", got, s.Figure("trackchat_ready"))
	}
	for what, away := range map[string]struct{ down, up func(testing.TB) }{
		"dead": {server.Kill, server.Start}, "stopped": {server.Pause, server.Resume},
	} {
		away.down(t)
		if a := s.API.Call("list", "tracker_id", "1"); a.Success {
			t.Fatalf("%s: %+v", what, a)
		}
		apptest.Eventually(t, "not ready while Redis is "+what, func() bool { return !s.Ready() })
		_, body := s.Ask(http.MethodGet, "/readyz")
		if !strings.Contains(body, "store") {
			t.Errorf("%s: not ready for %s", what, body)
		}
		if got := s.Figure("trackchat_pending"); got != "3" || s.Figure("trackchat_ready") != "0" {
			t.Errorf("%s: %s pending, ready %s", what, got, s.Figure("trackchat_ready"))
		}
		if s.Figure("trackchat_pending_age_seconds") == "0" {
			t.Errorf("%s: pending is said to be new", what)
		}
		away.up(t)
		apptest.Eventually(t, "ready again", s.Ready)
	}
	s.API.Send(1, "one more")
	apptest.Eventually(t, "counted again", func() bool { return s.Figure("trackchat_pending") == "4" })
}

// TestSilentStoreIsNoticed: a Redis that has gone without a word ends readiness within seconds,
// also where nothing else is asked of it.
func TestSilentStoreIsNoticed(t *testing.T) {
	t.Parallel()
	server := queuetest.StartRedis(t)
	cfg := apptest.Config(t, 1)
	cfg.Store.Backend, cfg.Store.Redis.Addrs = config.BackendRedis, []string{server.Addr}
	idle, err := New(cfg, zaptest.NewLogger(t))
	apptest.Must(t, err)
	apptest.Must(t, idle.openStore(t.Context()))
	t.Cleanup(func() { apptest.Must(t, idle.store.Close()) })
	idle.ready.Store(nil) // started, but for everything that calls the store
	ctx, cancel := context.WithCancel(t.Context())
	var pings sync.WaitGroup
	defer pings.Wait()
	defer cancel()
	pings.Go(func() { idle.pingStore(ctx) })
	for range 2 {
		server.Pause(t)
		paused := time.Now()
		apptest.Eventually(t, "not ready", func() bool { return idle.notReady(t.Context()) != nil })
		t.Logf("noticed after %v", time.Since(paused))
		if err := idle.notReady(t.Context()); !strings.Contains(err.Error(),
			server.Addr+" gives no sign of life") {
			t.Errorf("not ready: %v", err)
		}
		server.Resume(t)
		apptest.Eventually(t, "ready again",
			func() bool { idle.checkStore(t.Context()); return idle.notReady(t.Context()) == nil })
	}
}

// TestFailedCallsDecideReadiness: which errors of the store make the service not ready at once.
func TestFailedCallsDecideReadiness(t *testing.T) {
	s := startService(t, apptest.Config(t, 1))
	for _, c := range []struct {
		err          error
		away, doubts bool
	}{
		{fmt.Errorf("%w: connection refused", queue.ErrUnavailable), true, true},
		{fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, queue.ErrUnavailable), true, true},
		{fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, context.DeadlineExceeded), false, true},
		{queue.ErrOverloaded, false, false},
		{queue.ErrCorrupt, false, false},
		{context.Canceled, false, false},
		{fmt.Errorf("%w: %w", queue.ErrUnavailable, context.Canceled), false, false},
		{errors.New("something else"), false, false},
	} {
		app := &App{log: s.App.log, health: &storeHealth{doubt: make(chan struct{}, 1)}}
		app.storeFailed(c.err)
		app.storeFailed(c.err) // never blocks
		if away := app.notReady(t.Context()) != nil; away != c.away ||
			len(app.health.doubt) > 0 != c.doubts {
			t.Errorf("%v: not ready %v, to be checked %d", c.err, away, len(app.health.doubt))
		}
	}
	s.App.storeFailed(queue.ErrUnavailable)
	apptest.Eventually(t, "ready after a check", s.Ready)
	s.App.ready.Store(&errDraining)
	s.App.checkStore(t.Context())
	if s.Ready() {
		t.Error("a check has ended the drain")
	}
}

func TestWarningsOfTheStoreAreToldOnceAnHour(t *testing.T) {
	h := &storeHealth{warned: make(map[string]time.Time)}
	now := time.Now()
	for i, c := range []struct {
		warning string
		after   time.Duration
		want    bool
	}{
		{"disk of /data has only 412 MiB left", 0, true},
		{"disk of /data has only 398 MiB left", time.Minute, false},
		{"fsync took 1.2s", time.Minute, true},
		{"disk of /data has only 390 MiB left", warnEvery + time.Second, true},
	} {
		if got := h.news(c.warning, now.Add(c.after)); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

// TestStartOnANearlyFullDisk: what is there is served, nothing new is taken, and the service says
// so.
func TestStartOnANearlyFullDisk(t *testing.T) {
	cfg := apptest.Config(t, 1)
	s := startService(t, cfg)
	id := s.API.Send(1, "before")
	ctx, cancel := context.WithTimeout(context.Background(), StopWithin)
	defer cancel()
	apptest.Must(t, s.App.Stop(ctx))

	// there is no room for the change.
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(apptest.DirectoryYAML(2)), 0o600))
	s = startService(t, cfg, func(a *App) { a.leastFree = 1 << 60 })
	if ms := s.API.List(1); len(ms) != 1 || ms[0].ID != id {
		t.Errorf("%+v", ms)
	}
	if a := s.API.Call("send", "tracker_id", "1", "message", "x"); a.Status.Code != 8 {
		t.Errorf("send: %+v", a)
	}
	if got := s.Unready(); !strings.Contains(got, "MiB left") {
		t.Errorf("ready: %q", got)
	}
}
