package gateway_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

func TestOfflineTextReachesTheDeviceAfterItsLogin(t *testing.T) {
	for _, tr := range []queue.Tracker{jt(1), wl(2, nil)} {
		t.Run(tr.Protocol, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{tr})
			ids := r.send(tr.ID, "first", "second")
			d := r.login(tr.Protocol, tr.DeviceID)
			for i, want := range []string{"first", "second"} {
				e := d.text()
				if e.Body != want {
					t.Fatalf("got %q, want %q", e.Body, want)
				}
				d.silent(protocol.DeviceText) // the next one waits for the ack
				if m := r.message(ids[i], tr.ID); m.Status != queue.StatusPending ||
					m.UpdateMs != 0 {
					t.Fatalf("before the ack: %+v", m)
				}
				d.ack(e, protocol.AckDelivered)
				if m := r.become(ids[i], tr.ID, queue.StatusDelivered); m.UpdateMs < m.SubmitMs {
					t.Fatalf("update time %d before submit time %d", m.UpdateMs, m.SubmitMs)
				}
			}
			online := r.send(tr.ID, "third")
			d.ack(d.text(), protocol.AckDelivered)
			r.become(online[0], tr.ID, queue.StatusDelivered)
			if missed := r.metric("wake_missed_total"); missed != 0 {
				t.Errorf("%v wakes missed", missed)
			}
		})
	}
}

func TestWrongReferenceDeliversNothing(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	id := r.send(1, "text")[0]
	d := r.login("jt808", phone(1))
	e := d.text()
	wrong := e
	wrong.Ref++
	d.ack(wrong, protocol.AckDelivered)
	eventually(t, func() bool { return r.metric("late_acks_total", "result=none") == 1 },
		func() string { return "not counted" })
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Fatalf("delivered by an ack for something else: %+v", m)
	}
	d.ack(e, protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

func TestAckForAnotherTrackersTextIsIgnored(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), jt(2)})
	id := r.send(1, "for one")[0]
	one, two := r.login("jt808", phone(1)), r.login("jt808", phone(2))
	e := one.text()
	two.ack(e, protocol.AckDelivered)
	eventually(t, func() bool { return r.metric("late_acks_total", "result=none") == 1 },
		func() string { return "not counted" })
	if m := r.message(id, 1); m.Status != queue.StatusPending {
		t.Fatalf("delivered by another device: %+v", m)
	}
}

func TestFinalRefusalsFailTheTextAndNotTheNext(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	ids := r.send(1, "refused", "fine")
	d := r.login("jt808", phone(1))
	d.ack(d.text(), protocol.AckRejected)
	e := d.text()
	if e.Body != "fine" {
		t.Fatalf("got %q after the refusal", e.Body)
	}
	d.ack(e, protocol.AckDelivered)
	r.become(ids[1], 1, queue.StatusDelivered)
	if m := r.become(ids[0], 1, queue.StatusFailed); m.Reason != queue.ReasonMalformed {
		t.Errorf("reason %v", m.Reason)
	}
}

// A device without a text service is not asked again for each text, but it is after its next login:
// it may have been given one.
func TestDeviceWithoutTextServiceIsAskedOncePerLogin(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	ids := r.send(1, "refused", "waiting")
	d := r.login("jt808", phone(1))
	d.ack(d.text(), protocol.AckUnsupported)
	ids = append(ids, r.send(1, "later")...)
	for _, id := range ids {
		if m := r.become(id, 1, queue.StatusFailed); m.Reason != queue.ReasonUnsupported {
			t.Errorf("reason %v", m.Reason)
		}
	}
	d.silent(protocol.DeviceText)
	if n := r.metric("unsupported_total", "protocol=jt808"); n != 1 {
		t.Errorf("%v devices counted", n)
	}
	d = r.login("jt808", phone(1))
	id := r.send(1, "after the next login")[0]
	d.ack(d.text(), protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

func TestTemporaryFailureIsTriedOnceMore(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, func(o *gateway.Options) {
		o.RetryFailed =
			100 * time.Millisecond
	})
	id := r.send(1, "text")[0]
	d := r.login("jt808", phone(1))
	first := d.text()
	d.ack(first, protocol.AckFailed)
	again := d.text()
	if again.Ref != first.Ref || again.Body != first.Body {
		t.Fatalf("repeated as %+v, was %+v", again, first)
	}
	d.ack(again, protocol.AckFailed)
	if m := r.become(id, 1, queue.StatusFailed); m.Reason != queue.ReasonRefused {
		t.Errorf("reason %v", m.Reason)
	}
}

func TestUnacknowledgedTextIsRepeatedUnderTheSameReferenceThenParked(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, withAcks(60*time.Millisecond, 60*time.Millisecond),
		func(o *gateway.Options) { o.RetryIdle = 300 * time.Millisecond })
	id := r.send(1, "text")[0]
	d := r.login("jt808", phone(1))
	first := d.text()
	for range 3 { // the last one comes after RetryIdle
		if e := d.text(); e.Ref != first.Ref {
			t.Fatalf("reference %d, first %d", e.Ref, first.Ref)
		}
	}
	if n := r.metric("texts_timed_out_total"); n < 2 {
		t.Errorf("%v timeouts counted", n)
	}
	d.ack(first, protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

func TestLateAckOfAParkedText(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, withAcks(50*time.Millisecond),
		func(o *gateway.Options) { o.RetryIdle = time.Hour })
	ids := r.send(1, "slow", "next")
	d := r.login("jt808", phone(1))
	e := d.text()
	eventually(t, func() bool { return r.metric("texts_timed_out_total") == 1 },
		func() string { return "no timeout" })
	d.ack(e, protocol.AckDelivered)
	r.become(ids[0], 1, queue.StatusDelivered)
	if next := d.text(); next.Body != "next" { // a device that answers gets the rest at once
		t.Fatalf("got %q", next.Body)
	}
}

func TestLateAckAfterTheMessageHasEnded(t *testing.T) {
	for _, end := range []queue.Status{
		queue.StatusCancelled, queue.StatusExpired,
		queue.StatusFailed,
	} {
		r := newRig(t, []queue.Tracker{jt(1)})
		id := r.send(1, "text")[0]
		d := r.login("jt808", phone(1))
		e := d.text()
		if end == queue.StatusFailed {
			d.ack(e, protocol.AckRejected)
			r.become(id, 1, end)
		} else if _, err := r.store.End(t.Context(), []queue.EndReq{{
			Tracker: 1, ID: id,
			Status: end,
		}}); err != nil {
			t.Fatal(err)
		}
		r.send(1, "next")
		if next := d.text(); next.Body != "next" {
			t.Fatalf("%c: got %q", end, next.Body)
		}
		d.ack(e, protocol.AckDelivered)
		r.become(id, 1, queue.StatusDelivered)
	}
}

func TestLateAckOnTheNextConnectionOfANewGateway(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	id := r.send(1, "text")[0]
	d := r.login("jt808", phone(1))
	e := d.text()
	must(t, d.nc.Close())
	next := newRigOn(t, r.store, []queue.Tracker{jt(1)},
		func(o *gateway.Options) { o.Node = "other" }).login("jt808", phone(1))
	next.ack(e, protocol.AckDelivered)
	r.become(id, 1, queue.StatusDelivered)
}

func TestLongTextResumesAfterAReconnect(t *testing.T) {
	for _, tr := range []queue.Tracker{jt(1), wl(2, nil)} {
		t.Run(tr.Protocol, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{tr})
			text := strings.Repeat("Long message 好. ", 20_000/16)
			id := r.send(tr.ID, text)[0]
			d := r.login(tr.Protocol, tr.DeviceID)
			var got strings.Builder
			var last protocol.DeviceEvent
			for n := 0; got.Len() < len(text)/2; n++ {
				last = d.text()
				got.WriteString(last.Body)
				d.ack(last, protocol.AckDelivered)
			}
			d.text() // the next part is at the device when the connection breaks
			eventually(t, func() bool { return r.message(id, tr.ID).Acked > 0 },
				func() string { return "no progress" })
			acked := -1
			eventually(t, func() bool {
				was := acked
				acked = r.message(id,
					tr.ID).Acked
				return was == acked
			}, func() string { return "moving" })
			must(t, d.nc.Close())
			d = r.login(tr.Protocol, tr.DeviceID)
			for got.Len() < len(text) {
				e := d.text()
				if r.message(id, tr.ID).Status != queue.StatusPending {
					t.Fatal("delivered before its last part was acknowledged")
				}
				got.WriteString(e.Body)
				d.ack(e, protocol.AckDelivered)
			}
			if got.String() != text {
				t.Fatal("the parts are not the text: something was repeated or lost")
			}
			r.become(id, tr.ID, queue.StatusDelivered)
		})
	}
}

func TestReconnectRepeatsWhatWasInFlight(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)})
	id := r.send(1, "text")[0]
	d := r.login("jt808", phone(1))
	first := d.text()
	must(t, d.nc.Close())
	d = r.login("jt808", phone(1))
	e := d.text()
	if e.Ref != first.Ref {
		t.Fatalf("another reference %d after the reconnect, was %d", e.Ref, first.Ref)
	}
	d.ack(e, protocol.AckDelivered)
	d.ack(e, protocol.AckDelivered) // twice does no harm
	m := r.become(id, 1, queue.StatusDelivered)
	d.silent(protocol.DeviceText)
	if again := r.message(id, 1); again.UpdateMs != m.UpdateMs {
		t.Errorf("update time moved from %d to %d", m.UpdateMs, again.UpdateMs)
	}
}

func TestExpiredAndCancelledTextsAreNotSent(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), jt(2)})
	other := r.login("jt808", phone(2))
	ids := r.sendReqs(queue.SendReq{Tracker: 1, Text: "stale", ExpiresMs: 1},
		queue.SendReq{Tracker: 1, Text: "first"},
		queue.SendReq{Tracker: 1, Text: "withdrawn"}, queue.SendReq{Tracker: 1, Text: "last"})
	d := r.login("jt808", phone(1))
	e := d.text()
	if _, err := r.store.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: ids[2],
		Status: queue.StatusCancelled,
	}}); err != nil {
		t.Fatal(err)
	}
	r.caughtUp(d, other)
	d.ack(e, protocol.AckDelivered)
	if next := d.text(); e.Body != "first" || next.Body != "last" {
		t.Fatalf("got %q and %q", e.Body, next.Body)
	}
	r.become(ids[0], 1, queue.StatusExpired)
}

// deaf is a store whose news of ended messages are lost and told as a resync, like after a
// subscription that was interrupted.
type deaf struct{ queue.Store }

func (d deaf) Listen(ctx context.Context, node queue.NodeID, tell func([]queue.Wake)) error {
	return d.Store.Listen(ctx, node, func(list []queue.Wake) {
		list = slices.Clone(list)
		for i := range list {
			if list[i].Kind == queue.WakeEnd {
				list[i] = queue.Wake{Kind: queue.WakeResync}
			}
		}
		tell(list)
	})
}

// mute is a store that tells only what a test makes it tell.
type mute struct {
	queue.Store
	tell func([]queue.Wake)
}

func (m *mute) Listen(_ context.Context, _ queue.NodeID, tell func([]queue.Wake)) error {
	m.tell = tell
	return nil
}

// TestMoreWakesThanALoopTakes: the loop's sessions are told to look at everything, so that no text
// waits for its wake, and the bound shows.
func TestMoreWakesThanALoopTakes(t *testing.T) {
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	store := &mute{Store: st}
	r := newRigOn(t, store, []queue.Tracker{jt(1)})
	d := r.login("jt808", phone(1))
	r.send(1, "unheard")
	release := r.gw.Hold()
	stale := []queue.Wake{{Kind: queue.WakeKick, Tracker: 1, Epoch: -1}}
	for range 16_384 { // as many as may wait
		store.tell(stale)
	}
	before := r.metric("store_wakes_overflowed_total")
	store.tell(stale)
	after := r.metric("store_wakes_overflowed_total")
	release()
	if before != 0 || after != 1 {
		t.Fatalf("%v overflows at the bound, %v beyond it", before, after)
	}
	if e := d.text(); e.Body != "unheard" {
		t.Fatalf("got %q", e.Body)
	}
}

func TestCancelledTextIsNotSentWhereItsWakeWasLost(t *testing.T) {
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	r := newRigOn(t, deaf{st}, []queue.Tracker{jt(1), jt(2)})
	d, other := r.login("jt808", phone(1)), r.login("jt808", phone(2))
	ids := r.send(1, "first", "withdrawn", "last")
	first := d.text()
	_, err = r.store.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: ids[1],
		Status: queue.StatusCancelled,
	}})
	must(t, err)
	r.caughtUp(d, other)
	d.ack(first, protocol.AckDelivered)
	if next := d.text(); first.Body != "first" || next.Body != "last" {
		t.Fatalf("got %q and %q", first.Body, next.Body)
	}
}

func TestTextsOfManyTrackersKeepTheirOrder(t *testing.T) {
	const trackers, texts = 20, 100
	var list []queue.Tracker
	for i := range trackers {
		if i%2 == 0 {
			list = append(list, jt(queue.TrackerID(i+1)))
		} else {
			list = append(list, wl(queue.TrackerID(i+1), nil))
		}
	}
	r := newRig(t, list)
	done := make(chan string, trackers)
	for _, tr := range list {
		d := r.login(tr.Protocol, tr.DeviceID)
		go func() {
			for i := range texts {
				e := d.text()
				if want := strings.Repeat("x", i+1); e.Body != want {
					done <- "got " + e.Body + ", want " + want
					return
				}
				d.ack(e, protocol.AckDelivered)
			}
			done <- ""
		}()
	}
	for i := range texts {
		var reqs []queue.SendReq
		for _, tr := range list {
			reqs = append(reqs, queue.SendReq{Tracker: tr.ID, Text: strings.Repeat("x", i+1)})
		}
		r.sendReqs(reqs...)
	}
	for range trackers {
		if problem := <-done; problem != "" {
			t.Fatal(problem)
		}
	}
	for _, tr := range list {
		eventually(t, func() bool {
			ls, err := r.store.CheckLeases(t.Context(), []queue.Lease{{Tracker: tr.ID, Epoch: 1}})
			must(t, err)
			return len(ls) == 0
		}, func() string { return "pending" })
	}
	if n := r.metric("wake_missed_total"); n != 0 {
		t.Errorf("%v wakes missed", n)
	}
	eventually(t, func() bool { return r.metric("delivery_seconds") == trackers*texts },
		func() string { return "other number of deliveries timed" })
}
