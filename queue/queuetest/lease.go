package queuetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trackchat/queue"
)

func leaseRules() []rule {
	return []rule{
		{"22 an old epoch is fenced", oldEpochFenced},
		{"23 epochs rise, also across a restart", epochsRise},
		{"24 release with an old epoch does nothing", releaseOld},
		{"35 peek finds what is pending without any wake", peekFinds},
		{"a lease tells what is pending", leaseTells},
	}
}

func oldEpochFenced(c *check) {
	c.send(1, "x")
	old := c.acquire("a", 1)
	now := c.acquire("b", 1)
	if res := c.claim(old, 0, 1000); !errors.Is(res.Err, queue.ErrFenced) || len(res.Msgs) != 0 {
		c.Fatalf("old epoch: %+v", res)
	}
	if res := c.claim(now, 0, 1000); res.Err != nil || len(res.Msgs) != 1 {
		c.Fatalf("current epoch: %+v", res)
	}
	res, err := c.Store.Claim(c.Context(), []queue.ClaimReq{
		{Lease: old, MaxBytes: 10},
		{Lease: now, MaxBytes: 10},
	})
	c.must(err)
	if !errors.Is(res[0].Err, queue.ErrFenced) || res[1].Err != nil || len(res[1].Msgs) != 1 {
		c.Fatalf("both in one call: %+v", res)
	}
}

func epochsRise(c *check) {
	last := int64(0)
	for i := range 12 {
		l := c.acquire(queue.NodeID(fmt.Sprint("node-", i%3)), 1)
		if l.Epoch <= last || l.Tracker != 1 || l.Node != queue.NodeID(fmt.Sprint("node-", i%3)) {
			c.Fatalf("lease %+v after epoch %d", l, last)
		}
		last = l.Epoch
		if i%4 == 1 {
			if _, err := c.Store.Release(c.Context(), []queue.Lease{l}); err != nil {
				c.Fatal(err)
			}
		}
		if i%4 == 3 {
			c.reopen()
		}
	}
}

func releaseOld(c *check) {
	wakes := c.subscribe("b")
	old := c.acquire("a", 1)
	now := c.acquire("b", 1)
	done, err := c.Store.Release(c.Context(), []queue.Lease{old})
	c.must(err)
	if done[0] {
		c.Fatal("an old epoch was released")
	}
	id := c.send(1, "still b's")[0]
	if w := wakes.next(); w.Kind != queue.WakeMessage || w.Msg.ID != id || w.Epoch != now.Epoch {
		c.Fatalf("wake %+v", w)
	}
	done, err = c.Store.Release(c.Context(), []queue.Lease{now})
	c.must(err)
	if !done[0] {
		c.Fatal("the current epoch was not released")
	}
	c.send(1, "nobody's")
	l := c.acquire("b", 1)
	last := c.send(1, "b's again")[0]
	if w := wakes.next(); w.Msg.ID != last || w.Epoch != l.Epoch {
		c.Fatalf("wake %+v, want only %d", w, last)
	}
}

func peekFinds(c *check) {
	leases := make([]queue.Lease, 0, 100)
	for t := range queue.TrackerID(100) {
		leases = append(leases, c.acquire("a", t+1))
	}
	sent := c.sendAll(queue.SendReq{Tracker: 7, Text: "x"}, queue.SendReq{Tracker: 93, Text: "x"},
		queue.SendReq{Tracker: 7, Text: "y"})
	c.ack(93, c.send(93, "z")[0])
	c.acquire("b", 50)
	c.reopen()
	res, err := c.Store.CheckLeases(c.Context(), leases)
	c.must(err)
	got := make(map[queue.TrackerID]queue.PeekResult)
	for _, r := range res {
		got[r.Tracker] = r
	}
	if len(res) != 3 || got[7].Pending != 2 || got[7].LastOut != sent[2] || got[93].Pending != 1 ||
		!got[50].Fenced || got[7].Fenced || got[50].Epoch != leases[49].Epoch {
		c.Fatalf("%+v", res)
	}
}

func leaseTells(c *check) {
	if l := c.acquire("a", 1); l.Pending != 0 || l.LastOut != 0 {
		c.Fatalf("unused tracker: %+v", l)
	}
	sent := c.send(1, "a", "b", "c")
	c.ack(1, sent[2])
	c.receive(queue.Incoming{Tracker: 1, Text: "in"})
	for range 2 {
		if l := c.acquire("a", 1); l.Pending != 2 || l.LastOut != sent[2] {
			c.Fatalf("%+v, want 2 pending and %d", l, sent[2])
		}
		c.reopen()
	}
}

func claimRules() []rule {
	return []rule{
		{"20 pending only, oldest first, mixed sizes", claimPending},
		{"20 at least one, then no more than asked for", claimBytes},
		{"21 the cursor goes on without gap or repeat", claimCursor},
		{"claiming changes nothing", claimReads},
	}
}

func claimPending(c *check) {
	var want []int64
	for i := range 330 {
		id := c.send(1, strings.Repeat("x", 1+i*i%4000))[0]
		switch i % 7 {
		case 2:
			c.ack(1, id)
		case 3:
			c.end(1, id, queue.StatusCancelled, 0)
		case 5:
			c.receive(queue.Incoming{Tracker: 1, Text: "in"})
			want = append(want, id)
		default:
			want = append(want, id)
		}
	}
	l := c.acquire("a", 1)
	var got []queue.Message
	cursor := queue.Cursor(0)
	for more := true; more; {
		res := c.claim(l, cursor, 16<<10)
		got = append(got, res.Msgs...)
		cursor, more = res.Next, res.More
	}
	c.wantIDs(got, want)
	for _, m := range got {
		if m.Status != queue.StatusPending || m.Tracker != 1 || m.Text == "" {
			c.Fatalf("claimed %+v", m)
		}
	}
}

func claimBytes(c *check) {
	sent := c.send(1, strings.Repeat("a", 100), strings.Repeat("b", 100), strings.Repeat("c", 100))
	l := c.acquire("a", 1)
	for bytes, n := range map[int]int{
		0: 1, 1: 1, 100: 1, 199: 1, 200: 2, 299: 2, 300: 3,
		1 << 20: 3,
	} {
		res := c.claim(l, 0, bytes)
		if len(res.Msgs) != n || res.More != (n < 3) || res.Next == 0 {
			c.Fatalf("%d bytes: %d messages, more %v", bytes, len(res.Msgs), res.More)
		}
		c.wantIDs(res.Msgs, sent[:n])
	}
	for most, n := range []int{3, 1, 2, 3, 3} {
		res, err := c.Store.Claim(c.Context(), []queue.ClaimReq{
			{Lease: l, MaxBytes: 1 << 20, Max: most},
		})
		c.must(err)
		if len(res[0].Msgs) != n || res[0].More != (n < 3) {
			c.Fatalf("at most %d: %d messages, more %v", most, len(res[0].Msgs), res[0].More)
		}
		c.wantIDs(res[0].Msgs, sent[:n])
	}
}

func claimCursor(c *check) {
	l := c.acquire("a", 1)
	empty := c.claim(l, 0, 1000)
	if len(empty.Msgs) != 0 || empty.More {
		c.Fatalf("%+v", empty)
	}
	cursor := empty.Next
	for round := range 5 {
		sent := c.send(1, texts(3+round)...)
		var got []queue.Message
		for more := true; more; {
			res := c.claim(l, cursor, 20)
			got = append(got, res.Msgs...)
			cursor, more = res.Next, res.More
		}
		c.wantIDs(got, sent)
		if res := c.claim(l, cursor, 20); len(res.Msgs) != 0 || res.Next != cursor {
			c.Fatalf("after the end: %+v", res)
		}
		if round%2 == 0 {
			c.ack(1, sent[0])
		}
	}
}

func claimReads(c *check) {
	sent := c.send(1, "a", "b")
	before := c.list(1)
	l := c.acquire("a", 1)
	for range 3 {
		c.wantIDs(c.claim(l, 0, 1000).Msgs, sent)
	}
	for i, m := range c.list(1) {
		if m.Status != before[i].Status || m.ChangeMs != before[i].ChangeMs {
			c.Fatalf("%+v was %+v", m, before[i])
		}
	}
}

func rosterRules() []rule {
	return []rule{
		{"a tracker is online from acquire to release", onlineWhileOwned},
		{"touch notes when a device was heard of", touchNotes},
		{"presence is untouched by messages and survives a restart", presenceStays},
		{"the trackers of a dead node are offline", deadNodeOffline},
		{"nodes live as long as they report", nodesLive},
		{"a kick ends the ownership and tells the owner", kickEnds},
		{"presence of many trackers", presenceOfMany},
	}
}

func (c *check) beat(n queue.Node) { c.Helper(); c.must(c.Store.Heartbeat(c.Context(), n)) }

func (c *check) presence(t queue.TrackerID) queue.Presence {
	c.Helper()
	known, err := c.Store.Presence(c.Context(), []queue.TrackerID{t})
	c.must(err)
	if p, ok := known[t]; ok != (p != queue.Presence{}) {
		c.Fatalf("an empty presence has an entry: %+v", known)
	}
	return known[t]
}

func (c *check) wantPresence(t queue.TrackerID, want queue.Presence) {
	c.Helper()
	if got := c.presence(t); got != want {
		c.Fatalf("presence of %d is %+v, want %+v", t, got, want)
	}
}

// ms is the fixture's clock; without a settable one these rules could only be vague.
func (c *check) ms() int64 { return c.Clock.Now().UnixMilli() }

func (c *check) release(l queue.Lease) bool {
	c.Helper()
	done, err := c.Store.Release(c.Context(), []queue.Lease{l})
	c.must(err)
	return done[0]
}

func onlineWhileOwned(c *check) {
	c.beat(queue.Node{ID: "a"})
	c.beat(queue.Node{ID: "b"})
	c.wantPresence(1, queue.Presence{})
	c.send(1, "a message makes nobody online")
	c.wantPresence(1, queue.Presence{})
	first := c.acquire("a", 1)
	login := c.ms()
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: login, SeenMs: login})
	c.Clock.Advance(time.Second)
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: login, SeenMs: login})
	second := c.acquire("b", 1)
	moved := c.ms()
	if c.release(first) {
		c.Fatal("an old lease was released")
	}
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: moved, SeenMs: moved})
	c.Clock.Advance(5 * time.Second)
	second.SeenMs = c.ms() - 2000
	c.release(second)
	c.wantPresence(1, queue.Presence{SinceMs: c.ms(), SeenMs: second.SeenMs})
	off := c.ms()
	c.Clock.Advance(time.Second)
	second.SeenMs = c.ms()
	if !c.release(second) {
		c.Fatal("a second release of the current epoch")
	}
	// there was nothing to give up any more.
	c.wantPresence(1, queue.Presence{SinceMs: off, SeenMs: off - 2000})
	third := c.acquire("a", 1)
	login = c.ms()
	c.Clock.Advance(time.Second)
	c.release(third) // SeenMs 0: not told
	c.wantPresence(1, queue.Presence{SinceMs: c.ms(), SeenMs: login})
}

func touchNotes(c *check) {
	c.beat(queue.Node{ID: "a"})
	old := c.acquire("a", 1)
	l := c.acquire("a", 1)
	login := c.ms()
	touch := func(l queue.Lease, ms int64) {
		c.Helper()
		l.SeenMs = ms
		c.must(c.Store.Touch(c.Context(), []queue.Lease{{Tracker: 99, Epoch: 7, SeenMs: ms}, l}))
	}
	c.Clock.Advance(10 * time.Second)
	touch(l, login+4000)
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: login, SeenMs: login + 4000})
	touch(l, login+3000)
	touch(old, login+5000)
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: login, SeenMs: login + 4000})
	touch(l, login+60_000) // a node whose clock is fast
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: login, SeenMs: login + 10_000})
	c.wantPresence(99, queue.Presence{})
	c.release(l)
	c.Clock.Advance(time.Second)
	touch(l, login+11_000)
	c.wantPresence(1, queue.Presence{SinceMs: login + 10_000, SeenMs: login + 10_000})
}

func presenceStays(c *check) {
	c.beat(queue.Node{ID: "a"})
	l := c.acquire("a", 1)
	c.release(l)
	want := c.presence(1)
	held := c.acquire("a", 2)
	c.Clock.Advance(time.Hour)
	id := c.send(1, texts(70)...)[3]
	c.receive(queue.Incoming{Tracker: 1, Text: "in"})
	c.ack(1, id)
	_, err := c.Store.MarkReadAll(c.Context(), []queue.TrackerID{1})
	c.must(err)
	c.send(2, texts(3)...)
	c.wantPresence(1, want)
	c.reopen()
	c.wantPresence(1, want)
	c.must(c.Store.Leave(c.Context(), "a"))
	if p := c.presence(2); p.Online || p.SeenMs == 0 || p.SinceMs == 0 {
		c.Fatalf("after its node left: %+v", p)
	}
	c.beat(queue.Node{ID: "a"})
	if p := c.presence(2); !p.Online {
		c.Fatalf("its lease %+v is still held: %+v", held, p)
	}
}

func deadNodeOffline(c *check) {
	c.beat(queue.Node{ID: "a"})
	c.beat(queue.Node{ID: "b"})
	la := c.acquire("a", 1)
	c.acquire("b", 2)
	login := c.ms()
	c.Clock.Advance(queue.NodeLife / 2)
	c.beat(queue.Node{ID: "a"})
	c.beat(queue.Node{ID: "b"})
	died := c.ms()
	c.Clock.Advance(queue.NodeLife - time.Second)
	c.beat(queue.Node{ID: "b"})
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: login, SeenMs: login})
	c.Clock.Advance(time.Second)
	c.wantPresence(1, queue.Presence{SinceMs: died, SeenMs: login})
	c.wantPresence(2, queue.Presence{Online: true, SinceMs: login, SeenMs: login})
	la.SeenMs = died + 1 // it was only cut off for a while
	c.must(c.Store.Touch(c.Context(), []queue.Lease{la}))
	c.wantPresence(1, queue.Presence{SinceMs: died + 1, SeenMs: died + 1})
	c.beat(queue.Node{ID: "a"})
	c.wantPresence(1, queue.Presence{Online: true, SinceMs: login, SeenMs: died + 1})
	c.acquire("never-reported", 3)
	if p := c.presence(3); p.Online {
		c.Fatalf("owned by a node that nobody knows: %+v", p)
	}
}

func nodesLive(c *check) {
	want := func(want ...queue.Node) {
		c.Helper()
		got, err := c.Store.Nodes(c.Context())
		c.must(err)
		if !slices.Equal(got, want) {
			c.Fatalf("nodes %+v, want %+v", got, want)
		}
	}
	want()
	start := c.ms()
	b := queue.Node{ID: "b", StartedMs: start - 5000, BeatMs: start, Sessions: 7}
	a := queue.Node{
		ID: "a", StartedMs: start - 9000, BeatMs: start, Sessions: 1_000_000,
		Draining: true,
	}
	c.beat(b)
	c.beat(queue.Node{
		ID: "a", StartedMs: a.StartedMs, Sessions: a.Sessions, Draining: true,
		BeatMs: 5,
	})
	want(a, b)
	c.Clock.Advance(queue.NodeLife - time.Millisecond)
	want(a, b)
	b.BeatMs, b.Sessions = c.ms(), 8
	c.beat(b)
	want(a, b)
	c.Clock.Advance(time.Millisecond)
	want(b)
	c.must(c.Store.Leave(c.Context(), "b"))
	c.must(c.Store.Leave(c.Context(), "unknown"))
	want()
	c.Clock.Advance(48 * time.Hour)
	b.BeatMs = c.ms()
	c.beat(b)
	want(b)
}

func kickEnds(c *check) {
	c.beat(queue.Node{ID: "a"})
	wakes := c.subscribe("a")
	l := c.acquire("a", 1)
	login := c.ms()
	c.Clock.Advance(time.Second)
	done, err := c.Store.Kick(c.Context(), []queue.TrackerID{1, 2})
	c.must(err)
	if !slices.Equal(done, []bool{true, false}) {
		c.Fatalf("kicked: %v", done)
	}
	if w := wakes.next(); w.Kind != queue.WakeKick || w.Tracker != 1 || w.Epoch != l.Epoch {
		c.Fatalf("wake %+v", w)
	}
	c.wantPresence(1, queue.Presence{SinceMs: c.ms(), SeenMs: login})
	c.wantPresence(2, queue.Presence{})
	if p, err := c.Store.CheckLeases(c.Context(), []queue.Lease{l}); err != nil || len(p) != 1 ||
		!p[0].Fenced {
		c.Fatalf("the old lease is not fenced: %+v, %v", p, err)
	}
	if c.release(l) {
		c.Fatal("the old lease could be released")
	}
	if done, err = c.Store.Kick(c.Context(), []queue.TrackerID{1}); err != nil || done[0] {
		c.Fatalf("nobody was left to kick: %v, %v", done, err)
	}
	if again := c.acquire("a", 1); again.Epoch <= l.Epoch {
		c.Fatalf("lease %+v after %+v", again, l)
	}
}

func presenceOfMany(c *check) {
	c.beat(queue.Node{ID: "a"})
	const trackers = 1100
	owned, all := make([]queue.TrackerID, 0, trackers), make([]queue.TrackerID, 0, trackers)
	for t := range queue.TrackerID(trackers) {
		all = append(all, t+1)
		if t%3 == 0 {
			owned = append(owned, t+1)
		}
	}
	_, err := c.Store.Acquire(c.Context(), "a", owned)
	c.must(err)
	known, err := c.Store.Presence(c.Context(), all)
	c.must(err)
	if len(known) != len(owned) {
		c.Fatalf("%d of %d are known", len(known), len(owned))
	}
	for _, t := range owned {
		if !known[t].Online {
			c.Fatalf("tracker %d: %+v", t, known[t])
		}
	}
	if known, err = c.Store.Presence(c.Context(), nil); err != nil || len(known) != 0 {
		c.Fatalf("of none: %v, %v", known, err)
	}
}
