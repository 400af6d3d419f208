package gateway_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// gated is a real store whose calls can be held up, slowed down or made to fail for single
// trackers.
type gated struct {
	queue.Store

	mu      sync.Mutex
	hold    map[string]chan struct{} // by operation: results wait until it is closed
	entered map[string]chan struct{} // by operation: told when a result waits
	delay   time.Duration            // of every call
	corrupt bool                     // claims fail for their tracker
	refused int                      // claims that did
	claimed int                      // bytes of text handed out by claims
}

func newGated(t *testing.T) *gated {
	t.Helper()
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	return &gated{Store: st, hold: map[string]chan struct{}{}, entered: map[string]chan struct{}{}}
}

// stop makes the results of an operation wait; entered is told, release lets them go.
func (g *gated) stop(op string) (entered <-chan struct{}, release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	hold, in := make(chan struct{}), make(chan struct{}, 1)
	g.hold[op], g.entered[op] = hold, in
	return in, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.hold, op)
		close(hold)
	}
}

func (g *gated) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *gated) wait(ctx context.Context, op string) {
	g.mu.Lock()
	hold, in, delay := g.hold[op], g.entered[op], g.delay
	g.mu.Unlock()
	if delay > 0 {
		slow := time.NewTimer(delay)
		defer slow.Stop()
		select {
		case <-slow.C:
		case <-ctx.Done():
		}
	}
	if hold == nil {
		return
	}
	select {
	case in <- struct{}{}:
	default:
	}
	select {
	case <-hold:
	case <-ctx.Done():
	}
}

func (g *gated) Acquire(ctx context.Context, n queue.NodeID, ts []queue.TrackerID) ([]queue.Lease,
	error,
) {
	ls, err := g.Store.Acquire(ctx, n, ts)
	g.wait(ctx, "acquire")
	return ls, err
}

func (g *gated) Claim(ctx context.Context, reqs []queue.ClaimReq) ([]queue.ClaimResult, error) {
	rs, err := g.Store.Claim(ctx, reqs)
	g.wait(ctx, "claim")
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range rs {
		if g.corrupt {
			g.refused++
			rs[i] = queue.ClaimResult{Next: reqs[i].Cursor, Err: queue.ErrCorrupt}
		}
		for _, m := range rs[i].Msgs {
			g.claimed += len(m.Text)
		}
	}
	return rs, err
}

func (g *gated) Ack(ctx context.Context, acks []queue.AckReq) ([]queue.AckResult, error) {
	g.wait(ctx, "ack")
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return g.Store.Ack(ctx, acks)
}

func (g *gated) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult, error) {
	g.wait(ctx, "receive")
	return g.Store.Receive(ctx, in)
}

func (g *gated) Unacknowledged(ctx context.Context, tr queue.TrackerID, limit int) ([]queue.Message,
	error,
) {
	g.wait(ctx, "unacknowledged")
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return g.Store.Unacknowledged(ctx, tr, limit)
}

func (g *gated) CheckLeases(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult, error) {
	g.wait(ctx, "peek")
	return g.Store.CheckLeases(ctx, ls)
}

func TestFullQueueIsDeliveredInOrder(t *testing.T) {
	const pending = 1000
	r := newRig(t, []queue.Tracker{jt(1)})
	texts := make([]string, pending)
	for i := range texts {
		texts[i] = strings.Repeat("x", i%700+1)
	}
	ids := r.send(1, texts...)
	d := r.login("jt808", phone(1))
	for i, want := range texts {
		got := ""
		for len(got) < len(want) {
			e := d.text()
			got += e.Body
			d.ack(e, protocol.AckDelivered)
		}
		if got != want {
			t.Fatalf("text %d is %d bytes long, want %d", i, len(got), len(want))
		}
	}
	r.become(ids[pending-1], 1, queue.StatusDelivered)
	if n := r.metric("texts_timed_out_total"); n != 0 {
		t.Errorf("%v timeouts", n)
	}
}

func TestOutboxOfLongTextsIsBounded(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1)})
	long := strings.Repeat("x", 20_000)
	texts := make([]string, 40)
	for i := range texts {
		texts[i] = long
	}
	r.send(1, texts...)
	d := r.login("jt808", phone(1))
	d.text()
	for range 100 { // claims would go on
		d.silent(protocol.DeviceText)
	}
	st.set(func() {
		if most := 64<<10 + len(long); st.claimed > most {
			t.Errorf("%d bytes of text were taken into memory for one tracker, want at most %d",
				st.claimed, most)
		}
	})
}

func TestUnreadableClaimDoesNotChangeTheOrder(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1), jt(bystander)})
	d, other := r.login("jt808", phone(1)), r.login("jt808", phone(bystander))
	r.send(1, "one")
	first := d.text()
	st.set(func() { st.corrupt = true })
	hinted := strings.Repeat("two ", 300) // too long to travel with the wake
	ids := r.send(1, hinted)
	eventually(t, func() (ok bool) { st.set(func() { ok = st.refused > 0 }); return ok },
		func() string { return "not claimed" })
	st.set(func() { st.corrupt = false })
	last := r.send(1, "three")
	r.caughtUp(d, other)
	d.ack(first, protocol.AckDelivered)
	got := ""
	for !strings.HasSuffix(got, "three") {
		e := d.text()
		got += e.Body
		d.ack(e, protocol.AckDelivered)
	}
	if got != hinted+"three" {
		t.Fatalf("shown %q", got)
	}
	r.become(ids[0], 1, queue.StatusDelivered)
	r.become(last[0], 1, queue.StatusDelivered)
}

func TestTextCancelledWhileItIsClaimedIsNotSent(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1), jt(bystander)})
	ids := r.send(1, "withdrawn", "two")
	other := r.login("jt808", phone(bystander))
	r.ready(other)
	entered, release := st.stop("claim")
	d := r.login("jt808", phone(1))
	<-entered
	_, err := r.store.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: ids[0],
		Status: queue.StatusCancelled,
	}})
	must(t, err)
	r.caughtUp(d, other)
	release()
	if e := d.text(); e.Body != "two" {
		t.Fatalf("got %q", e.Body)
	}
}

func TestOwnershipLostBeforeTheLeaseIsKnown(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1), jt(bystander)},
		func(o *gateway.Options) { o.Repoll = time.Hour })
	other := r.login("jt808", phone(bystander))
	r.ready(other)
	entered, release := st.stop("acquire")
	d := r.login("jt808", phone(1))
	<-entered
	_, err := st.Store.Acquire(t.Context(), "other", []queue.TrackerID{1})
	must(t, err)
	r.caughtUp(d, other)
	release()
	d.gone()
}

func TestEarlyAckOfAnEndedTextCounts(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1)})
	ids := r.send(1, "one", "two")
	d := r.login("jt808", phone(1))
	one := d.text()
	_, err := r.store.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: ids[0],
		Status: queue.StatusCancelled,
	}})
	must(t, err)
	two := d.text()
	must(t, d.nc.Close())
	eventually(t, func() bool { return r.gw.Sessions() == 0 }, func() string { return "logged in" })
	entered, release := st.stop("claim")
	d = r.login("jt808", phone(1))
	<-entered
	d.ack(one, protocol.AckDelivered)
	d.ack(two, protocol.AckDelivered)
	d.silent(protocol.DeviceText)
	release()
	r.become(ids[1], 1, queue.StatusDelivered)
	r.become(ids[0], 1, queue.StatusDelivered)
}
