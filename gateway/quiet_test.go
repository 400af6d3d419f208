package gateway_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// unnumbered are devices whose acks name nothing.
func unnumbered() map[string]queue.Tracker {
	line := map[string]string{"chat": "serial", "ack_pattern": "^OK$"}
	return map[string]queue.Tracker{
		"wialon":    wl(1, nil),
		"teltonika": {ID: 1, Protocol: "teltonika", DeviceID: phone(1), Settings: line},
		"watch":     {ID: 1, Protocol: "watch", DeviceID: phone(1)},
	}
}

// enter logs in a device that has its tracker's settings.
func (r *rig) enter(tr queue.Tracker) *device {
	r.t.Helper()
	p, _ := all.Find(tr.Protocol)
	settings, err := p.NewSettings(tr.Settings)
	must(r.t, err)
	return r.login(tr.Protocol, tr.DeviceID, func(c *protocol.DeviceConfig) {
		c.Settings = settings
	})
}

// leave ends the connection, and waits until the gateway has noticed.
func (r *rig) leave(d *device) {
	r.t.Helper()
	must(r.t, d.nc.Close())
	gone := func() bool { return r.gw.Sessions() == 0 }
	eventually(r.t, gone, func() string { return "still there" })
}

// strayAck has the device acknowledge once more: that counts for nobody, nothing is written for 5
// s, and then the next text has an ack of its own.
func (r *rig) strayAck(d *device, e protocol.DeviceEvent, next int64) {
	r.t.Helper()
	was := r.metric("late_acks_total", "result=ignored")
	d.ack(e, protocol.AckDelivered)
	ignored := func() bool { return r.metric("late_acks_total", "result=ignored") == was+1 }
	eventually(r.t, ignored, func() string { return "counted for somebody" })
	r.read(d)
	d.write(d.side.AppendHeartbeat(nil)) // a watch has no answer to its position
	for answered := false; !answered; {
		for _, seen := range d.seen {
			if answered = seen.Kind == protocol.DeviceOther; seen.Kind == protocol.DeviceText {
				r.t.Fatalf("written while a stray ack may come: %+v", seen)
			}
		}
		if d.seen = nil; !answered {
			must(r.t, d.read(patience))
		}
	}
	if m := r.message(next, 1); m.Status != queue.StatusPending {
		r.t.Fatalf("an ack for another text made it %+v", m)
	}
	r.clock.advance(5 * time.Second)
	e = d.text()
	if e.Body != "two" {
		r.t.Fatalf("got %q", e.Body)
	}
	d.ack(e, protocol.AckDelivered)
	r.become(next, 1, queue.StatusDelivered)
}

func TestAckOfACopyOnAnEarlierConnection(t *testing.T) {
	for name, tr := range unnumbered() {
		for _, again := range []bool{false, true} {
			// ending the connection while the ack is waited for changes nothing
			t.Run(fmt.Sprint(name, again), func(t *testing.T) {
				r := newRig(t, []queue.Tracker{tr})
				ids := r.send(1, "one", "two")
				d := r.enter(tr)
				d.text()
				r.leave(d)
				d = r.enter(tr)
				e := d.text()
				d.ack(e, protocol.AckDelivered)
				r.become(ids[0], 1, queue.StatusDelivered)
				if again {
					r.leave(d)
					d = r.enter(tr)
				}
				r.strayAck(d, e, ids[1])
			})
		}
	}
}

// The quiet goes on over the next connection and does not begin anew with it, or a device with
// short ones would get nothing more.
func TestQuietIsOverWhateverTheConnections(t *testing.T) {
	for name, tr := range unnumbered() {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			var ahead atomic.Int64
			still := func(o *gateway.Options) {
				o.Now = func() time.Time { return begin.Add(time.Duration(ahead.Load())) }
			}
			r := newRig(t, []queue.Tracker{tr}, still)
			ids := r.send(1, "one", "two")
			enter := func() *device {
				t.Helper()
				d := r.enter(tr)
				r.read(d)
				return d
			}
			d := r.enter(tr)
			d.text()
			r.leave(d)
			d = r.enter(tr)
			d.ack(d.text(), protocol.AckDelivered)
			r.become(ids[0], 1, queue.StatusDelivered)
			for range 4 {
				r.leave(d)
				ahead.Add(int64(time.Second))
				d = enter()
			}
			ahead.Add(int64(time.Second + 100*time.Millisecond)) // two ticks past its end
			if e := d.text(); e.Body != "two" {
				t.Errorf("got %q", e.Body)
			}
		})
	}
}

func TestAckOfATextThatWasGivenUp(t *testing.T) {
	for name, tr := range unnumbered() {
		t.Run(name, func(t *testing.T) {
			once := func(o *gateway.Options) { o.MaxAttempts = 1 }
			r := newRig(t, []queue.Tracker{tr}, withAcks(10*time.Second, 50*time.Second), once)
			ids := r.send(1, "one", "two")
			d := r.enter(tr)
			e := d.text()
			r.clock.advance(time.Minute)
			d.gone()
			r.become(ids[0], 1, queue.StatusFailed)
			r.strayAck(r.enter(tr), e, ids[1])
		})
	}
}

func TestAckOfATextThatWasCancelledOnItsWay(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	ids := r.send(1, "one", "two")
	d := r.enter(wl(1, nil))
	e := d.text()
	cancel := queue.EndReq{Tracker: 1, ID: ids[0], Status: queue.StatusCancelled}
	_, err := r.store.End(t.Context(), []queue.EndReq{cancel})
	must(t, err)
	r.leave(d)
	r.strayAck(r.enter(wl(1, nil)), e, ids[1])
}

// A damaged text is written again at once; its copies may each be acknowledged.
func TestAcksOfADamagedText(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	ids := r.send(1, "one", "two")
	d := r.enter(wl(1, nil))
	d.ack(d.text(), protocol.AckDamaged)
	e := d.text()
	d.ack(e, protocol.AckDelivered)
	r.become(ids[0], 1, queue.StatusDelivered)
	r.strayAck(d, e, ids[1])
}

// A text that was written once and acknowledged once holds nothing up: the clock stands still.
func TestOneAckForOneTextHoldsNothingUp(t *testing.T) {
	at := time.Now()
	still := func(o *gateway.Options) { o.Now = func() time.Time { return at } }
	r := newRig(t, []queue.Tracker{wl(1, nil)}, still)
	r.send(1, "one", "two", "three")
	d := r.enter(wl(1, nil))
	for _, want := range []string{"one", "two", "three"} {
		e := d.text()
		if e.Body != want {
			t.Fatalf("got %q", e.Body)
		}
		d.ack(e, protocol.AckDelivered)
	}
}
