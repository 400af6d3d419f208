package gateway_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

func TestClaimDoesNotWaitForAcksOfOthers(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1), jt(2)})
	held, waiting := r.send(1, "its ack is held up")[0],
		r.send(2, "was pending before the login")[0]
	d := r.login("jt808", phone(1))
	entered, release := st.stop("ack")
	d.ack(d.text(), protocol.AckDelivered)
	<-entered
	other := r.login("jt808", phone(2))
	e := other.text()
	release()
	other.ack(e, protocol.AckDelivered)
	r.become(waiting, 2, queue.StatusDelivered)
	r.become(held, 1, queue.StatusDelivered)
}

// narrow is a store that answers no call for more than a few acks in time.
type narrow struct{ *gated }

func (n narrow) Ack(ctx context.Context, qs []queue.AckReq) ([]queue.AckResult, error) {
	if len(qs) > 2 {
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, ctx.Err())
	}
	return n.gated.Ack(ctx, qs)
}

// TestCallsShrinkForASlowStore: what comes together while a call is under way is stored, also if
// that is more than the store can do in the time of one call.
func TestCallsShrinkForASlowStore(t *testing.T) {
	const devices = 12
	st := newGated(t)
	var list []queue.Tracker
	for id := range queue.TrackerID(devices) {
		list = append(list, jt(id+1))
	}
	r := newRigOn(t, narrow{st}, list, func(o *gateway.Options) {
		o.StoreTimeout =
			200 * time.Millisecond
	})
	ids := make([]int64, devices)
	entered, release := st.stop("ack")
	for i, tr := range list {
		ids[i] = r.send(tr.ID, "one of many")[0]
		d := r.login("jt808", phone(tr.ID))
		d.ack(d.text(), protocol.AckDelivered)
		if i == 0 {
			<-entered
		}
	}
	release()
	for i, tr := range list {
		r.become(ids[i], tr.ID, queue.StatusDelivered)
	}
}

// TestUnreadableTrackerHoldsUpNobody: one Redis has one lane for the acks, logins and ends of all
// trackers; what it cannot do for one of them is done for the others.
func TestUnreadableTrackerHoldsUpNobody(t *testing.T) {
	server := queuetest.StartRedis(t)
	st, err := redisstore.Open(t.Context(), redisstore.Options{
		Addrs: []string{server.Addr},
		Now:   time.Now,
	})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	if st.IndependentPartitions() {
		t.Fatal("one Redis says that it is several")
	}
	r := newRigOn(t, st, []queue.Tracker{jt(1), jt(2), jt(3), jt(4)})
	key := func(id queue.TrackerID) string { return server.Must(t, "KEYS", fmt.Sprint("*:t:", id)) }
	r.send(3, "its state will be damaged before its login")
	broken, sound := r.send(1, "its state is damaged")[0], r.send(2, "sound")[0]
	d, other := r.login("jt808", phone(1)), r.login("jt808", phone(2))
	text, otherText := d.text(), other.text()
	whole := server.Must(t, "GET", key(1))
	server.Must(t, "SET", key(1), "short")
	server.Must(t, "SET", key(3), "short")
	refused, fine := r.dial("jt808", phone(3)), r.dial("jt808", phone(4))
	d.ack(text, protocol.AckDelivered)
	other.ack(otherText, protocol.AckDelivered)
	r.become(sound, 2, queue.StatusDelivered)
	refused.gone() // instead of waiting for texts in vain
	fine.wait(protocol.DeviceLoggedIn)
	last := r.send(4, "after the login")[0]
	fine.ack(fine.text(), protocol.AckDelivered)
	r.become(last, 4, queue.StatusDelivered)
	// An operator repairs it: the next login finds the message still to be delivered.
	server.Must(t, "SET", key(1), whole)
	must(t, d.nc.Close())
	d = r.login("jt808", phone(1))
	d.ack(d.text(), protocol.AckDelivered)
	r.become(broken, 1, queue.StatusDelivered)
}
