package queuetest

import (
	"context"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
)

func wakeRules() []rule {
	return []rule{
		{"25 the former owner is kicked", formerKicked},
		{"26 exactly the owner is woken", ownerWoken},
		{"27 a send racing acquire is pushed or claimed", sendRacesAcquire},
		{"28 the chain of prev has no gap", prevChain},
		{"a wake carries short texts and hints at long ones", wakeText},
		{"a cancelled message is called off", cancelWakes},
		{"nothing is told after the context or the store has ended", wakesEnd},
	}
}

// wakes reads one node's wakes one by one.
type wakes struct {
	t    *testing.T
	ch   <-chan []queue.Wake
	left []queue.Wake
}

func (c *check) subscribe(node queue.NodeID) *wakes {
	c.Helper()
	ch, err := Wakes(c.Context(), c.Store, node)
	c.must(err)
	return &wakes{t: c.T, ch: ch}
}

// next waits for the next wake.
func (w *wakes) next() queue.Wake {
	w.t.Helper()
	if len(w.left) == 0 {
		select {
		case batch, ok := <-w.ch:
			if !ok || len(batch) == 0 {
				w.t.Fatalf("wakes ended (%v) or empty", !ok)
			}
			w.left = batch
		case <-time.After(patience):
			w.t.Fatal("no wake")
		}
	}
	first := w.left[0]
	w.left = w.left[1:]
	return first
}

func formerKicked(c *check) {
	a, b := c.subscribe("a"), c.subscribe("b")
	first := c.acquire("a", 1)
	second := c.acquire("b", 1)
	if w := a.next(); w.Kind != queue.WakeKick || w.Tracker != 1 || w.Epoch != first.Epoch {
		c.Fatalf("the former owner got %+v", w)
	}
	third := c.acquire("b", 1)
	if w := b.next(); w.Kind != queue.WakeKick || w.Epoch != second.Epoch {
		c.Fatalf("the former session of the same node got %+v", w)
	}
	_, err := c.Store.Release(c.Context(), []queue.Lease{third})
	c.must(err)
	c.acquire("a", 1)
	c.acquire("b", 2)
	c.send(2, "marker")
	if w := b.next(); w.Kind != queue.WakeMessage || w.Tracker != 2 {
		c.Fatalf("a session that had released got %+v", w)
	}
}

func ownerWoken(c *check) {
	a, b := c.subscribe("a"), c.subscribe("b")
	la, lb := c.acquire("a", 1), c.acquire("b", 2)
	got := c.sendAll(queue.SendReq{Tracker: 3, Text: "nobody's"}, queue.SendReq{
		Tracker: 2,
		Text:    "b's",
	}, queue.SendReq{Tracker: 1, Text: "a's"})
	if w := a.next(); w.Msg.ID != got[2] || w.Tracker != 1 || w.Epoch != la.Epoch ||
		w.Kind != queue.WakeMessage {
		c.Fatalf("a got %+v", w)
	}
	if w := b.next(); w.Msg.ID != got[1] || w.Epoch != lb.Epoch {
		c.Fatalf("b got %+v", w)
	}
	// Neither an incoming text nor a repetition nor a refusal wakes anybody.
	c.receive(queue.Incoming{Tracker: 1, Text: "in"})
	req := queue.SendReq{Tracker: 1, Text: "once", Key: "k"}
	c.sendAll(req, req)
	c.try(queue.SendReq{Tracker: 1, Text: strings.Repeat("x", queue.MaxText+1)})
	last := c.send(1, "last")[0]
	if w := a.next(); w.Msg.Text != "once" {
		c.Fatalf("a got %+v", w)
	}
	if w := a.next(); w.Msg.ID != last {
		c.Fatalf("a got %+v", w)
	}
}

// sendRacesAcquire: each message is in a wake with the new epoch or counted and claimed by the
// lease.
func sendRacesAcquire(c *check) {
	const rounds, trackers = 100, 100 // 10,000 races
	w := c.subscribe("a")
	woken := make(map[int64]int64) // message to epoch
	for round := range rounds {
		sent, leases := c.race(queue.TrackerID(round*trackers), trackers)
		if c.Failed() {
			return
		}
		for i, id := range c.claimedBy(leases, sent) {
			if id != 0 {
				woken[id] = leases[i].Epoch
			}
		}
		for i, l := range leases {
			for woken[sent[i]] == 0 {
				wake := w.next()
				woken[wake.Msg.ID] = wake.Epoch
			}
			if woken[sent[i]] != l.Epoch {
				c.Fatalf("message %d was pushed with epoch %d, the lease has %d", sent[i],
					woken[sent[i]], l.Epoch)
			}
		}
	}
}

// race sends one message to each of n trackers while node a acquires them.
func (c *check) race(base queue.TrackerID, n int) (sent []int64, leases []queue.Lease) {
	c.Helper()
	ts := make([]queue.TrackerID, n)
	reqs := make([]queue.SendReq, n)
	for i := range ts {
		ts[i] = base + queue.TrackerID(i) + 1
		reqs[i] = queue.SendReq{Tracker: ts[i], Text: "race"}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for half := range 2 {
			res, err := c.Store.Send(c.Context(), reqs[half*n/2:(half+1)*n/2])
			if err != nil {
				c.Errorf("send: %v", err)
				return
			}
			for _, r := range res {
				sent = append(sent, r.ID)
			}
		}
	})
	wg.Go(func() {
		var err error
		if leases, err = c.Store.Acquire(c.Context(), "a", ts); err != nil {
			c.Errorf("acquire: %v", err)
		}
	})
	wg.Wait()
	return sent, leases
}

// claimedBy returns the message that each lease had pending when it was acquired, 0 for none; Claim
// must give just that one.
func (c *check) claimedBy(leases []queue.Lease, sent []int64) []int64 {
	c.Helper()
	reqs := make([]queue.ClaimReq, len(leases))
	for i, l := range leases {
		reqs[i] = queue.ClaimReq{Lease: l, MaxBytes: 100}
	}
	res, err := c.Store.Claim(c.Context(), reqs)
	c.must(err)
	list := make([]int64, len(leases))
	for i, l := range leases {
		if l.Pending == 0 {
			continue
		}
		if len(res[i].Msgs) != 1 || res[i].Msgs[0].ID != sent[i] || l.LastOut != sent[i] {
			c.Fatalf("lease %+v, sent %d, claimed %+v", l, sent[i], res[i])
		}
		list[i] = sent[i]
	}
	return list
}

func prevChain(c *check) {
	c.send(1, "before")
	w := c.subscribe("a")
	prev := c.acquire("a", 1).LastOut
	sent := make([]int64, 0, 60)
	for i := range 30 {
		c.receive(queue.Incoming{Tracker: 1, Text: "in between"})
		sent = append(sent, c.send(1, texts(i%3+1)...)...)
		c.ack(1, sent[i])
	}
	for i, id := range sent {
		wake := w.next()
		if wake.Msg.ID != id || wake.Prev != prev {
			c.Fatalf("wake %d: message %d after %d, want %d after %d", i, wake.Msg.ID, wake.Prev,
				id, prev)
		}
		prev = id
	}
}

func wakeText(c *check) {
	w := c.subscribe("a")
	c.acquire("a", 1)
	short := c.sendAll(queue.SendReq{
		Tracker: 1, Text: "short", Employee: 3,
		ExpiresMs: 1_900_000_000_000, Choices: []string{"a", "b"}, ReplyTo: 5, Urgent: true,
	})[0]
	wake := w.next()
	m := c.get(1, short)
	if wake.Hint || wake.Msg.Text != m.Text || wake.Msg.ExpiresMs != m.ExpiresMs ||
		len(wake.Msg.Choices) != 2 || wake.Msg.SubmitMs != m.SubmitMs ||
		wake.Msg.Tracker != 1 || wake.Msg.Status != queue.StatusPending || wake.Msg.Employee != 3 ||
		wake.Msg.ReplyTo != 5 || !wake.Msg.Urgent {
		c.Fatalf("wake %+v for %+v", wake, m)
	}
	c.send(1, "not urgent")
	if wake = w.next(); wake.Hint || wake.Msg.Urgent || wake.Msg.Text != "not urgent" {
		c.Fatalf("wake %+v", wake)
	}
	long := c.send(1, strings.Repeat("long ", 4000))[0]
	if wake = w.next(); wake.Msg.ID != long || !wake.Hint && wake.Msg.Text != c.get(1, long).Text {
		c.Fatalf("wake for a long text: hint %v, %d bytes", wake.Hint, len(wake.Msg.Text))
	}
}

func cancelWakes(c *check) {
	w := c.subscribe("a")
	l := c.acquire("a", 1)
	for _, st := range []queue.Status{queue.StatusCancelled, queue.StatusExpired} {
		id := c.send(1, "to be withdrawn")[0]
		w.next()
		c.end(1, id, st, 0)
		if wake := w.next(); wake.Kind != queue.WakeEnd || wake.Tracker != 1 || wake.Msg.ID != id ||
			wake.Epoch != l.Epoch {
			c.Fatalf("wake %+v", wake)
		}
		c.end(1, id, st, 0)
	}
	for _, st := range []queue.Status{queue.StatusFailed, queue.StatusSent} {
		id := c.send(1, "ended by its owner")[0]
		w.next()
		c.end(1, id, st, 0)
	}
	last := c.send(1, "last")[0]
	if wake := w.next(); wake.Msg.ID != last {
		c.Fatalf("a message that had ended already, or by its owner, woke: %+v", wake)
	}
}

func wakesEnd(c *check) {
	ctx, cancel := context.WithCancel(c.Context())
	var told, toldAfter atomic.Int64
	c.must(c.Store.Listen(ctx, "a", func([]queue.Wake) { told.Add(1) }))
	open := c.subscribe("a")
	c.must(c.Store.Listen(c.Context(), "a", func([]queue.Wake) { toldAfter.Add(1) }))
	cancel()
	c.acquire("a", 1)
	c.untilQuiet(&told, func() {
		id := c.send(1, "x")[0]
		if w := open.next(); w.Msg.ID != id {
			c.Fatalf("the other listener got %+v", w)
		}
	})
	c.reopen()
	before := toldAfter.Load()
	c.acquire("a", 2)
	again := c.subscribe("a")
	c.send(2, "x")
	again.next()
	if n := toldAfter.Load(); n != before {
		c.Fatalf("%d wakes were told after the store was closed", n-before)
	}
}

// untilQuiet has something happen until told stays the same for a while.
func (c *check) untilQuiet(told *atomic.Int64, happen func()) {
	c.Helper()
	const quietly = 5
	deadline := time.Now().Add(patience) //nolint:forbidigo // a wait in real time
	for quiet := 0; quiet < quietly; quiet++ {
		before := told.Load()
		happen()
		if told.Load() == before {
			continue
		}
		quiet = -1
		if time.Now().After(deadline) { //nolint:forbidigo // the same
			c.Fatal("a listener whose context has ended is still told")
		}
	}
}

// Wakes returns a channel of what a store tells a node from now on, until ctx ends.
func Wakes(ctx context.Context, s queue.Delivery, node queue.NodeID) (<-chan []queue.Wake, error) {
	return channel(ctx, func(tell func([]queue.Wake)) error { return s.Listen(ctx, node, tell) })
}

// Changes returns a channel of the changes that a store tells from now on, until ctx ends.
func Changes(ctx context.Context, s queue.Feed) (<-chan []queue.Change, error) {
	return channel(ctx, func(tell func([]queue.Change)) error { return s.Watch(ctx, tell) })
}

func channel[T any](ctx context.Context, listen func(tell func([]T)) error) (<-chan []T, error) {
	ready, out := make(chan struct{}, 1), make(chan []T)
	var none T
	buffer := queue.NewBuffer(math.MaxInt, none, func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	})
	if err := listen(func(list []T) { buffer.Add(list...) }); err != nil {
		return nil, err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-ready:
			}
			batch := buffer.Take()
			if len(batch) == 0 {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case out <- batch:
			}
		}
	}()
	return out, nil
}
