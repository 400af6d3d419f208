package app

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"

	"go.uber.org/zap"
)

func TestMessageGoesFromTheAPIToTheDeviceAndBack(t *testing.T) {
	s := startService(t, apptest.Config(t, 2))
	for id := 1; id <= 2; id++ {
		sent := s.API.Send(id, "Hello driver, 好")
		if ms := s.API.List(id); len(ms) != 1 || ms[0].Status != "PENDING" ||
			ms[0].UpdateTime != nil || ms[0].Type != "OUTGOING" || ms[0].EmployeeID == nil ||
			*ms[0].EmployeeID != 7 {
			t.Fatalf("offline: %+v", ms)
		}
		d := s.Device(id, func(o *trackersim.Options) { o.Reply = "On my way" })
		m := s.API.Delivered(id, sent)
		if m.UpdateTime == nil || *m.UpdateTime < m.SubmitTime {
			t.Fatalf("delivered without a time: %+v", m)
		}
		apptest.Must(t, d.Await(t.Context(),
			func(st trackersim.Stats) bool { return st.SaidAcked == 1 }))
		ms := s.API.List(id)
		if len(ms) != 2 || ms[1].Type != "INCOMING" || ms[1].Status != "PENDING" ||
			ms[1].Text != "On my way" {
			t.Fatalf("%+v", ms)
		}
		if unread := s.API.Call("unread/count"); unread.Value[strconv.Itoa(id)] != 1.0 {
			t.Fatalf("unread: %+v", unread)
		}
		if a := s.API.Call("mark_read", "message_id", strconv.FormatInt(ms[1].ID, 10)); !a.Success {
			t.Fatalf("mark_read: %+v", a)
		}
		if unread := s.API.Call("unread/count"); len(unread.Value) != 0 {
			t.Fatalf("unread: %+v", unread)
		}
	}
}

func TestLongTextSurvivesReconnectsWithoutRepeatingAcknowledgedParts(t *testing.T) {
	s := startService(t, apptest.Config(t, 2))
	text := strings.Repeat("абв好 ", 4000)
	for id := 1; id <= 2; id++ {
		var mu sync.Mutex
		var got strings.Builder
		n := 0
		sent := s.API.Send(id, text)
		s.Device(id, func(o *trackersim.Options) {
			o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
				mu.Lock()
				defer mu.Unlock()
				if n++; n%7 == 0 && n <= 3*7 { // each costs Wialon 5 s, in which nothing is written
					return trackersim.Action{Drop: trackersim.DropBeforeAck}
				}
				got.WriteString(e.Body)
				return trackersim.Action{}
			}
		})
		m := s.API.Delivered(id, sent)
		mu.Lock()
		defer mu.Unlock()
		// An ack that the connection's end overtook costs a repetition; a lost or reordered part
		// never happens.
		if m.Text != text || got.Len() < len(text) {
			t.Fatalf("tracker %d: %d bytes shown of %d", id, got.Len(), len(text))
		}
		if got.String() != text {
			t.Fatalf("tracker %d: the parts shown are not the text", id)
		}
	}
}

func TestStopIsOrderly(t *testing.T) {
	cfg := apptest.Config(t, 40)
	app, err := New(cfg, zap.NewNop())
	apptest.Must(t, err)
	apptest.Must(t, app.Start(t.Context()))
	base := apptest.Client{T: t, Base: "http://" + app.Addrs()["api"].String() + "/v2/tracker/chat/"}
	acked := map[int64]bool{}
	var mu sync.Mutex
	for id := 1; id <= 40; id++ {
		addr := app.Addrs()[apptest.ProtocolOf(id)].String()
		apptest.PlayDevice(t, addr, id, func(o *trackersim.Options) {
			o.OnEvent = func(e trackersim.Event) {
				if e.Kind == trackersim.TextAcked {
					mu.Lock()
					acked[int64(id)] = true
					mu.Unlock()
				}
			}
		})
		base.Send(id, "text")
	}
	apptest.Eventually(t, "under way", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) > 20 })
	ctx, cancel := context.WithTimeout(t.Context(), StopWithin)
	defer cancel()
	apptest.Must(t, app.Stop(ctx))
	apptest.Must(t, app.Stop(ctx)) // again does nothing
	again := startService(t, cfg)
	for id := 1; id <= 40; id++ { // whatever was not delivered before is delivered now
		apptest.PlayDevice(t, again.Addrs[apptest.ProtocolOf(id)], id, nil)
		apptest.Eventually(t, "delivered", func() bool {
			ms := again.API.List(id)
			return len(ms) == 1 &&
				ms[0].Status == "DELIVERED"
		})
	}
}

func TestReadiness(t *testing.T) {
	s := startService(t, apptest.Config(t, 1))
	for path, want := range map[string]int{"/readyz": 200, "/healthz": 200, "/metrics": 200} {
		res, err := http.Get("http://" + s.Addrs["admin"] + path)
		apptest.Must(t, err)
		body, err := io.ReadAll(res.Body)
		apptest.Must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s answers %d: %s", path, res.StatusCode, body)
		}
		if path == "/metrics" {
			for _, name := range []string{
				"trackchat_sessions", "trackchat_connections_total", "trackchat_frames_total",
				"trackchat_decode_errors_total", "trackchat_texts_sent_total",
				"trackchat_texts_acked_total", "trackchat_texts_refused_total",
				"trackchat_texts_timed_out_total", "trackchat_delivery_seconds",
				"trackchat_ack_seconds",
				"trackchat_pending", "trackchat_wake_missed_total", "trackchat_loop_lag_seconds",
				"go_goroutines", "process_resident_memory_bytes",
			} {
				if !strings.Contains(string(body), "\n"+name) {
					t.Errorf("no metric %s", name)
				}
			}
		}
	}
	s.App.ready.Store(&errStopping)
	res, err := http.Get("http://" + s.Addrs["admin"] + "/readyz")
	apptest.Must(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("stopping, but /readyz answers %d", res.StatusCode)
	}
}

func TestReloadClosesAndOpensDoors(t *testing.T) {
	cfg := apptest.Config(t, 3)
	cfg.Directory.Prune = true
	s := startService(t, cfg)
	one := s.Device(1, func(o *trackersim.Options) { o.Reconnect = false })
	three := s.Device(3, nil)
	for _, d := range []*trackersim.Tracker{one, three} {
		apptest.Must(t, d.Await(t.Context(),
			func(st trackersim.Stats) bool { return st.Logins == 1 }))
	}
	yaml := strings.Replace(apptest.DirectoryYAML(4), "{id: 1, account: 1, label: Truck 1",
		"{id: 1, account: 1, blocked: true, label: Truck 1", 1)
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(yaml), 0o600))
	apptest.Must(t, s.App.Reload(t.Context()))
	apptest.Must(t, one.Await(t.Context(),
		func(st trackersim.Stats) bool { return st.Disconnects == 1 }))
	if a := s.API.Call("send", "tracker_id", "1", "message", "x"); a.Status.Code != 208 {
		t.Errorf("send to a blocked tracker: %+v", a)
	}
	added := s.API.Send(4, "new here")
	s.Device(4, nil)
	s.API.Delivered(4, added)
	if st := three.Stats(); st.Disconnects != 0 {
		t.Errorf("a tracker that did not change was disconnected: %+v", st)
	}
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte("trackers: [{id: 1}]\nwrong: true\n"), 0o600))
	if err := s.App.Reload(t.Context()); err == nil {
		t.Error("a broken directory file was taken")
	}
	s.API.Send(3, "still here")
}

func TestPortInUseIsAClearError(t *testing.T) {
	s := startService(t, apptest.Config(t, 1))
	cfg := apptest.Config(t, 1)
	for i := range cfg.Gateway.Listeners {
		cfg.Gateway.Listeners[i].Listen = s.Addrs[cfg.Gateway.Listeners[i].Protocol]
	}
	app, err := New(cfg, zap.NewNop())
	apptest.Must(t, err)
	err = app.Start(t.Context())
	for _, l := range cfg.Gateway.Listeners { // all of them at once
		if err == nil || !strings.Contains(err.Error(), l.Listen) {
			t.Errorf("error %v does not name %s", err, l.Listen)
		}
	}
	cfg.Store.Path = s.App.cfg.Store.Path
	app, err = New(cfg, zap.NewNop())
	apptest.Must(t, err)
	if err := app.Start(t.Context()); err == nil || !strings.Contains(err.Error(), cfg.Store.Path) {
		t.Errorf("error %v does not name the store in use", err)
	}
}

func TestManyTrackersBothDirections(t *testing.T) {
	const trackers, texts = 60, 10
	s := startService(t, apptest.Config(t, trackers))
	ids := make([]string, trackers)
	for id := 1; id <= trackers; id++ {
		ids[id-1] = strconv.Itoa(id)
		s.Device(id, func(o *trackersim.Options) { o.Reply = "ok" })
	}
	for i := range texts {
		a := s.API.Call("broadcast", "trackers", strings.Join(ids, ","), "message",
			"text "+strconv.Itoa(i))
		if len(a.SentTo) != trackers {
			t.Fatalf("broadcast: %+v", a)
		}
	}
	for id := 1; id <= trackers; id++ {
		var out []apptest.Message
		apptest.Eventually(t, "delivered", func() bool {
			out = out[:0]
			replies := 0
			for _, m := range s.API.List(id) {
				switch {
				case m.Type == "INCOMING":
					replies++
				case m.Status == "DELIVERED":
					out = append(out, m)
				}
			}
			return len(out) == texts && replies == texts
		})
	}
}
