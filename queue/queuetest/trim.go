package queuetest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
)

func trimRules() []rule {
	return []rule{
		{"44 nothing newer than the cutoff", trimCutoff},
		{"45 never a pending message", trimPending},
		{"46 unread is corrected", trimUnread},
		{"47 queue and list go on", trimGoesOn},
		{"43 a trimmed message is unknown", trimUnknown},
		{"small steps", trimSteps},
		{"beyond many that stay", trimBeyondPending},
	}
}

// trimAll trims every partition to the end and returns how many messages went.
func (c *check) trimAll(cutoff int64) int {
	c.Helper()
	removed := 0
	for p := range 256 {
		for more := true; more; {
			st, err := c.Store.Trim(c.Context(), queue.Partition(p),
				queue.Retention{CutoffMs: cutoff, Max: 100})
			if err != nil && p > 0 {
				return removed // the backend has fewer partitions
			}
			c.must(err)
			if st.Removed > 100 {
				c.Fatalf("%d removed by a call for at most 100", st.Removed)
			}
			removed += st.Removed
			more = st.More
		}
	}
	return removed
}

// aged stores n old messages of tracker 1, none pending, and moves on; the cutoff lies between them
// and what follows.
func (c *check) aged(n int) (old []int64, cutoff int64) {
	c.Helper()
	old = c.storeMany(1, n)
	c.markAll(1)
	if c.Clock != nil {
		c.Clock.Advance(time.Hour)
	}
	c.tick()
	return old, c.get(1, old[n-1]).SubmitMs + 1
}

func trimCutoff(c *check) {
	old, cutoff := c.aged(500)
	young := c.storeMany(1, 100)
	if n := c.trimAll(c.get(1, old[0]).SubmitMs); n != 0 {
		c.Fatalf("%d removed before the first", n)
	}
	before := len(c.list(1))
	removed := c.trimAll(cutoff)
	left := ids(c.list(1))
	if removed == 0 || len(left) != before-removed {
		c.Fatalf("%d of %d removed, %d left", removed, before, len(left))
	}
	if !slices.Equal(left, append(slices.Clone(old[removed:]), young...)) {
		c.Fatal("it was not the oldest that went")
	}
}

func trimPending(c *check) {
	stay := make([]int64, 0, 5)
	for range 5 {
		stay = append(stay, c.send(1, "pending")...)
		c.storeMany(1, 100)
	}
	_, cutoff := c.aged(100)
	c.storeMany(1, 100)
	c.trimAll(cutoff)
	for _, id := range stay {
		c.wantStatus(1, id, queue.StatusPending)
	}
	l := c.acquire("a", 1)
	if l.Pending != len(stay) {
		c.Fatalf("%d pending, want %d", l.Pending, len(stay))
	}
	c.wantIDs(c.claim(l, 0, 1<<20).Msgs, stay)
}

func trimUnread(c *check) {
	in := make([]queue.Incoming, 400)
	for i := range in {
		in[i] = queue.Incoming{Tracker: 1, Text: "unread"}
	}
	_, err := c.Store.Receive(c.Context(), in)
	c.must(err)
	if c.Clock != nil {
		c.Clock.Advance(time.Hour)
	}
	c.tick()
	last := c.receive(queue.Incoming{Tracker: 1, Text: "newest"}).ID
	if c.trimAll(c.get(1, last).SubmitMs) == 0 {
		c.Fatal("nothing removed")
	}
	left := c.list(1)
	if n := c.unread(1); n != len(left) {
		c.Fatalf("%d unread of %d left", n, len(left))
	}
	if n := c.markAll(1); n != len(left) {
		c.Fatalf("%d marked of %d left", n, len(left))
	}
	if n := c.unread(1); n != 0 {
		c.Fatalf("%d unread after all were marked", n)
	}
}

func trimGoesOn(c *check) {
	old, cutoff := c.aged(300)
	lastOut := c.acquire("a", 1).LastOut
	pending := c.send(1, "a", "b")
	if c.trimAll(cutoff) == 0 {
		c.Fatal("nothing removed")
	}
	c.reopen()
	pending = append(pending, c.send(1, "c")...)
	l := c.acquire("a", 1)
	c.wantIDs(c.claim(l, 0, 100).Msgs, pending)
	if pending[0] <= old[len(old)-1] || l.LastOut != pending[2] || lastOut >= pending[0] {
		c.Fatalf("ids went back: %v after %v", pending, old[len(old)-1])
	}
	left := ids(c.list(1))
	if !slices.IsSorted(left) || !slices.Equal(left[len(left)-3:], pending) {
		c.Fatalf("list across the edge: %v", left)
	}
	for _, id := range pending {
		if c.ack(1, id) != queue.AckDelivered {
			c.Fatal("ack after trim")
		}
	}
	times, err := c.Store.LastTimes(c.Context(), []queue.TrackerID{1})
	c.must(err)
	if msgs := c.list(1); times[1] != msgs[len(msgs)-1].SubmitMs {
		c.Fatalf("last time %d", times[1])
	}
}

func trimUnknown(c *check) {
	old, cutoff := c.aged(300)
	c.send(1, "newest")
	if c.trimAll(cutoff) == 0 {
		c.Fatal("nothing removed")
	}
	if c.owners(old[0])[0] != 0 || c.get(1, old[0]).ID != 0 {
		c.Fatal("the oldest message is still known")
	}
	if res := c.mark(queue.Ref{Tracker: 1, ID: old[0]}); res[0] != queue.MarkUnknown {
		c.Fatal(res)
	}
	if r := c.ack(1, old[0]); r != queue.AckUnknown {
		c.Fatal(r)
	}
}

func trimSteps(c *check) {
	old, cutoff := c.aged(600)
	c.send(1, "newest")
	for p := range 256 {
		st, err := c.Store.Trim(c.Context(), queue.Partition(p), queue.Retention{
			CutoffMs: cutoff,
			Max:      100,
		})
		if err != nil && p > 0 {
			break
		}
		c.must(err)
		if st.Removed > 100 || st.Removed > 0 && !st.More {
			c.Fatalf("%+v of %d", st, len(old))
		}
	}
	if c.trimAll(cutoff) == 0 {
		c.Fatal("the rest stays")
	}
	if n := c.trimAll(cutoff); n != 0 {
		c.Fatalf("%d removed when nothing was left to do", n)
	}
}

// trimBeyondPending: one call gets to old messages behind thousands that are pending, and the next
// one begins at the oldest again.
func trimBeyondPending(c *check) {
	stay := 0
	for t := queue.TrackerID(1); stay < 2500; t++ {
		for n := 0; n < c.MaxPending; n += 100 {
			stay += len(c.send(t, slices.Repeat([]string{"stays"}, min(100, c.MaxPending-n))...))
		}
	}
	old := c.storeMany(9, 600)
	c.markAll(9)
	newest := c.send(9, "newest")[0]
	c.ack(9, newest)
	cutoff := c.get(9, newest).SubmitMs
	removed := 0
	for p := range 256 {
		st, err := c.Store.Trim(c.Context(), queue.Partition(p), queue.Retention{
			CutoffMs: cutoff + 1, Max: 1000,
		})
		if err != nil && p > 0 {
			break
		}
		c.must(err)
		removed += st.Removed
	}
	if left := len(c.list(9)); removed < 512 || left != len(old)+1-removed {
		c.Fatalf("%d removed, %d left of %d", removed, left, len(old)+1)
	}
	for _, m := range c.list(1) {
		c.ack(1, m.ID)
	}
	if n := c.trimAll(cutoff + 1); n == 0 {
		c.Fatal("the oldest stay, although they are no longer pending")
	}
}

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
