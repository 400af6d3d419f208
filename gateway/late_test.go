package gateway_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

func TestLateAckOfAPartGoesOnWithTheNext(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, withAcks(50*time.Millisecond),
		func(o *gateway.Options) { o.RetryIdle = time.Hour })
	text := strings.Repeat("long ", 250)
	id := r.send(1, text)[0]
	d := r.login("jt808", phone(1))
	first := d.text()
	eventually(t, func() bool { return r.metric("texts_timed_out_total") == 1 },
		func() string { return "no timeout" })
	d.ack(first, protocol.AckDelivered)
	got := first.Body
	for len(got) < len(text) {
		e := d.text()
		got += e.Body
		d.ack(e, protocol.AckDelivered)
	}
	if got != text {
		t.Fatal("the parts are not the text")
	}
	r.become(id, 1, queue.StatusDelivered)
}

func TestLateAcksOfManyAndASlowStore(t *testing.T) {
	const trackers = 60
	st := newGated(t)
	list := make([]queue.Tracker, trackers)
	for i := range list {
		list[i] = jt(queue.TrackerID(i + 1))
	}
	r := newRigOn(t, st, list, func(o *gateway.Options) { o.StoreTimeout = 2 * time.Second })
	devices, texts, ids := make([]*device, trackers), make([]protocol.DeviceEvent, trackers),
		make([]int64, trackers)
	for i := range list {
		ids[i] = r.send(list[i].ID, "withdrawn")[0]
		devices[i] = r.login("jt808", list[i].DeviceID)
		texts[i] = devices[i].text()
		_, err := r.store.End(t.Context(), []queue.EndReq{{
			Tracker: list[i].ID, ID: ids[i],
			Status: queue.StatusCancelled,
		}})
		must(t, err)
		r.send(list[i].ID, "next")
		devices[i].text() // the wake that tells of the end has come
	}
	st.set(func() { st.delay = 20 * time.Millisecond })
	for i, d := range devices {
		d.ack(texts[i], protocol.AckDelivered)
	}
	for i := range list {
		r.become(ids[i], list[i].ID, queue.StatusDelivered)
	}
}

func TestAnswersToQuestions(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1)}, func(o *gateway.Options) {
		o.Now, o.Limits = halfPast(), gateway.Limits{TextsPerMinute: 3}
	})
	id := r.sendReqs(queue.SendReq{
		Tracker: 1, Text: "Where are you?",
		Choices: []string{"on the road", "at the gate"},
	})[0]
	d := r.login("jt808", phone(1))
	e := d.text()
	for range 5 {
		d.write(d.side.AppendChoice(nil, e, 2))
	}
	r.become(id, 1, queue.StatusOpened) // an answer is more than an ack
	eventually(t, func() bool { return r.metric("refused_total", "reason=texts_per_minute") == 2 },
		func() string { return "not limited" })
	must(t, r.gw.Quiesce(t.Context()))
	answers := 0
	for _, m := range r.list(1) {
		if m.Status == queue.StatusUnread {
			answers++
			if m.Text != "at the gate" || m.ReplyTo != id {
				t.Errorf("%+v", m)
			}
		}
	}
	if answers == 0 || answers > 3 {
		t.Errorf("%d answers stored, want 1 to 3", answers)
	}
}

func TestRepushIsTimedOnlyForWhatWaited(t *testing.T) {
	r := newRig(t, []queue.Tracker{jt(1), jt(bystander)})
	d := r.login("jt808", phone(bystander))
	eventually(t, func() bool { // a text that comes before the lease has waited for it
		fenced, err := r.store.CheckLeases(t.Context(), []queue.Lease{{
			Tracker: bystander,
			Epoch:   1,
		}})
		must(t, err)
		return len(fenced) == 0
	}, func() string { return "not leased" })
	for range 20 {
		d.silent(protocol.DeviceRefused)
	}
	r.caughtUp(d, d)
	if n := r.metric("repush_seconds"); n != 0 {
		t.Errorf("%v pushes timed, though nothing waited", n)
	}
	r.send(1, "waits")
	d = r.login("jt808", phone(1))
	d.text()
	if n := r.metric("repush_seconds"); n != 1 {
		t.Errorf("%v pushes timed, want 1", n)
	}
}

// picky is a store that fails for one tracker.
type picky struct {
	*gated
	not queue.TrackerID
}

func (p *picky) Unacknowledged(ctx context.Context, t queue.TrackerID, limit int) ([]queue.Message,
	error,
) {
	if t == p.not {
		return nil, queue.ErrUnavailable
	}
	return p.gated.Unacknowledged(ctx, t, limit)
}

// What cannot be looked up for one device is not lost for those that are looked up with it.
func TestLateAckThatCannotBeLookedUpIsNotTheOthersFault(t *testing.T) {
	st := &picky{gated: newGated(t), not: 2}
	list := []queue.Tracker{jt(1), jt(2), jt(3)}
	r := newRigOn(t, st, list)
	devices, texts, ids := make([]*device, len(list)), make([]protocol.DeviceEvent, len(list)),
		make([]int64, len(list))
	for i, tr := range list {
		ids[i] = r.send(tr.ID, "withdrawn")[0]
		devices[i] = r.login("jt808", tr.DeviceID)
		texts[i] = devices[i].text()
		_, err := r.store.End(t.Context(), []queue.EndReq{{
			Tracker: tr.ID, ID: ids[i],
			Status: queue.StatusCancelled,
		}})
		must(t, err)
		r.send(tr.ID, "next")
		devices[i].text() // the wake that tells of the end has come
	}
	entered, release := st.stop("unacknowledged")
	devices[0].ack(texts[0], protocol.AckDelivered)
	<-entered
	for _, i := range []int{1, 2} { // these two wait for the next call, and go together
		devices[i].ack(texts[i], protocol.AckDelivered)
		devices[i].silent(protocol.DeviceText)
	}
	release()
	r.become(ids[0], 1, queue.StatusDelivered)
	r.become(ids[2], 3, queue.StatusDelivered)
	if m := r.message(ids[1], 2); m.Status != queue.StatusCancelled {
		t.Errorf("%+v", m)
	}
}

// hasty is a store in which something happens right after the next look at what is unacknowledged.
type hasty struct {
	*gated
	next atomic.Pointer[func()]
}

func (h *hasty) meanwhile() {
	if f := h.next.Swap(nil); f != nil {
		(*f)()
	}
}

func (h *hasty) Claim(ctx context.Context, reqs []queue.ClaimReq) ([]queue.ClaimResult, error) {
	defer h.meanwhile()
	return h.gated.Claim(ctx, reqs)
}

func (h *hasty) Unacknowledged(ctx context.Context, t queue.TrackerID, limit int) ([]queue.Message,
	error,
) {
	defer h.meanwhile()
	return h.gated.Unacknowledged(ctx, t, limit)
}

// A message that ends while its late ack is looked up, by the expiry or a cancellation, is
// delivered all the same: the device will not say it again.
func TestLateAckOfAMessageThatEndsMeanwhile(t *testing.T) {
	st := &hasty{gated: newGated(t)}
	r := newRigOn(t, st, []queue.Tracker{jt(1)}, withAcks(50*time.Millisecond),
		func(o *gateway.Options) { o.RetryIdle = time.Hour })
	id := r.send(1, "ends")[0]
	d := r.login("jt808", phone(1))
	e := d.text()
	eventually(t, func() bool { return r.metric("texts_timed_out_total") == 1 },
		func() string { return "no timeout" })
	ended := make(chan error, 1)
	end := func() {
		_, err := st.End(context.Background(), []queue.EndReq{{
			Tracker: 1, ID: id,
			Status: queue.StatusExpired,
		}})
		ended <- err
	}
	st.next.Store(&end)
	d.ack(e, protocol.AckDelivered)
	must(t, <-ended)
	r.become(id, 1, queue.StatusDelivered)
}

// While the ack of the text before is still on its way to the store, the one a late ack means looks
// as if it had never been written.
func TestLateAckBehindOneThatIsNotStoredYet(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1)}, withAcks(20*time.Second),
		func(o *gateway.Options) { o.RetryIdle = time.Hour })
	ids := r.send(1, "one", "two")
	d := r.login("jt808", phone(1))
	entered, release := st.stop("ack")
	d.ack(d.text(), protocol.AckDelivered)
	<-entered
	second := d.text()
	r.clock.advance(21 * time.Second)
	eventually(t, func() bool { return r.metric("texts_timed_out_total") == 1 },
		func() string { return "no timeout" })
	d.ack(second, protocol.AckDelivered)
	for range 100 { // the lookup would go on
		d.silent(protocol.DeviceText)
	}
	release()
	r.become(ids[0], 1, queue.StatusDelivered)
	r.become(ids[1], 1, queue.StatusDelivered)
}
