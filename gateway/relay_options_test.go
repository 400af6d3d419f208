package gateway_test

import (
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/standin"
	"trackchat/protocol"
	"trackchat/queue"
)

// TestRelayAcks sees the tracking server get the acks of our texts where it is to have them.
func TestRelayAcks(t *testing.T) {
	for _, pass := range []bool{false, true} {
		r := newRig(t, []queue.Tracker{jt(1)})
		s := r.stand("jt808", gateway.Upstream{PassAcks: pass}, standin.Options{})
		d := r.login("jt808", phone(1))
		id := r.send(1, "hello")[0]
		d.ack(d.text(), protocol.AckDelivered)
		r.become(id, 1, queue.StatusDelivered)
		d.silent(protocol.DeviceText) // the server has seen what came before
		if n := s.Figures().Strays; (n > 0) != pass {
			t.Errorf("acks pass: %v, and the server has seen %d of them", pass, n)
		}
	}
}

// TestRelayOnlyChat sees drivers' texts stay away from the tracking server where that is wanted,
// but only those of devices that have a chat here.
func TestRelayOnlyChat(t *testing.T) {
	for _, proto := range []string{"wialon", "jt808"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			tracker := relayTracker(proto)
			r := newRig(t, []queue.Tracker{tracker})
			s := r.stand(proto, gateway.Upstream{OnlyChat: true}, standin.Options{})
			stranger := r.login(proto, phone(9))
			stranger.say("of a stranger")
			stranger.wait(protocol.DeviceTextAck)
			r.sees(s, "the stranger's text", func() bool { return s.Figures().Texts == 1 })
			d := r.login(proto, tracker.DeviceID)
			r.bound(1)
			d.say("for the dispatcher")
			d.wait(protocol.DeviceTextAck)
			if got := r.list(1); len(got) != 1 || got[0].Text != "for the dispatcher" {
				t.Errorf("stored: %+v", got)
			}
			d.silent(protocol.DeviceTextAck)
			if n := s.Figures().Texts; n != 1 {
				t.Errorf("the server has %d texts of drivers", n)
			}
		})
	}
}

// TestRelayTurns sees our text wait for the answer to the tracking server's, and the server's for
// ours, where the device has one at a time.
func TestRelayTurns(t *testing.T) {
	for _, proto := range []string{"wialon", "watch"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			tracker := relayTracker(proto)
			r := newRig(t, []queue.Tracker{tracker})
			s := r.stand(proto, gateway.Upstream{}, standin.Options{})
			d := r.login(proto, tracker.DeviceID)
			r.bound(1)
			theirs := func(text string) {
				t.Helper()
				_, err := s.Text(tracker.DeviceID, text)
				must(t, err)
			}
			theirs("theirs first")
			first := d.text()
			id := r.send(1, "ours then")[0]
			d.silent(protocol.DeviceText)
			d.ack(first, protocol.AckDelivered)
			then := d.text()
			if first.Body != "theirs first" || then.Body != "ours then" {
				t.Fatalf("the device got %q, %q", first.Body, then.Body)
			}
			theirs("theirs last")
			d.silent(protocol.DeviceText)
			if m := r.message(id, 1); m.Status != queue.StatusPending {
				t.Fatalf("status %q by the ack of another text", m.Status)
			}
			d.ack(then, protocol.AckDelivered)
			r.become(id, 1, queue.StatusDelivered)
			last := d.text()
			if last.Body != "theirs last" {
				t.Fatalf("the device got %q", last.Body)
			}
			d.ack(last, protocol.AckDelivered)
			r.sees(s, "the acks of its texts", func() bool { return s.Figures().Delivered == 2 })
			if f := s.Figures(); f.Strays != 0 {
				t.Errorf("the server has seen acks of ours: %+v", f)
			}
			if n := r.metric("relay_turn_wait_seconds"); n == 0 {
				t.Error("no wait is counted")
			}
		})
	}
}

// TestRelayTurnIsBounded sees a text of the tracking server that is never acknowledged keep ours
// back for half a minute; then the connection ends, because the next ack could be either's.
func TestRelayTurnIsBounded(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil)})
	s := r.stand("wialon", gateway.Upstream{}, standin.Options{})
	d := r.login("wialon", phone(1))
	r.bound(1)
	_, err := s.Text(phone(1), "never acknowledged")
	must(t, err)
	d.text()
	id := r.send(1, "ours")[0]
	d.silent(protocol.DeviceText)
	r.clock.advance(protocol.RelayWait + time.Second)
	d.gone()
	d = r.login("wialon", phone(1))
	text := d.text()
	if text.Body != "ours" {
		t.Fatalf("the device got %q", text.Body)
	}
	d.ack(text, protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}
