package gateway_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestRefusedDevices(t *testing.T) {
	locked := jt(1)
	locked.Password = "secret"
	blocked := jt(2)
	blocked.Blocked = true
	wlocked := wl(3, nil)
	wlocked.Password = "secret"
	r := newRig(t, []queue.Tracker{locked, blocked, wlocked, jt(4)})
	bystander := r.login("jt808", phone(4))
	password := func(p string) func(*protocol.DeviceConfig) {
		return func(c *protocol.DeviceConfig) { c.Password = p }
	}
	for _, c := range []struct{ name, proto, id, password, reason string }{
		{"unknown jt808", "jt808", "19900000000", "", "unknown_device"},
		{"unknown wialon", "wialon", "19900000000", "", "unknown_device"},
		{"blocked", "jt808", phone(2), "", "blocked"},
		{"wrong password wialon", "wialon", phone(3), "guess", "bad_credentials"},
		{"no password wialon", "wialon", phone(3), "", "bad_credentials"},
		{"wrong code jt808", "jt808", phone(1), "guess", "bad_credentials"},
	} {
		before := r.metric("refused_total", "reason="+c.reason)
		d := r.dial(c.proto, c.id, password(c.password))
		if c.name != "wrong code jt808" { // that device registers anew, which gets it no code
			d.wait(protocol.DeviceRefused)
		}
		eventually(t, func() bool { return r.metric("refused_total", "reason="+c.reason) > before },
			func() string { return c.name + " not counted" })
		if c.proto == "wialon" {
			d.gone()
		}
	}
	r.login("jt808", phone(1), password("secret"))
	r.login("wialon", phone(3), password("secret"))
	bystander.silent(protocol.DeviceRefused)
}

func TestNewerLoginTakesOver(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), wl(2, nil)})
	for _, tr := range []queue.Tracker{jt(1), wl(2, nil)} {
		id := r.send(tr.ID, "text")[0]
		old := r.login(tr.Protocol, tr.DeviceID)
		first := old.text()
		young := r.login(tr.Protocol, tr.DeviceID)
		old.gone()
		e := young.text()
		if e.Ref != first.Ref {
			t.Fatalf("%s: reference %d, was %d", tr.Protocol, e.Ref, first.Ref)
		}
		young.ack(e, protocol.AckDelivered)
		r.become(id, tr.ID, queue.StatusDelivered)
	}
	eventually(t, func() bool { return r.gw.Sessions() == 2 },
		func() string { return "other number of sessions" })
}

func TestDriverTextIsStoredBeforeItIsAcknowledged(t *testing.T) {
	trackers := []queue.Tracker{jt(1), wl(2, map[string]string{"repeat_seconds": "3600"})}
	r := newRig(t, trackers)
	for _, tr := range trackers {
		d := r.login(tr.Protocol, tr.DeviceID)
		frame := d.say("On my way")
		d.wait(protocol.DeviceTextAck)
		if ms := r.list(tr.ID); len(ms) != 1 || ms[0].Text != "On my way" ||
			ms[0].Status != queue.StatusUnread {
			t.Fatalf("%s: acknowledged, but the store has %+v", tr.Protocol, ms)
		}
		must(t, d.nc.Close()) // the ack is lost: the device repeats on its next connection
		d = r.login(tr.Protocol, tr.DeviceID)
		d.write(frame)
		eventually(t, func() bool {
			return r.metric("texts_repeated_total",
				"protocol="+tr.Protocol) == 1
		}, func() string { return "not repeated" })
		if ms := r.list(tr.ID); len(ms) != 1 {
			t.Fatalf("%s: a repeated text was stored %d times", tr.Protocol, len(ms))
		}
	}
}

func TestAnswersLeaveInTheOrderOfTheFrames(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	d := r.login("wialon", phone(1))
	var burst []byte
	for range 20 {
		text, err := d.side.AppendText(nil, "text")
		must(t, err)
		burst = append(append(burst, text...), d.side.AppendHeartbeat(nil)...)
	}
	d.write(burst)
	for i := range 20 {
		for _, want := range []protocol.DeviceEventKind{
			protocol.DeviceTextAck,
			protocol.DeviceOther,
		} {
			for len(d.seen) == 0 {
				must(t, d.read(patience))
			}
			if got := d.seen[0].Kind; got != want {
				t.Fatalf("answer %d is of kind %d, want %d", i, got, want)
			}
			d.seen = d.seen[1:]
		}
	}
}

func TestUnconfirmedTextOfAProtocolWithoutNumbers(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)}, withAcks(30*time.Millisecond, 30*time.Millisecond),
		func(o *gateway.Options) { o.MaxAttempts = 3 })
	ids := r.send(1, "never", "next")
	for range 3 {
		d := r.login("wialon", phone(1))
		if e := d.text(); e.Body != "never" {
			t.Fatalf("got %q", e.Body)
		}
		d.gone() // not a second time on this connection
		for _, e := range d.seen {
			if e.Kind == protocol.DeviceText {
				t.Fatalf("written twice on one connection: %+v", e)
			}
		}
	}
	if m := r.become(ids[0], 1, queue.StatusFailed); m.Reason != queue.ReasonNotConfirmed {
		t.Errorf("reason %v", m.Reason)
	}
	d := r.login("wialon", phone(1))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(ids[1], 1, queue.StatusDelivered)
}

func TestDamagedTextIsWrittenOnceMore(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	ids := r.send(1, "one", "two")
	d := r.login("wialon", phone(1))
	d.write([]byte("#AM#01\r\n"))
	e := d.text()
	d.write([]byte("#AM#01\r\n"))
	if again := d.text(); again.Body != e.Body {
		t.Fatalf("got %q after a damaged %q", again.Body, e.Body)
	}
	d.write([]byte("#AM#01\r\n"))
	if next := d.text(); next.Body != "two" {
		t.Fatalf("got %q", next.Body)
	}
	r.become(ids[0], 1, queue.StatusFailed)
}

// TestTextIsFollowed: at level debug the log follows a text by its id, part by part.
func TestTextIsFollowed(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	r := newRig(t, []queue.Tracker{wl(1, map[string]string{"part_bytes": "16"})},
		func(o *gateway.Options) { o.Logger = zap.New(core) })
	d := r.login("wialon", phone(1))
	ids := r.send(1, "one text in two parts", "short")
	for range 2 {
		d.text()
		d.write([]byte("#AM#1\r\n"))
	}
	r.become(ids[0], 1, queue.StatusDelivered)
	d.text()
	d.write([]byte("#AM#1\r\n"))
	r.become(ids[1], 1, queue.StatusDelivered)
	got := map[any][]string{}
	for _, e := range logs.All() {
		c := e.ContextMap()
		if id, ok := c["message"]; ok {
			got[id] = append(got[id], fmt.Sprint(e.Message, ", ", c["part"], " of ", c["parts"]))
		}
	}
	for id, want := range map[int64][]string{
		ids[0]: {
			"text written, 1 of 2", "text acknowledged, 1 of 2", "text written, 2 of 2",
			"text acknowledged, 2 of 2",
		},
		ids[1]: {"text written, <nil> of <nil>", "text acknowledged, <nil> of <nil>"},
	} {
		if !slices.Equal(got[id], want) {
			t.Errorf("%q, want %q", got[id], want)
		}
	}
}

func TestAckPolicies(t *testing.T) {
	r := newRig(t, []queue.Tracker{
		wl(1, map[string]string{"ack": "none", "part_bytes": "16"}),
		wl(2, map[string]string{"ack": "next_frame"}),
	})
	d := r.login("wialon", phone(1))
	id := r.send(1, "written once and in several parts")[0]
	got := ""
	for len(got) < len("written once and in several parts") {
		got += d.text().Body
	}
	m := r.become(id, 1, queue.StatusSent)
	if m.UpdateMs != 0 || got != "written once and in several parts" {
		t.Errorf("%+v, device saw %q", m, got)
	}
	d = r.login("wialon", phone(2))
	id = r.send(2, "any frame counts")[0]
	d.text()
	d.write(d.side.AppendHeartbeat(nil))
	r.become(id, 2, queue.StatusDelivered)
}

func TestTimeouts(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, func(o *gateway.Options) {
		o.LoginTimeout,
			o.IdleTimeout = 200*time.Millisecond, 1200*time.Millisecond
	})
	mute, err := net.Dial("tcp", r.addrs["jt808"])
	must(t, err)
	defer func() { _ = mute.Close() }()
	d := r.login("jt808", phone(1))
	must(t, mute.SetReadDeadline(time.Now().Add(patience)))
	if n, err := mute.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatal("a connection without a login got bytes")
	}
	d.gone()
	for _, reason := range []string{"login_timeout", "idle"} {
		eventually(t, func() bool { return r.metric("closed_total", "reason="+reason) == 1 },
			func() string { return reason + " not counted" })
	}
}

func TestGarbageHarmsOnlyItsSender(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	d := r.login("jt808", phone(1))
	id := r.send(1, "text")[0]
	e := d.text()
	// A session that is known survives noise and a damaged frame.
	ack := d.side.AppendAck(nil, e, protocol.AckDelivered)
	damaged := slices.Clone(ack)
	damaged[len(damaged)-2] ^= 1
	d.write(append([]byte("noise"), damaged...))
	eventually(t, func() bool { return r.metric("decode_errors_total") >= 2 },
		func() string { return "not counted" })
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Fatal("delivered by a damaged ack")
	}
	d.write(ack)
	r.become(id, 1, queue.StatusDelivered)
	// A stranger does not.
	stranger, err := net.Dial("tcp", r.addrs["wialon"])
	must(t, err)
	defer func() { _ = stranger.Close() }()
	_, err = stranger.Write([]byte(strings.Repeat("GET / HTTP/1.1\r\n", 50)))
	must(t, err)
	eventually(t, func() bool { return r.metric("closed_total", "reason=garbage") == 1 },
		func() string { return "open" })
	d.silent(protocol.DeviceRefused)
}

func TestSaidBeforeTheLogin(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	nc, err := net.Dial("tcp", r.addrs["wialon"])
	must(t, err)
	defer func() { _ = nc.Close() }()
	_, err = nc.Write([]byte("#M#let me in\r\n"))
	must(t, err)
	eventually(t, func() bool { return r.metric("refused_total", "reason=no_login") == 1 },
		func() string { return "not counted" })
	if ms := r.list(1); len(ms) != 0 {
		t.Fatalf("stored without a login: %+v", ms)
	}
}

func TestDirectoryChangesCloseSessions(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), jt(2), jt(3)})
	gone, blocked, stays := r.login("jt808", phone(1)), r.login("jt808", phone(2)), r.login("jt808",
		phone(3))
	two := jt(2)
	two.Blocked = true
	r.directory([]queue.Tracker{two, jt(3)})
	r.gw.Recheck()
	gone.gone()
	blocked.gone()
	stays.silent(protocol.DeviceRefused)
	eventually(t, func() bool { return r.metric("closed_total", "reason=directory") == 2 },
		func() string { return "not counted" })
}

func TestLimits(t *testing.T) {
	limited := func(l gateway.Limits) rigOption { return func(o *gateway.Options) { o.Limits = l } }
	t.Run("unauthenticated", func(t *testing.T) {
		r := newRig(t, []queue.Tracker{jt(1)}, limited(gateway.Limits{Unauthenticated: 2}))
		for range 2 {
			nc, err := net.Dial("tcp", r.addrs["jt808"])
			must(t, err)
			defer func() { _ = nc.Close() }()
		}
		eventually(t, func() bool { return r.metric("connections_total") == 2 },
			func() string { return "not open" })
		third, err := net.Dial("tcp", r.addrs["jt808"])
		must(t, err)
		defer func() { _ = third.Close() }()
		eventually(t, func() bool {
			return r.metric("refused_total",
				"reason=unauthenticated") == 1
		}, func() string { return "not refused" })
	})
	t.Run("accept rate", func(t *testing.T) {
		r := newRig(t, nil, limited(gateway.Limits{AcceptRate: 1}))
		for range 5 {
			nc, err := net.Dial("tcp", r.addrs["jt808"])
			must(t, err)
			defer func() { _ = nc.Close() }()
		}
		eventually(t, func() bool { return r.metric("refused_total", "reason=accept_rate") >= 3 },
			func() string { return "not refused" })
	})
	t.Run("texts per minute", func(t *testing.T) {
		r := newRig(t, []queue.Tracker{wl(1, nil)}, limited(gateway.Limits{TextsPerMinute: 3}),
			func(o *gateway.Options) { o.Now = halfPast() })
		d := r.login("wialon", phone(1))
		for range 5 {
			d.say("spam")
		}
		eventually(t, func() bool {
			return r.metric("refused_total",
				"reason=texts_per_minute") == 2
		}, func() string { return "not refused" })
		eventually(t, func() bool { return len(r.list(1)) == 3 },
			func() string { return "other number stored" })
	})
	t.Run("frames per second", func(t *testing.T) {
		r := newRig(t, []queue.Tracker{wl(1, nil), wl(2, nil)},
			limited(gateway.Limits{FramesPerSecond: 50}))
		flood, quiet := r.login("wialon", phone(1)), r.login("wialon", phone(2))
		flood.write([]byte(strings.Repeat("#P#\r\n", 200)))
		eventually(t, func() bool {
			return r.metric("refused_total",
				"reason=frames_per_second") >= 1
		}, func() string { return "not paused" })
		quiet.silent(protocol.DeviceRefused)
		for n := 0; n < 200; { // paused, not lost
			flood.wait(protocol.DeviceOther)
			n++
		}
	})
}

// halfPast is a clock that runs from the middle of a minute.
func halfPast() func() time.Time {
	start := time.Now()
	base := start.Truncate(time.Minute).Add(10 * time.Second)
	return func() time.Time { return base.Add(time.Since(start)) }
}

// faulty is a real store whose calls fail while broken is set.
type faulty struct {
	queue.Store
	broken atomic.Bool
	acks   atomic.Int32

	releases atomic.Int32
}

func (f *faulty) fail() error {
	if f.broken.Load() {
		return queue.ErrUnavailable
	}
	return nil
}

func (f *faulty) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Store.Receive(ctx, in)
}

func (f *faulty) Ack(ctx context.Context, acks []queue.AckReq) ([]queue.AckResult, error) {
	f.acks.Add(1)
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Store.Ack(ctx, acks)
}

func (f *faulty) Acquire(ctx context.Context, n queue.NodeID, ts []queue.TrackerID) ([]queue.Lease,
	error,
) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Store.Acquire(ctx, n, ts)
}

func (f *faulty) Release(ctx context.Context, ls []queue.Lease) ([]bool, error) {
	f.releases.Add(1)
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Store.Release(ctx, ls)
}

func TestStoreOutage(t *testing.T) {
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	f := &faulty{Store: st}
	r := newRigOn(t, f, []queue.Tracker{jt(1), jt(2)})
	id := r.send(1, "text")[0]
	d := r.login("jt808", phone(1))
	e := d.text()
	f.broken.Store(true)
	d.ack(e, protocol.AckDelivered)
	frame := d.say("from the driver")
	eventually(t, func() bool { return f.acks.Load() >= 2 },
		func() string { return "the ack is not repeated" })
	d.silent(protocol.DeviceTextAck) // alive, but nothing is acknowledged that is not stored
	late := r.login("jt808", phone(2))
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Fatalf("%+v", m)
	}
	f.broken.Store(false)
	r.become(id, 1, queue.StatusDelivered)
	d.write(frame)
	d.wait(protocol.DeviceTextAck)
	other := r.send(2, "after the outage")[0]
	late.ack(late.text(), protocol.AckDelivered)
	r.become(other, 2, queue.StatusDelivered)
}
