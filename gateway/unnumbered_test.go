package gateway_test

import (
	"testing"

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
	_, err := r.store.End(t.Context(), []queue.EndReq{{Tracker: 1, ID: ids[0], Status: queue.StatusCancelled}})
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
