package trackersim_test

import (
	"slices"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/wialon"
	"trackchat/queue"
)

// recorder keeps the events of a tracker.
type recorder struct{ events chan trackersim.Event }

func newRecorder() *recorder { return &recorder{make(chan trackersim.Event, 1024)} }

func (r *recorder) add(e trackersim.Event) { r.events <- e }

// next waits for an event of a kind and drops those before it.
func (r *recorder) next(t *testing.T, kind trackersim.EventKind) trackersim.Event {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var last trackersim.Event
	for {
		select {
		case e := <-r.events:
			if e.Kind == kind {
				return e
			}
			last = e
		case <-deadline.C:
			t.Fatalf("no event %q, the last one was %+v", kind, last)
		}
	}
}

func TestEveryVariantLogsInAndAcknowledges(t *testing.T) {
	for _, v := range those(func(v variant) bool { return v.confirms() && !v.auto }) {
		t.Run(v.name, func(t *testing.T) {
			d, r := v.desk(t), newRecorder()
			tr, stop := run(t, trackersim.Options{
				Protocol: v.p, Gateway: d.addr(),
				Device: v.device(t, "138123456"), OnEvent: r.add,
			})
			if e := r.next(t, trackersim.LoggedIn); e.DeviceID != "138123456" || e.Took <= 0 ||
				e.At.IsZero() {
				t.Errorf("logged in with %+v", e)
			}
			for size := range 3 { // whole, byte by byte, two bytes at a time
				d.send(uint64(40+size), "turn left", size)
				if e := r.next(t, trackersim.TextReceived); e.Text.Body != "turn left" ||
					e.Repeated {
					t.Errorf("received %+v", e)
				}
				if e := r.next(t, trackersim.TextAcked); e.Outcome != protocol.AckDelivered ||
					e.Took <= 0 {
					t.Errorf("acknowledged %+v", e)
				}
			}
			acks := d.verdicts(3)
			for i, a := range acks {
				if a.Outcome != protocol.AckDelivered && v.done != queue.StatusOpened ||
					(a.Ref != uint64(40+i) && a.Ref != 0) {
					t.Errorf("ack %d is %+v", i, a.Event)
				}
			}
			if err := stop(); err != nil {
				t.Errorf("Run ended with %v", err)
			}
			if s := tr.Stats(); s.LoggedIn || s.Logins != 1 || s.Received != 3 || s.Acked != 3 ||
				s.Disconnects != 1 {
				t.Errorf("stats %+v", s)
			}
			if e := r.next(t, trackersim.Disconnected); e.Err != nil {
				t.Errorf("the end is reported with %v", e.Err)
			}
		})
	}
}

func TestRepeatedReferenceIsReportedAndAcknowledgedAgain(t *testing.T) {
	d, r := newDesk(t, jt808.New()), newRecorder()
	tr, _ := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(),
		Device: protocol.DeviceConfig{ID: "1"}, OnEvent: r.add,
	})
	await(t, tr, "login", loggedIn)
	for _, part := range []struct {
		ref      uint64
		repeated bool
	}{{7, false}, {8, false}, {7, true}, {7, true}} {
		d.send(part.ref, "hello", 0)
		if e := r.next(t, trackersim.TextReceived); e.Repeated != part.repeated ||
			e.Text.Ref != part.ref {
			t.Errorf("part %+v is received as %+v", part, e)
		}
	}
	d.await(protocol.KindAck, 4)
	if s := tr.Stats(); s.Received != 4 || s.Repeated != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestActions(t *testing.T) {
	for _, tc := range []struct {
		name     string
		action   trackersim.Action
		outcomes []protocol.Outcome // of the acks, in order
		conns    int                // connections in the end
		answers  int                // texts of the driver
	}{
		{"default", trackersim.Action{}, []protocol.Outcome{protocol.AckDelivered}, 1, 0},
		{
			"refused",
			trackersim.Action{Outcome: protocol.AckUnsupported},
			[]protocol.Outcome{protocol.AckUnsupported},
			1, 0,
		},
		{
			"late",
			trackersim.Action{Delay: 20 * time.Millisecond},
			[]protocol.Outcome{protocol.AckDelivered},
			1, 0,
		},
		{"twice", trackersim.Action{Copies: 2}, []protocol.Outcome{
			protocol.AckDelivered,
			protocol.AckDelivered,
		}, 1, 0},
		{"never", trackersim.Action{Never: true, Reply: "no"}, nil, 1, 1},
		{
			"answered",
			trackersim.Action{Reply: "yes"},
			[]protocol.Outcome{protocol.AckDelivered},
			1,
			1,
		},
		{"dropped before", trackersim.Action{Drop: trackersim.DropBeforeAck}, nil, 2, 0},
		{"dropped late before", trackersim.Action{
			Drop:  trackersim.DropBeforeAck,
			Delay: 20 * time.Millisecond,
		}, nil, 2, 0},
		{
			"dropped after",
			trackersim.Action{Drop: trackersim.DropAfterAck},
			[]protocol.Outcome{protocol.AckDelivered},
			2, 0,
		},
		{
			"held over",
			trackersim.Action{Drop: trackersim.DropHoldingAck},
			[]protocol.Outcome{protocol.AckDelivered},
			2, 0,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, jt808.New())
			tr, _ := run(t, trackersim.Options{
				Protocol: d.p, Gateway: d.addr(), Device: protocol.DeviceConfig{ID: "1"},
				Reconnect: true, ReconnectMin: time.Millisecond,
				OnText: func(e protocol.DeviceEvent) trackersim.Action {
					if e.Body == "last" {
						return trackersim.Action{}
					}
					return tc.action
				},
			})
			await(t, tr, "login", loggedIn)
			d.send(500, "first", 0)
			await(t, tr, "verdict", func(s trackersim.Stats) bool { return s.Acked+s.Ignored == 1 })
			await(t, tr, "connections",
				func(s trackersim.Stats) bool { return s.Logins == tc.conns && s.LoggedIn })
			await(t, tr, "answers",
				func(s trackersim.Stats) bool { return s.SaidAcked == tc.answers })
			d.send(501, "last", 0) // its ack comes after everything else
			acks := d.await(protocol.KindAck, len(tc.outcomes)+1)
			outcomes := make([]protocol.Outcome, 0, len(acks))
			for _, a := range acks[:len(acks)-1] {
				if a.Ref != 500 {
					t.Errorf("ack of %d", a.Ref)
				}
				outcomes = append(outcomes, a.Outcome)
			}
			if !slices.Equal(outcomes, tc.outcomes) {
				t.Errorf("acks say %v, want %v", outcomes, tc.outcomes)
			}
			if last := acks[len(acks)-1]; last.Ref != 501 || last.conn != tc.conns-1 {
				t.Errorf("last ack is of %d over connection %d", last.Ref, last.conn)
			}
			if tc.name == "held over" && acks[0].conn != 1 {
				t.Errorf("the held ack came over connection %d", acks[0].conn)
			}
		})
	}
}

func TestDelayedAcksComeInTheOrderTheyAreDue(t *testing.T) {
	d := newDesk(t, jt808.New())
	delays := map[string]time.Duration{
		"a": 60 * time.Millisecond, "b": 20 * time.Millisecond,
		"c": 60 * time.Millisecond,
	}
	tr, _ := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(), Device: protocol.DeviceConfig{ID: "1"},
		OnText: func(e protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{
				Delay: delays[e.Body],
			}
		},
	})
	await(t, tr, "login", loggedIn)
	d.send(1, "a", 0)
	d.send(2, "b", 0)
	d.send(3, "c", 0)
	order := refsOf(d.await(protocol.KindAck, 3))
	if want := []uint64{2, 1, 3}; !slices.Equal(order, want) {
		t.Errorf("acks came as %v, want %v", order, want)
	}
}

func TestAckByHandOverAnyConnection(t *testing.T) {
	d, r := newDesk(t, wialon.New()), newRecorder()
	tr, _ := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(), Device: protocol.DeviceConfig{ID: "1"}, OnEvent: r.add,
		Reconnect: true, ReconnectMin: time.Millisecond,
		OnText: func(protocol.DeviceEvent) trackersim.Action {
			return trackersim.Action{
				Never: true,
			}
		},
	})
	await(t, tr, "login", loggedIn)
	d.send(0, "hello", 0)
	e := r.next(t, trackersim.TextReceived)
	if err := tr.Ack(e.Text, protocol.AckDamaged); err != nil {
		t.Fatal(err)
	}
	d.await(protocol.KindAck, 1)
	tr.Disconnect()
	if err := tr.Ack(e.Text, protocol.AckDelivered); err != nil {
		t.Fatal(err)
	}
	acks := d.await(protocol.KindAck, 2)
	if acks[0].Outcome != protocol.AckDamaged || acks[1].Outcome != protocol.AckDelivered ||
		acks[1].conn != 1 {
		t.Errorf("acks %+v", acks)
	}
}

func refsOf(acks []seen) []uint64 {
	refs := make([]uint64, 0, len(acks))
	for i := range acks {
		refs = append(refs, acks[i].Ref)
	}
	return refs
}

func TestNoAckIsDrawnFromTheSeed(t *testing.T) {
	const texts = 200
	draw := func(t *testing.T, seed uint64) []uint64 {
		t.Helper()
		d := newDesk(t, jt808.New())
		tr, _ := run(t, trackersim.Options{
			Protocol: d.p, Gateway: d.addr(),
			Device: protocol.DeviceConfig{ID: "1"}, NoAck: 0.3, Seed: seed,
		})
		await(t, tr, "login", loggedIn)
		for ref := range uint64(texts) {
			d.send(ref+1, "x", 0)
		}
		await(t, tr, "texts", func(s trackersim.Stats) bool { return s.Acked+s.Ignored == texts })
		if n := tr.Stats().Ignored; n < texts*15/100 || n > texts*45/100 {
			t.Errorf("%d of %d are not acknowledged, want about 30 %%", n, texts)
		}
		return refsOf(d.await(protocol.KindAck, tr.Stats().Acked))
	}
	first, again, other := draw(t, 1), draw(t, 1), draw(t, 2)
	if !slices.Equal(first, again) {
		t.Error("the same seed draws differently")
	}
	if slices.Equal(first, other) {
		t.Error("another seed draws the same")
	}
}
