package queuetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
)

func expireRules() []rule {
	return []rule{
		{"what is due is ended, and nothing else", expiresDue},
		{"the owner is told", expiryWakes},
		{"the store's clock decides", expiryByClock},
		{"a message expires once, whoever calls", expiresOnce},
		{"many are ended in steps", expiresMany},
		{"a full tracker makes room of what is due", expiryMakesRoom},
	}
}

// Times to live that no clock of a test comes near.
const (
	longPast   = 1
	longFuture = 1 << 47
)

// expireAll calls Expire until nothing is left and returns how many were ended.
func (c *check) expireAll() int {
	c.Helper()
	ended := 0
	for {
		st, err := c.Store.Expire(c.Context())
		c.must(err)
		if ended += st.Ended; !st.More {
			return ended
		}
	}
}

func expiresDue(c *check) {
	due := queue.SendReq{
		Tracker: 1, Employee: 7, Text: "due", ExpiresMs: longPast,
		Choices: []string{"a"},
	}
	sent := c.sendAll(due, queue.SendReq{Tracker: 1, Text: "not due", ExpiresMs: longFuture},
		queue.SendReq{Tracker: 1, Text: "never due"},
		due, due, due, due, queue.SendReq{Tracker: 2, Text: "due", ExpiresMs: longPast})
	c.ack(1, sent[3])
	c.end(1, sent[4], queue.StatusCancelled, queue.ReasonNone)
	c.end(1, sent[5], queue.StatusFailed, queue.ReasonStorage)
	c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{{
		Tracker: 1, ID: sent[6], Parts: 3,
		Acked: 1,
	}}))
	c.reopen()
	if n := c.expireAll(); n != 3 {
		c.Fatalf("%d ended", n)
	}
	if n := c.expireAll(); n != 0 {
		c.Fatalf("%d ended again", n)
	}
	for i, want := range []queue.Status{
		queue.StatusExpired, queue.StatusPending, queue.StatusPending, queue.StatusDelivered,
		queue.StatusCancelled, queue.StatusFailed, queue.StatusExpired, queue.StatusExpired,
	} {
		t := queue.TrackerID(1 + i/7)
		if m := c.wantStatus(t, sent[i], want); want == queue.StatusExpired && (m.UpdateMs != 0 ||
			m.Reason != 0 || m.ExpiresMs != longPast || m.ChangeMs < m.SubmitMs) {
			c.Fatalf("%+v", m)
		}
	}
	if m := c.get(1, sent[6]); m.Parts != 3 || m.Acked != 1 {
		c.Fatalf("%+v", m)
	}
	if n := c.pending(1); n != 2 {
		c.Fatalf("%d pending", n)
	}
	c.wantIDs(c.claim(c.acquire("a", 1), 0, 1000).Msgs, sent[1:3])
	if r := c.ack(1, sent[0]); r != queue.AckDelivered {
		c.Fatalf("a late ack: %d", r)
	}
	c.wantStatus(1, sent[0], queue.StatusDelivered)
	if n := c.pending(1); n != 2 {
		c.Fatalf("%d pending after a late ack", n)
	}
}

func expiryWakes(c *check) {
	lease := c.acquire("a", 1)
	wakes := c.subscribe("a")
	id := c.sendAll(queue.SendReq{Tracker: 1, Text: "due", ExpiresMs: longPast})[0]
	if w := wakes.next(); w.Kind != queue.WakeMessage || w.Msg.ID != id ||
		w.Msg.ExpiresMs != longPast {
		c.Fatalf("%+v", w)
	}
	c.expireAll()
	if w := wakes.next(); w.Kind != queue.WakeEnd || w.Msg.ID != id || w.Tracker != 1 ||
		w.Epoch != lease.Epoch {
		c.Fatalf("%+v", w)
	}
}

func expiryByClock(c *check) {
	if c.Clock == nil {
		return // the store's own clock cannot be turned
	}
	id := c.sendAll(queue.SendReq{
		Tracker: 1, Text: "x",
		ExpiresMs: c.Clock.Now().Add(time.Minute).UnixMilli(),
	})[0]
	c.Clock.Advance(time.Minute - time.Millisecond)
	if n := c.expireAll(); n != 0 {
		c.Fatalf("%d ended too early", n)
	}
	c.Clock.Advance(time.Millisecond)
	if n := c.expireAll(); n != 1 {
		c.Fatalf("%d ended", n)
	}
	if m := c.wantStatus(1, id, queue.StatusExpired); m.ChangeMs != m.ExpiresMs {
		c.Fatalf("%+v", m)
	}
}

func expiresOnce(c *check) {
	stores := []queue.Store{c.Store, c.Store}
	if c.Another != nil {
		stores[1] = c.Another(c.T)
	}
	reqs := make([]queue.SendReq, 60)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: queue.TrackerID(i%5 + 1), Text: "x", ExpiresMs: longPast}
	}
	c.sendAll(reqs...)
	var ended atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for more := true; more; {
				st, err := stores[i%2].Expire(c.Context())
				if err != nil {
					c.Error(err)
					return
				}
				ended.Add(int64(st.Ended))
				more = st.More
			}
		})
	}
	wg.Wait()
	if n := ended.Load(); n != int64(len(reqs)) {
		c.Fatalf("%d of %d ended", n, len(reqs))
	}
}

func expiresMany(c *check) {
	const trackers, each = 8, 90
	for t := range queue.TrackerID(trackers) {
		reqs := make([]queue.SendReq, each)
		for i := range reqs {
			reqs[i] = queue.SendReq{Tracker: t + 1, Text: "x", ExpiresMs: longPast}
		}
		c.sendAll(reqs...)
	}
	if n := c.expireAll(); n != trackers*each {
		c.Fatalf("%d ended", n)
	}
	for t := range queue.TrackerID(trackers) {
		if n := c.pending(t + 1); n != 0 {
			c.Fatalf("tracker %d: %d pending", t+1, n)
		}
	}
}

func expiryMakesRoom(c *check) {
	reqs := make([]queue.SendReq, c.MaxPending)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 4, Text: "x", ExpiresMs: longFuture}
	}
	reqs[1].ExpiresMs, reqs[2].ExpiresMs = longPast, longPast
	for part := reqs; len(part) > 0; part = part[min(100, len(part)):] {
		c.sendAll(part[:min(100, len(part))]...)
	}
	more := queue.SendReq{Tracker: 4, Text: "more"}
	res := c.try(more, more, more)
	if res[0].Err != nil || res[1].Err != nil || !errors.Is(res[2].Err, queue.ErrQueueFull) {
		c.Fatalf("%+v", res)
	}
	if n := c.pending(4); n != c.MaxPending {
		c.Fatalf("%d pending", n)
	}
	if n := c.expireAll(); n != 0 {
		c.Fatalf("%d were left", n)
	}
}
