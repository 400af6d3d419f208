package queuetest

import (
	"slices"
	"time"

	"trackchat/queue"
)

func receiveRules() []rule {
	return []rule{
		{"36 the same key is stored once", keyOnce},
		{"37 another key or none is a new message", keyOther},
		{"38 the 33rd key evicts the oldest only", keyEvicts},
		{"39 unread counts new messages only", unreadCounts},
		{"a key means the same text for its window", keyWindow},
		{"without ids a copy comes under another epoch", keyEpoch},
		{"a copy stands for one stored text", keyEpochEach},
	}
}

// keyed is a text with a device key that stays known for a day.
func keyed(t queue.TrackerID, key uint64) queue.Incoming {
	return queue.Incoming{Tracker: t, Text: "text", Key: key, Window: 24 * time.Hour}
}

func keyOnce(c *check) {
	in := keyed(1, 99)
	res, err := c.Store.Receive(c.Context(), []queue.Incoming{in, in})
	c.must(err)
	if res[0].Dup || !res[1].Dup || res[1].ID != res[0].ID {
		c.Fatalf("in one batch: %+v", res)
	}
	for range 2 {
		if r := c.receive(in); !r.Dup || r.ID != res[0].ID {
			c.Fatalf("repeated: %+v", r)
		}
		c.reopen()
	}
	c.wantIDs(c.list(1), []int64{res[0].ID})
}

func keyOther(c *check) {
	first := c.receive(keyed(1, 5))
	for _, in := range []queue.Incoming{
		keyed(1, 6), keyed(2, 5),
		{Tracker: 1, Text: "text"},
		{Tracker: 1, Text: "text"},
	} {
		if r := c.receive(in); r.Dup || r.ID == first.ID {
			c.Fatalf("%+v: %+v", in, r)
		}
	}
	if n := len(c.list(1)); n != 4 {
		c.Fatalf("%d messages", n)
	}
}

func keyEvicts(c *check) {
	got := make([]int64, 0, 33)
	for key := range uint64(33) {
		got = append(got, c.receive(keyed(1, key+1)).ID)
		c.receive(queue.Incoming{Tracker: 1, Text: "without a key"})
	}
	c.reopen()
	for key := uint64(2); key <= 33; key++ {
		if r := c.receive(keyed(1, key)); !r.Dup || r.ID != got[key-1] {
			c.Fatalf("key %d: %+v", key, r)
		}
	}
	if r := c.receive(keyed(1, 1)); r.Dup {
		c.Fatalf("the oldest of 33 is still known: %+v", r)
	}
}

func unreadCounts(c *check) {
	for i := range 5 {
		c.receive(keyed(1, 1))
		c.receive(keyed(1, uint64(i+2)))
		if n := c.unread(1); n != i+2 {
			c.Fatalf("%d unread after %d texts", n, i+2)
		}
	}
	c.send(1, "outgoing does not count")
	c.reopen()
	if n := c.unread(1); n != 6 {
		c.Fatalf("%d unread", n)
	}
}

func keyWindow(c *check) {
	if c.Clock == nil {
		return // the store's own clock cannot be turned
	}
	in := queue.Incoming{Tracker: 1, Text: "OK", Key: 7, Window: time.Minute}
	first := c.receive(in)
	c.Clock.Advance(59 * time.Second)
	if r := c.receive(in); !r.Dup || r.ID != first.ID {
		c.Fatalf("within the window: %+v", r)
	}
	c.Clock.Advance(2 * time.Second)
	second := c.receive(in)
	if second.Dup {
		c.Fatal("after the window: repeated")
	}
	if r := c.receive(in); !r.Dup || r.ID != second.ID {
		c.Fatalf("the newer one: %+v", r)
	}
	in.Window = 0
	if r := c.receive(in); r.Dup {
		c.Fatal("without a window: repeated")
	}
}

func keyEpoch(c *check) {
	in := keyed(1, 7)
	in.Epoch = 3
	first := c.receive(in)
	second := c.receive(in)
	if first.Dup || second.Dup || first.ID == second.ID {
		c.Fatalf("twice under one epoch: %+v %+v", first, second)
	}
	in.Epoch = 4
	c.reopen()
	if r := c.receive(in); !r.Dup {
		c.Fatalf("under the next epoch: %+v", r)
	}
}

func keyEpochEach(c *check) {
	in := keyed(1, 7)
	in.Epoch = 3
	stored := []int64{c.receive(in).ID, c.receive(in).ID}
	in.Epoch = 4
	copies := make([]int64, 0, 2)
	for range 2 {
		r := c.receive(in)
		if !r.Dup {
			c.Fatalf("a copy was stored: %+v", r)
		}
		copies = append(copies, r.ID)
		c.reopen()
	}
	if !slices.Equal(stored, copies) {
		c.Fatalf("copies of %v, want %v", copies, stored)
	}
	if r := c.receive(in); r.Dup {
		c.Fatalf("a third text was taken for a copy: %+v", r)
	}
	if n := len(c.list(1)); n != 3 {
		c.Fatalf("%d messages", n)
	}
}

func readRules() []rule {
	return []rule{
		{"40 marking twice counts once", markTwice},
		{"40 all of a call or none", markNone},
		{"41 all, then a new one", markAll},
		{"41 many", markMany},
		{"42 counts and times of 1,000 trackers", manyTrackers},
		{"43 resolve", resolve},
	}
}

func (c *check) mark(refs ...queue.Ref) []queue.MarkResult {
	c.Helper()
	res, err := c.Store.MarkRead(c.Context(), refs)
	c.must(err)
	if len(res) != len(refs) {
		c.Fatalf("%d results for %d", len(res), len(refs))
	}
	return res
}

func (c *check) markAll(ts ...queue.TrackerID) int {
	c.Helper()
	n, err := c.Store.MarkReadAll(c.Context(), ts)
	c.must(err)
	return n
}

func markTwice(c *check) {
	a := c.receive(queue.Incoming{Tracker: 1, Text: "a"}).ID
	b := c.receive(queue.Incoming{Tracker: 2, Text: "b"}).ID
	if res := c.mark(queue.Ref{Tracker: 1, ID: a}, queue.Ref{Tracker: 2, ID: b},
		queue.Ref{Tracker: 1, ID: a}); !slices.Equal(res, []queue.MarkResult{
		queue.MarkNewly,
		queue.MarkNewly, queue.MarkAlready,
	}) {
		c.Fatal(res)
	}
	first := c.wantStatus(1, a, queue.StatusRead)
	if first.UpdateMs < first.SubmitMs || first.UpdateMs == 0 {
		c.Fatalf("%+v", first)
	}
	if c.Clock != nil {
		c.Clock.Advance(time.Minute)
	}
	if res := c.mark(queue.Ref{Tracker: 1, ID: a}); res[0] != queue.MarkAlready {
		c.Fatal(res)
	}
	if m := c.wantStatus(1, a, queue.StatusRead); m.UpdateMs != first.UpdateMs {
		c.Fatal("read time moved")
	}
	if n, m := c.unread(1), c.unread(2); n != 0 || m != 0 {
		c.Fatalf("%d and %d unread", n, m)
	}
}

func markNone(c *check) {
	in := c.receive(queue.Incoming{Tracker: 1, Text: "in"}).ID
	out := c.send(1, "out")[0]
	for _, bad := range []queue.Ref{
		{Tracker: 1, ID: out},
		{Tracker: 2, ID: in},
		{Tracker: 1, ID: in + 1},
		{Tracker: 1},
	} {
		for _, refs := range [][]queue.Ref{
			{{Tracker: 1, ID: in}, bad},
			{bad, {Tracker: 1, ID: in}},
		} {
			res := c.mark(refs...)
			for i, r := range refs {
				if (res[i] == queue.MarkUnknown) != (r == bad) {
					c.Fatalf("%+v: %v", refs, res)
				}
			}
		}
	}
	c.wantStatus(1, in, queue.StatusUnread)
	c.wantStatus(1, out, queue.StatusPending)
	if n := c.unread(1); n != 1 {
		c.Fatalf("%d unread", n)
	}
}

func markAll(c *check) {
	got := make([]int64, 0, 3)
	for range 3 {
		got = append(got, c.receive(queue.Incoming{Tracker: 1, Text: "in"}).ID)
	}
	c.receive(queue.Incoming{Tracker: 2, Text: "not asked for"})
	c.mark(queue.Ref{Tracker: 1, ID: got[1]})
	if n := c.markAll(1, 3); n != 2 {
		c.Fatalf("%d marked", n)
	}
	later := c.receive(queue.Incoming{Tracker: 1, Text: "later"}).ID
	if n := c.unread(1); n != 1 {
		c.Fatalf("%d unread", n)
	}
	if res := c.mark(queue.Ref{Tracker: 1, ID: got[0]}); res[0] != queue.MarkAlready {
		c.Fatal(res)
	}
	if n, m := c.unread(1), c.unread(2); n != 1 || m != 1 {
		c.Fatalf("%d and %d unread", n, m)
	}
	for _, id := range got {
		if m := c.wantStatus(1, id, queue.StatusRead); m.UpdateMs == 0 {
			c.Fatalf("%+v", m)
		}
	}
	c.wantStatus(1, later, queue.StatusUnread)
}

func markMany(c *check) {
	const n = 3000 // 2400 of tracker 1, 600 of tracker 2
	for range n / 100 {
		in := make([]queue.Incoming, 100)
		for i := range in {
			in[i] = queue.Incoming{Tracker: queue.TrackerID(1 + i%5/4), Text: "in"}
		}
		_, err := c.Store.Receive(c.Context(), in)
		c.must(err)
	}
	if got := c.markAll(1, 2, 1); got != n {
		c.Fatalf("%d marked", got)
	}
	if a, b, got := c.unread(1), c.unread(2), c.markAll(1, 2); a+b+got != 0 {
		c.Fatalf("%d and %d are left, %d marked again", a, b, got)
	}
	for _, m := range c.list(2) {
		if m.Status != queue.StatusRead || m.UpdateMs == 0 {
			c.Fatalf("%+v", m)
		}
	}
}

func manyTrackers(c *check) {
	ts := make([]queue.TrackerID, 0, 1000)
	in := make([]queue.Incoming, 0, 1000)
	for t := range queue.TrackerID(1000) {
		ts = append(ts, t+1)
		for range (t + 1) % 3 {
			in = append(in, queue.Incoming{Tracker: t + 1, Text: "in"})
		}
	}
	_, err := c.Store.Receive(c.Context(), in)
	c.must(err)
	c.send(3, "outgoing counts as a message")
	unread, err := c.Store.Unread(c.Context(), ts)
	c.must(err)
	times, err := c.Store.LastTimes(c.Context(), ts)
	c.must(err)
	for _, t := range ts {
		want := int(t) % 3
		if n, ok := unread[t]; n != want || ok != (want > 0) {
			c.Fatalf("tracker %d: %d unread (%v), want %d", t, n, ok, want)
		}
		if ms, ok := times[t]; ok != (want > 0 || t == 3) || ok && ms == 0 {
			c.Fatalf("tracker %d: last time %d (%v)", t, ms, ok)
		}
	}
	msgs := c.list(500)
	if last := msgs[len(msgs)-1]; times[500] != last.SubmitMs {
		c.Fatalf("last time %d, newest message %d", times[500], last.SubmitMs)
	}
}

func resolve(c *check) {
	out := c.send(7, "out")[0]
	in := c.receive(queue.Incoming{Tracker: 8, Text: "in"}).ID
	ask := []int64{in, out, out + 1<<30, 0, -1, queue.MaxID, out}
	found, err := c.Store.Find(c.Context(), ask)
	c.must(err)
	for i, want := range []queue.Message{
		{ID: in, Tracker: 8, Text: "in"},
		{ID: out, Tracker: 7, Text: "out"},
		{},
		{},
		{},
		{},
		{ID: out, Tracker: 7, Text: "out"},
	} {
		if m := found[i]; m.ID != want.ID || m.Tracker != want.Tracker || m.Text != want.Text {
			c.Fatalf("%d: %+v", ask[i], m)
		}
	}
	many := c.storeMany(9, 300)
	found, err = c.Store.Find(c.Context(), many)
	c.must(err)
	for i, want := range c.list(9) {
		if !equal(found[i], want) {
			c.Fatalf("%+v, listed %+v", found[i], want)
		}
	}
}
