package gateway_test

import (
	"strings"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

// passes lets the time pass until a metric has reached a value.
func (r *rig) passes(metric string, want float64) {
	r.t.Helper()
	eventually(r.t, func() bool {
		if r.metric(metric) >= want {
			return true
		}
		r.clock.advance(time.Second)
		return false
	}, func() string { return metric + " is too small" })
}

// tried waits until a message of tracker 1 was tried that often.
func (r *rig) tried(id int64, want int) queue.Message {
	r.t.Helper()
	var m queue.Message
	eventually(r.t, func() bool { m = r.message(id, 1); return m.Tries == want }, func() string {
		return string(appendInt([]byte("tried "), int64(m.Tries)))
	})
	return m
}

// TestTriesAreToldOfADeviceThatNeverAcknowledges: each time that a text was written and no ack came
// counts, whether the time ran out or the device hung up; the ack still delivers it.
func TestTriesAreToldOfADeviceThatNeverAcknowledges(t *testing.T) {
	for name, tr := range map[string]queue.Tracker{"jt808": jt(1), "wialon": wl(1, nil)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{tr}, withAcks(10*time.Second, 20*time.Second),
				func(o *gateway.Options) {
					o.RetryIdle = time.Minute
				})
			id := r.send(1, "hello?")[0]
			before := r.clock.now().UnixMilli()
			d := r.login(name, tr.DeviceID)
			d.text()
			after := r.clock.now().UnixMilli()
			if m := r.message(id, 1); m.Tries != 0 || m.TriedMs != 0 {
				t.Errorf("while its ack is awaited: %+v", m)
			}
			r.passes("texts_timed_out_total", 1)
			first := r.tried(id, 1)
			if first.Status != queue.StatusPending || first.TriedMs < before ||
				first.TriedMs > after {
				t.Errorf("written from %d to %d: %+v", before, after, first)
			}
			if name == "jt808" {
				d.text()
				r.passes("texts_timed_out_total", 2)
				r.tried(id, 2)
				r.passes("texts_sent_total", 3) // after a rest
			} else {
				d.gone()
				d = r.login(name, tr.DeviceID)
				d.text()
				must(t, d.nc.Close())
				r.tried(id, 2)
				d = r.login(name, tr.DeviceID)
			}
			d.text()
			if name == "jt808" {
				must(t, d.nc.Close())
			} else {
				r.login(name, tr.DeviceID) // takes over
			}
			if m := r.tried(id, 3); m.TriedMs != first.TriedMs {
				t.Errorf("first written at %d, now at %d", first.TriedMs, m.TriedMs)
			}
			d = r.login(name, tr.DeviceID)
			d.ack(d.text(), protocol.AckDelivered)
			if m := r.become(id, 1, queue.StatusDelivered); m.Tries != 0 || m.TriedMs != 0 {
				t.Errorf("delivered: %+v", m)
			}
		})
	}
}

// TestTriesBeginAnewWithEachPart: a device that acknowledges a part has answered.
func TestTriesBeginAnewWithEachPart(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, withAcks(10*time.Second, 20*time.Second))
	id := r.send(1, strings.Repeat("long ", 250))[0]
	d := r.login("jt808", phone(1))
	first := d.text()
	r.passes("texts_timed_out_total", 1)
	r.tried(id, 1)
	if again := d.text(); again.Ref != first.Ref {
		t.Fatal("another part")
	}
	d.ack(first, protocol.AckDelivered)
	if second := d.text(); second.Ref == first.Ref {
		t.Fatal("the same part")
	}
	if m := r.tried(id, 0); m.Acked != 1 || m.TriedMs != 0 {
		t.Errorf("%+v", m)
	}
	r.passes("texts_timed_out_total", 2)
	if m := r.tried(id, 1); m.Acked != 1 || m.TriedMs == 0 {
		t.Errorf("%+v", m)
	}
}

// TestTextAcknowledgedAtOnceCostsNoNote: nothing is stored of it but the ack.
func TestTextAcknowledgedAtOnceCostsNoNote(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	id := r.send(1, "hello?")[0]
	d := r.login("jt808", phone(1))
	d.ack(d.text(), protocol.AckDelivered)
	if m := r.become(id, 1, queue.StatusDelivered); m.Parts != 0 {
		t.Errorf("progress was noted: %+v", m)
	}
}
