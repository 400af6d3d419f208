package main

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
)

// scenario is what happens to a fleet, with trackers of its own.
type scenario struct {
	t   *testing.T
	f   *fleet
	ids []int
}

// TestFleet runs an API and two gateways, each in a process of its own, on one Redis and on a
// Cluster of three masters, and takes from them what can be taken: nothing accepted is lost,
// nothing is DELIVERED without an ack or twice, order is kept, and the fleet recovers without a
// restart of what still runs.
func TestFleet(t *testing.T) {
	t.Parallel()
	scenarios := []struct {
		name string
		run  func(*scenario)
	}{
		{"delivery", (*scenario).delivery}, // first: it wants to see a fleet without faults
		{"session moves", (*scenario).sessionMoves},
		{"gateway killed", (*scenario).gatewayKilled},
		{"gateway killed within a text", (*scenario).gatewayKilledWithinAText},
		{"api killed", (*scenario).apiKilled},
		{"api killed after accept", (*scenario).apiKilledAfterAccept},
		{"redis killed", (*scenario).redisKilled},
		{"deaf", (*scenario).deaf},
		{"master paused", (*scenario).masterPaused},
	}
	for backend, start := range fleetStores {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, start(t), fleetOptions{trackers: fleetGroup * len(scenarios)})
			for i, s := range scenarios {
				t.Run(s.name, func(t *testing.T) {
					f.lend(t)
					s.run(&scenario{t: t, f: f, ids: trackerIDs(fleetGroup*i+1, fleetGroup)})
					f.alive()
				})
			}
		})
	}
}

// delivery sends to every device and has every driver answer, on a fleet that nothing happens to.
func (s *scenario) delivery() {
	t, f, ids := s.t, s.f, s.ids
	const texts = 20
	l := newLedger(t, f.api.Client(), 0)
	delivered, missed := f.sum("trackchat_delivery_seconds_count"),
		f.sum("trackchat_wake_missed_total")
	l.play(ids, f.door)
	for _, g := range f.gateways {
		if n := g.Metric("trackchat_sessions"); n == 0 {
			t.Errorf("no device is connected to %v", g.Ports)
		}
	}
	var drivers sync.WaitGroup
	for _, id := range ids {
		drivers.Go(func() {
			text := "driver " + strconv.Itoa(id)
			if err := l.devices[id].Say(t.Context(), text); err != nil {
				t.Errorf("tracker %d: %v", id, err)
			}
			l.with(func() { l.said[id][text] = true })
		})
	}
	for n := range texts {
		for _, id := range ids {
			l.send(id, "text "+strconv.Itoa(n))
		}
	}
	drivers.Wait()
	l.stop = func() {}
	l.finish()
	if n := l.count(); n != texts*len(ids) {
		t.Errorf("%d texts accepted of %d: %v", n, texts*len(ids), l.refused)
	}
	apptest.Eventually(t, "counted",
		func() bool {
			return f.sum("trackchat_delivery_seconds_count")-delivered >= float64(
				l.count())
		})
	if n := f.sum("trackchat_delivery_seconds_count") - delivered; n != float64(l.count()) {
		t.Errorf("%v deliveries of %d messages", n, l.count())
	}
	if n := f.sum("trackchat_wake_missed_total") - missed; n != 0 {
		t.Errorf("%v wakes were missed, without a fault", n)
	}
}

// sessionMoves logs one tracker in to one gateway, then to the other.
func (s *scenario) sessionMoves() {
	t, f, ids := s.t, s.f, s.ids
	for _, id := range ids[:2] { // one of each protocol
		here, there := f.gateways[id%2], f.gateways[1-id%2]
		in := func(st trackersim.Stats) bool { return st.LoggedIn }
		var mu sync.Mutex
		var old, current []string
		shown := func(into *[]string) func(*trackersim.Options) {
			return func(o *trackersim.Options) {
				o.Reconnect = false
				o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
					mu.Lock()
					defer mu.Unlock()
					*into = append(*into, e.Body)
					return trackersim.Action{}
				}
			}
		}
		first := apptest.PlayDevice(t, here.Ports[apptest.ProtocolOf(id)], id, shown(&old))
		apptest.Must(t, first.Await(t.Context(), in))
		f.api.Client().Delivered(id, f.api.Client().Send(id, "one"))
		moved := here.Metric("trackchat_closed_total", `reason="moved"`)
		second := apptest.PlayDevice(t, there.Ports[apptest.ProtocolOf(id)], id, shown(&current))
		apptest.Must(t, second.Await(t.Context(), in))
		apptest.Must(t, first.Await(t.Context(),
			func(st trackersim.Stats) bool { return st.Disconnects == 1 }))
		apptest.Eventually(t, "moved", func() bool {
			return here.Metric("trackchat_closed_total",
				`reason="moved"`) == moved+1
		})
		f.api.Client().Delivered(id, f.api.Client().Send(id, "two"))
		if st := second.Stats(); st.Disconnects != 0 {
			t.Errorf("the new connection ended: %+v", st)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(old, ",") + ";" + strings.Join(current, ","); got != "one;two" {
			t.Errorf("shown before and after the move: %q", got)
		}
	}
}

// gatewayKilled kills a gateway under load; it comes back later.
func (s *scenario) gatewayKilled() {
	t, f, ids := s.t, s.f, s.ids
	l := newLedger(t, f.api.Client(), fleetPace)
	l.load(ids, f.door)
	l.progress()
	if f.gateways[0].Metric("trackchat_sessions") == 0 {
		t.Fatal("no device is connected to the gateway that is to be killed")
	}
	f.gateways[0].Kill()
	l.progress()
	if n := f.gateways[1].Metric("trackchat_sessions"); n != float64(len(ids)) {
		t.Errorf("%v of %d devices are connected to the other gateway", n, len(ids))
	}
	f.gateways[0].Start()
	l.progress()
	l.finish()
}

// gatewayKilledWithinAText kills the gateway that delivers a text of many parts: the other one goes
// on where the device's acks ended.
func (s *scenario) gatewayKilledWithinAText() {
	t, f, ids := s.t, s.f, s.ids
	for _, id := range ids[:2] {
		var b strings.Builder
		for n := range 2000 {
			b.WriteString(strconv.Itoa(n) + " ")
		}
		text := b.String()
		var mu sync.Mutex
		var parts []string
		enough := make(chan struct{})
		device := apptest.PlayDevice(t, f.door(id), id, func(o *trackersim.Options) {
			o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
				mu.Lock()
				defer mu.Unlock()
				if parts = append(parts, e.Body); len(parts) == 4 {
					close(enough)
				}
				return trackersim.Action{Delay: 20 * time.Millisecond}
			}
		})
		apptest.Must(t, device.Await(t.Context(),
			func(st trackersim.Stats) bool { return st.LoggedIn }))
		victim := f.gateways[0]
		if victim.Metric("trackchat_sessions") == 0 {
			victim = f.gateways[1]
		}
		sent := f.api.Client().Send(id, text)
		<-enough
		victim.Kill()
		f.api.Client().Delivered(id, sent)
		mu.Lock()
		defer mu.Unlock()
		end := 0 // of what was shown so far
		for i, part := range parts {
			at := strings.Index(text, part)
			if at < 0 || at > end {
				t.Fatalf("tracker %d: part %d shown begins at %d, %d is next", id, i, at, end)
			}
			end = max(end, at+len(part))
		}
		if end != len(text) {
			t.Errorf("tracker %d: %d bytes shown of %d", id, end, len(text))
		}
		if st := device.Stats(); st.Logins != 2 {
			t.Errorf("tracker %d did not meet the kill: %+v", id, st)
		}
		t.Logf("tracker %d: %d parts shown, repetitions included", id, len(parts))
		victim.Start()
	}
}

// apiKilled kills the API under load.
func (s *scenario) apiKilled() {
	t, f, ids := s.t, s.f, s.ids
	l := newLedger(t, f.api.Client(), fleetPace)
	l.load(ids, f.door)
	l.progress()
	still := l.connected()
	f.api.Kill()
	f.api.Start()
	l.progress()
	still()
	l.finish()
}

// apiKilledAfterAccept kills the API right after its answers: the gateways deliver what it said yes
// to.
func (s *scenario) apiKilledAfterAccept() {
	t, f, ids := s.t, s.f, s.ids
	l := newLedger(t, f.api.Client(), 0)
	l.play(ids, f.door)
	var senders sync.WaitGroup
	for _, id := range ids {
		senders.Go(func() { l.send(id, "last words") })
	}
	senders.Wait()
	f.api.Kill()
	if n := l.count(); n != len(ids) {
		t.Fatalf("%d texts accepted of %d: %v", n, len(ids), l.refused)
	}
	for _, id := range ids {
		l.await(id, "getting its text", func(st trackersim.Stats) bool { return st.Acked > 0 })
	}
	f.api.Start()
	l.stop = func() {}
	l.finish()
}

// redisKilled kills every Redis under load. Meanwhile the API says no in time, and the devices keep
// their connections.
func (s *scenario) redisKilled() {
	t, f, ids := s.t, s.f, s.ids
	l := newLedger(t, f.api.Client(), fleetPace)
	l.load(ids, f.door)
	l.progress()
	still := l.connected()
	for _, r := range f.redis {
		r.Kill(t)
	}
	f.outage(ids[0])
	for _, r := range f.redis {
		r.Start(t)
	}
	l.progress()
	still()
	l.finish()
	l.checkAnswers()
}

// deaf cuts the subscriptions of the gateways again and again for five seconds under load.
func (s *scenario) deaf() {
	t, f, ids := s.t, s.f, s.ids
	l := newLedger(t, f.api.Client(), fleetPace)
	l.load(ids, f.door)
	l.progress()
	still, resyncs, cut := l.connected(), f.sum("trackchat_resyncs_total"), 0
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); <-again.C {
		for _, r := range f.redis {
			n, err := strconv.Atoi(r.Must(t, "CLIENT", "KILL", "TYPE", "pubsub"))
			apptest.Must(t, err)
			cut += n
		}
	}
	if cut < 2*len(f.redis) {
		t.Errorf("%d subscriptions were cut", cut)
	}
	l.progress()
	still()
	l.finish()
	apptest.Eventually(t, "looked after", func() bool { return f.sum("trackchat_resyncs_total") > resyncs })
	if n := len(l.refused); n != 0 {
		t.Errorf("the API refused texts: %v", l.refused)
	}
}

// masterPaused stops one Redis process for longer than a cluster waits for a node, and lets it go
// on.
func (s *scenario) masterPaused() {
	t, f, ids := s.t, s.f, s.ids
	l := newLedger(t, f.api.Client(), fleetPace)
	l.load(ids, f.door)
	l.progress()
	still := l.connected()
	paused := f.redis[len(f.redis)/2]
	paused.Pause(t)
	refusing := func() bool {
		refused := 0
		l.with(func() { refused = l.refused[8] })
		return refused >= len(ids)
	}
	apptest.Eventually(t, "refusing", refusing)
	pause(t.Context(), 5*time.Second)
	paused.Resume(t)
	l.progress()
	still()
	l.finish()
	l.checkAnswers()
}

// checkAnswers holds what the API said while the store was away to its contract.
func (l *ledger) checkAnswers() {
	l.t.Helper()
	if l.refused[8] == 0 {
		l.t.Error("the API refused nothing: there was no fault")
	}
	for code, n := range l.refused {
		if code != 8 {
			l.t.Errorf("%d texts were refused with code %d", n, code)
		}
	}
	l.t.Logf("%d accepted, refused by code %v, slowest answer %v", l.count(), l.refused,
		l.slowest.Round(time.Millisecond))
	if l.slowest > answerWithin(l.t) {
		l.t.Errorf("an answer took %v", l.slowest)
	}
}
