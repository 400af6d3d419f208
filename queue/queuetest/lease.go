package queuetest

import (
	"errors"
	"fmt"
	"strings"

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
