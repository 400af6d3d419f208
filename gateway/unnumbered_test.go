package gateway_test

import (
	"strings"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

// An ack without a number can only mean a text that was written before the ack came.
func TestSecondAckInOneReadIsNotForTheNextText(t *testing.T) {
	for policy, word := range map[string]string{"am": "#AM#1\r\n", "next_frame": "#P#\r\n"} {
		t.Run(policy, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{wl(1, map[string]string{"ack": policy})})
			ids := r.send(1, "one", "two")
			d := r.login("wialon", phone(1))
			d.text()
			d.write([]byte(word + word))
			if e := d.text(); e.Body != "two" {
				t.Fatalf("got %q", e.Body)
			}
			r.become(ids[0], 1, queue.StatusDelivered)
			must(t, r.gw.Quiesce(t.Context())) // whatever was acknowledged is stored now
			if m := r.message(ids[1], 1); m.Status != queue.StatusPending {
				t.Fatalf("acknowledged before it was written: %+v", m)
			}
			d.write([]byte(word))
			r.become(ids[1], 1, queue.StatusDelivered)
		})
	}
}

func TestCancelledTextInFlightKeepsItsAckFromTheNextOne(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, map[string]string{"part_bytes": "16"}), jt(bystander)})
	ids := r.send(1, "withdrawn, and in several parts", "two")
	d, other := r.login("wialon", phone(1)), r.login("jt808", phone(bystander))
	d.text()
	_, err := r.store.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: ids[0],
		Status: queue.StatusCancelled,
	}})
	must(t, err)
	r.caughtUp(d, other)
	d.write([]byte("#AM#1\r\n")) // for the part that was in flight
	if e := d.text(); e.Body != "two" {
		t.Fatalf("got %q", e.Body)
	}
	must(t, r.gw.Quiesce(t.Context()))
	if m := r.message(ids[1], 1); m.Status != queue.StatusPending {
		t.Fatalf("delivered by the ack for another text: %+v", m)
	}
	d.write([]byte("#AM#1\r\n"))
	r.become(ids[1], 1, queue.StatusDelivered)
	if m := r.message(ids[0], 1); m.Status != queue.StatusCancelled {
		t.Errorf("%+v", m)
	}
}

// A device that hangs up after its data does not get one text for ever, and what waits behind it
// moves.
func TestShortConnectionsCount(t *testing.T) {
	login := trial(t, "west.jsonl", "west-F13")[0]
	unit := queue.Tracker{ID: 1, Protocol: "wialon", DeviceID: "352093081490005"}
	terminal := queue.Tracker{ID: 2, Protocol: "teltonika", DeviceID: "356307042441013"}
	terminal.Settings = map[string]string{"chat": "serial", "ack_pattern": "^OK$"}
	hello := append([]byte{0, 15}, terminal.DeviceID...)
	for name, c := range map[string]struct {
		tracker queue.Tracker
		login   []byte
		answer  string
	}{
		"wialon":               {unit, append(login, "\r\n"...), "#AL#1"},
		"teltonika, bare acks": {terminal, hello, "\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{c.tracker})
			ids := r.send(c.tracker.ID, "Show me", "Next")
			for i := range 5 {
				d := r.pipe(c.tracker.Protocol)
				d.write(c.login)
				d.until(c.answer)
				r.clock.advance(4 * time.Second) // a tracker may send positions first
				d.until("Show me")
				must(t, d.nc.Close())
				r.counted("closed_total", float64(i+1))
			}
			d := r.pipe(c.tracker.Protocol)
			d.write(c.login)
			d.until(c.answer)
			r.clock.advance(4 * time.Second)
			if got := d.until("Next"); strings.Contains(got, "Show me") {
				t.Errorf("written on a sixth connection: %q", got)
			}
			m := r.become(ids[0], c.tracker.ID, queue.StatusFailed)
			if m.Reason != queue.ReasonNotConfirmed {
				t.Errorf("reason %v", m.Reason)
			}
		})
	}
}

// Nor does one that says each time that it cannot take the text now, and hangs up before it is
// asked again.
func TestDeviceThatFailsAndHangsUp(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, func(o *gateway.Options) { o.MaxAttempts = 3 })
	ids := r.send(1, "Show me", "Next")
	for i := range 3 {
		d := r.login("jt808", phone(1))
		e := d.text()
		if e.Body != "Show me" {
			t.Fatalf("got %q on connection %d", e.Body, i+1)
		}
		d.ack(e, protocol.AckFailed)
		d.silent(protocol.DeviceText)
		must(t, d.nc.Close())
		r.counted("closed_total", float64(i+1))
	}
	if m := r.become(ids[0], 1, queue.StatusFailed); m.Reason != queue.ReasonRefused {
		t.Errorf("reason %v", m.Reason)
	}
	d := r.login("jt808", phone(1))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(ids[1], 1, queue.StatusDelivered)

	// One that answers with nothing at all may be out of reach: it gets its text whenever it comes.
	id := r.send(1, "in the tunnel")[0]
	for i := range 4 {
		if d.text(); i == 3 {
			break
		}
		must(t, d.nc.Close())
		r.counted("closed_total", float64(i+4))
		d = r.login("jt808", phone(1))
	}
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Errorf("%+v", m)
	}
}

// A connection that a newer one takes over counts as one that ended; one that this side shuts down
// does not.
func TestWhatEndsAConnectionOfAnUnconfirmedText(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)}, func(o *gateway.Options) { o.MaxAttempts = 2 })
	ids := r.send(1, "Show me", "Next")
	old := r.login("wialon", phone(1))
	old.text()
	second := r.login("wialon", phone(1))
	old.gone()
	if e := second.text(); e.Body != "Show me" {
		t.Fatalf("got %q", e.Body)
	}
	third := r.login("wialon", phone(1))
	e := third.text()
	if e.Body == "Show me" { // the second one had not ended yet when the store was asked
		third.ack(e, protocol.AckDelivered)
		e = third.text()
	}
	third.ack(e, protocol.AckDelivered)
	r.become(ids[1], 1, queue.StatusDelivered)
	if m := r.message(ids[0], 1); m.Status == queue.StatusPending {
		t.Errorf("%+v", m)
	}

	r = newRig(t, []queue.Tracker{wl(1, nil)}, func(o *gateway.Options) { o.MaxAttempts = 1 })
	id := r.send(1, "in flight")[0]
	d := r.login("wialon", phone(1))
	d.text()
	must(t, r.gw.Drain(t.Context(), 1000))
	d.gone()
	must(t, r.gw.Close(t.Context()))
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Errorf("%+v", m)
	}
}

// later lets time pass, until what a device says now is noted as said then.
func (r *rig) later(d time.Duration) {
	r.t.Helper()
	r.clock.advance(d)
	now := r.clock.now().Unix()
	eventually(r.t, func() bool { return r.gw.Seconds() >= now },
		func() string { return "earlier" })
}

// A device that is heard of all the time keeps its connection, gets a text once, and may
// acknowledge it late.
func TestHealthyDeviceIsNotClosedForAnAckThatIsMissing(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)}, withAcks(20*time.Second, 40*time.Second),
		func(o *gateway.Options) { o.MaxAttempts = 3 })
	d := r.login("wialon", phone(1))
	outlast := func(rounds float64) {
		t.Helper()
		r.later(45 * time.Second)
		d.silent(protocol.DeviceText)
		r.clock.advance(16 * time.Second)
		r.counted("texts_timed_out_total", rounds)
		d.silent(protocol.DeviceText)
	}
	id := r.send(1, "read late")[0]
	d.text()
	outlast(1)
	outlast(2)
	d.write([]byte("#AM#1\r\n"))
	r.become(id, 1, queue.StatusDelivered)

	ids := r.send(1, "never acknowledged")
	d.text()
	for n := range 3 {
		outlast(float64(3 + n))
	}
	if m := r.become(ids[0], 1, queue.StatusFailed); m.Reason != queue.ReasonNotConfirmed {
		t.Errorf("reason %v", m.Reason)
	}
	d.silent(protocol.DeviceText)
	ids = append(ids, r.send(1, "next")...)
	d.gone() // else its ack could not be told from one for the text before it
	d = r.login("wialon", phone(1))
	if e := d.text(); e.Body != "next" {
		t.Fatalf("got %q", e.Body)
	}
	d.write([]byte("#AM#1\r\n"))
	r.become(ids[1], 1, queue.StatusDelivered)
	r.become(ids[0], 1, queue.StatusFailed)
}

// What was withdrawn waits on a healthy device's connection only while nothing else is to be
// written.
func TestHealthyDeviceAndAWithdrawnText(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)}, withAcks(time.Minute))
	d := r.login("wialon", phone(1))
	id := r.send(1, "withdrawn")[0]
	d.text()
	cancel := []queue.EndReq{{Tracker: 1, ID: id, Status: queue.StatusCancelled}}
	_, err := r.store.End(t.Context(), cancel)
	must(t, err)
	r.later(45 * time.Second)
	d.silent(protocol.DeviceText)
	r.clock.advance(16 * time.Second)
	r.counted("texts_timed_out_total", 1)
	d.silent(protocol.DeviceText)
	next := r.send(1, "next")[0]
	d.gone()
	d = r.login("wialon", phone(1))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(next, 1, queue.StatusDelivered)
}
