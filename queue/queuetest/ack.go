package queuetest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
)

func ackRules() []rule {
	return []rule{
		{"29 delivered once, then already", ackOnce},
		{"29 64 concurrent acks, one delivers", ackConcurrent},
		{"30 out of order keeps the others pending", ackOutOfOrder},
		{"31 unknown, foreign and incoming ids change nothing", ackUnknown},
		{"32 a wrong hint changes nothing", ackHint},
		{"33 an old epoch is good enough", ackOldEpoch},
		{"opened", ackOpened},
		{"progress", progress},
		{"tries are kept while the message is pending", tries},
		{"unacknowledged", unacknowledged},
	}
}

func ackOnce(c *check) {
	id := c.send(1, "x")[0]
	if r := c.ack(1, id); r != queue.AckDelivered {
		c.Fatalf("first ack: %v", r)
	}
	first := c.wantStatus(1, id, queue.StatusDelivered)
	if c.Clock != nil {
		c.Clock.Advance(time.Minute)
	}
	c.reopen()
	for range 2 {
		if r := c.ack(1, id); r != queue.AckAlready {
			c.Fatalf("second ack: %v", r)
		}
	}
	if m := c.wantStatus(1, id, queue.StatusDelivered); m.UpdateMs != first.UpdateMs {
		c.Fatalf("update time moved from %d to %d", first.UpdateMs, m.UpdateMs)
	}
	res, err := c.Store.Ack(c.Context(), []queue.AckReq{
		{Tracker: 1, ID: c.send(1, "y")[0]},
		{Tracker: 1, ID: id},
		{Tracker: 1, ID: id + 1<<30},
	})
	c.must(err)
	if res[0] != queue.AckDelivered || res[1] != queue.AckAlready || res[2] != queue.AckUnknown {
		c.Fatalf("in one batch: %v", res)
	}
}

func ackConcurrent(c *check) {
	for range 10 {
		id := c.send(1, "x")[0]
		var delivered, already atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				res, err := c.Store.Ack(c.Context(), []queue.AckReq{{Tracker: 1, ID: id}})
				if err != nil {
					c.Errorf("ack: %v", err)
					return
				}
				switch res[0] {
				case queue.AckDelivered:
					delivered.Add(1)
				case queue.AckAlready:
					already.Add(1)
				default:
					c.Errorf("ack of a message that is there: %v", res[0])
				}
			})
		}
		wg.Wait()
		if delivered.Load() != 1 || already.Load() != 63 {
			c.Fatalf("%d delivered, %d already", delivered.Load(), already.Load())
		}
	}
	if n := c.pending(1); n != 0 {
		c.Fatalf("%d pending", n)
	}
}

func ackOutOfOrder(c *check) {
	sent := c.send(1, texts(5)...)
	l := c.acquire("a", 1)
	c.ack(1, sent[3])
	c.ack(1, sent[1])
	c.wantIDs(c.claim(l, 0, 1000).Msgs, []int64{sent[0], sent[2], sent[4]})
	if n := c.pending(1); n != 3 {
		c.Fatalf("%d pending", n)
	}
}

func ackUnknown(c *check) {
	id := c.send(1, "x")[0]
	in := c.receive(queue.Incoming{Tracker: 1, Text: "in"}).ID
	other := c.send(2, "other")[0]
	for _, r := range []queue.AckReq{
		{Tracker: 1, ID: id + 1},
		{Tracker: 1, ID: 0},
		{Tracker: 1, ID: -5},
		{Tracker: 1, ID: queue.MaxID - 1},
		{Tracker: 1, ID: other},
		{Tracker: 2, ID: id},
		{Tracker: 1, ID: in},
		{Tracker: 1, ID: in, Opened: true},
		{Tracker: 77, ID: id},
	} {
		if got := c.ackAs(r); got != queue.AckUnknown {
			c.Fatalf("ack %+v: %v", r, got)
		}
	}
	c.wantStatus(1, id, queue.StatusPending)
	c.wantStatus(1, in, queue.StatusUnread)
	c.wantStatus(2, other, queue.StatusPending)
	if a, b, u := c.pending(1), c.pending(2), c.unread(1); a != 1 || b != 1 || u != 1 {
		c.Fatalf("%d and %d pending, %d unread", a, b, u)
	}
}

func ackHint(c *check) {
	sent := c.send(1, texts(20)...)
	l := c.acquire("a", 1)
	hint := c.claim(l, 0, 1).Msgs[0].Hint
	for i, id := range sent {
		before := c.list(1)
		if r := c.ackAs(queue.AckReq{Tracker: 1, ID: id, Hint: hint +
			int64(i*7-3)}); r != queue.AckDelivered {
			c.Fatalf("message %d: %v", i, r)
		}
		for k, m := range c.list(1) {
			if k != i && (m.Status != before[k].Status || m.Text != before[k].Text ||
				m.UpdateMs != before[k].UpdateMs) {
				c.Fatalf("the ack of message %d changed %d", i, k)
			}
		}
	}
}

func ackOldEpoch(c *check) {
	id := c.send(1, "x")[0]
	c.acquire("a", 1)
	c.acquire("b", 1)
	if r := c.ack(1, id); r != queue.AckDelivered {
		c.Fatal(r)
	}
}

func ackOpened(c *check) {
	sent := c.send(1, "a", "b")
	if r := c.ackAs(queue.AckReq{Tracker: 1, ID: sent[0], Opened: true}); r != queue.AckDelivered {
		c.Fatal(r)
	}
	if m := c.wantStatus(1, sent[0], queue.StatusOpened); m.ReadMs == 0 || m.UpdateMs == 0 {
		c.Fatalf("%+v", m)
	}
	c.ack(1, sent[1])
	acked := c.wantStatus(1, sent[1], queue.StatusDelivered)
	if c.Clock != nil {
		c.Clock.Advance(time.Minute)
	}
	for range 2 {
		if r := c.ackAs(queue.AckReq{
			Tracker: 1, ID: sent[1],
			Opened: true,
		}); r != queue.AckAlready {
			c.Fatal(r)
		}
		if r := c.ack(1, sent[1]); r != queue.AckAlready {
			c.Fatal(r)
		}
	}
	if m := c.wantStatus(1, sent[1], queue.StatusOpened); m.UpdateMs != acked.UpdateMs ||
		m.ReadMs < m.UpdateMs || m.ChangeMs != m.ReadMs {
		c.Fatalf("%+v, delivered at %d", m, acked.UpdateMs)
	}
	if n := c.pending(1); n != 0 {
		c.Fatalf("%d pending", n)
	}
}

func progress(c *check) {
	id := c.send(1, "long")[0]
	done := c.send(1, "done")[0]
	c.ack(1, done)
	for _, step := range []struct{ parts, acked, wantParts, wantAcked int }{
		{7, 0, 7, 0},
		{7, 3, 7, 3},
		{7, 2, 7, 3},
		{7, 8, 7, 3},
		{7, -1, 7, 3},
		{5, 1, 5, 1},
		{5, 4, 5, 4},
	} {
		c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{
			{Tracker: 1, ID: id, Parts: step.parts, Acked: step.acked}, {
				Tracker: 1, ID: done,
				Parts: 9, Acked: 1,
			}, {Tracker: 2, ID: id, Parts: 9, Acked: 9},
		}))
		if m := c.wantStatus(1, id, queue.StatusPending); m.Parts != step.wantParts ||
			m.Acked != step.wantAcked || m.UpdateMs != 0 {
			c.Fatalf("after %+v: %+v", step, m)
		}
	}
	if m := c.wantStatus(1, done, queue.StatusDelivered); m.Parts != 0 {
		c.Fatalf("a delivered message began again: %+v", m)
	}
	c.reopen()
	if m := c.claim(c.acquire("a", 1), 0, 100).Msgs[0]; m.ID != id || m.Parts != 5 || m.Acked != 4 {
		c.Fatalf("claimed %+v", m)
	}
	c.ack(1, id)
	if m := c.wantStatus(1, id, queue.StatusDelivered); m.Parts != 5 || m.Acked != 5 {
		c.Fatalf("delivered %+v", m)
	}
}

func tries(c *check) {
	const first = 1_000_000 // long past
	sent := c.send(1, texts(6)...)
	note := func(i, acked, tries int, ms int64) {
		c.Helper()
		c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{
			{Tracker: 1, ID: sent[i], Parts: 2, Acked: acked, Tries: tries, TriedMs: ms},
		}))
	}
	for _, step := range []struct {
		acked, tries int
		ms           int64
		wantTries    int
		wantMs       int64
	}{
		{0, 1, first, 1, first},
		{0, 2, first, 2, first},
		{0, 1, first + 1, 2, first}, // late
		{0, 3, 0, 2, first},         // from here on nonsense
		{0, 0, 5, 2, first},
		{0, -1, 5, 2, first},
		{0, queue.MaxTries + 1, 5, 2, first},
		{1, 0, 0, 0, 0},            // the device has answered
		{0, 9, first + 2, 0, 0},    // late
		{1, 1, forever >> 8, 1, 0}, // by a clock that is ahead: that of the store counts
		{1, queue.MaxTries, first, queue.MaxTries, first},
	} {
		note(0, step.acked, step.tries, step.ms)
		m := c.wantStatus(1, sent[0], queue.StatusPending)
		if step.wantTries > 0 && step.wantMs == 0 {
			step.wantMs = m.ChangeMs
		}
		if m.Tries != step.wantTries || m.TriedMs != step.wantMs || m.Reason != queue.ReasonNone ||
			m.ReadMs != 0 {
			c.Fatalf("after %+v: %+v", step, m)
		}
	}
	if m := c.get(1, sent[1]); m.Tries != 0 || m.TriedMs != 0 {
		c.Fatalf("never tried: %+v", m)
	}
	for i := range sent[1:] {
		note(i+1, 0, 4, first)
	}
	c.reopen()
	if m := c.claim(c.acquire("a", 1), 0, 1000).Msgs[2]; m.Tries != 4 || m.TriedMs != first {
		c.Fatalf("claimed %+v", m)
	}
	c.ack(1, sent[1])
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[2], Opened: true})
	c.end(1, sent[3], queue.StatusFailed, queue.ReasonNotConfirmed)
	c.end(1, sent[4], queue.StatusExpired, 0)
	c.end(1, sent[5], queue.StatusFailed, queue.ReasonStorage)
	c.ack(1, sent[5]) // late
	for _, id := range sent[1:] {
		if m := c.get(1, id); m.Tries != 0 || m.TriedMs != 0 ||
			(m.ReadMs != 0) != (m.Status == queue.StatusOpened) {
			c.Fatalf("not pending any more: %+v", m)
		}
	}
	if m := c.get(1, sent[3]); m.Reason != queue.ReasonNotConfirmed {
		c.Fatalf("failed for %v", m.Reason)
	}
}

func unacknowledged(c *check) {
	sent := c.send(1, texts(80)...)
	c.receive(queue.Incoming{Tracker: 1, Text: "in"})
	c.send(2, "other")
	ends := []queue.Status{
		queue.StatusFailed, queue.StatusExpired, queue.StatusCancelled,
		queue.StatusSent,
	}
	var want []int64
	for i, id := range slices.Backward(sent) {
		switch i % 3 {
		case 0:
			c.ackAs(queue.AckReq{Tracker: 1, ID: id, Opened: i%2 == 0})
			continue
		case 1:
			c.end(1, id, ends[i%4], 0)
		}
		want = append(want, id)
	}
	for limit, n := range map[int]int{1: 1, 10: 10, 64: min(64, len(want))} {
		got, err := c.Store.Unacknowledged(c.Context(), 1, limit)
		c.must(err)
		c.wantIDs(got, want[:n])
	}
	got, err := c.Store.Unacknowledged(c.Context(), 3, 5)
	c.must(err)
	c.wantIDs(got, nil)
}

func endRules() []rule {
	return []rule{
		{"each end takes the message off the queue", ends},
		{"a late ack still delivers", lateAck},
		{"ending twice or after the ack changes nothing", endTwice},
		{"ending what is not there", endUnknown},
		{"replaced characters are kept with what the device has", replacedKept},
	}
}

func replacedKept(c *check) {
	const most = queue.MaxText
	sent := c.send(1, texts(8)...)
	for i, id := range append(slices.Clone(sent[3:6]), sent[7]) {
		c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{{
			Tracker: 1, ID: id, Parts: 3 + i,
			Acked: 2,
		}}))
	}
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[0], Replaced: 5})
	// the first ack counts.
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[0], Replaced: 9, Opened: true})
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[1], Replaced: most, Opened: true})
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[2]})
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[3], Replaced: 300})
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[4], Replaced: 4})
	for _, r := range []queue.EndReq{
		{Tracker: 1, ID: sent[5], Status: queue.StatusSent, Replaced: 258},
		{Tracker: 1, ID: sent[7], Status: queue.StatusSent},
		{
			Tracker: 1, ID: sent[6], Status: queue.StatusFailed, Reason: queue.ReasonStorage,
			Replaced: 7,
		},
	} {
		res, err := c.Store.End(c.Context(), []queue.EndReq{r})
		c.must(err)
		if res[0] != queue.EndNow {
			c.Fatalf("%+v: %d", r, res[0])
		}
	}
	c.reopen()
	for i, want := range []queue.Message{
		{Status: queue.StatusOpened, Replaced: 5},
		{Status: queue.StatusOpened, Replaced: most},
		{Status: queue.StatusDelivered},
		{Status: queue.StatusDelivered, Replaced: 300, Parts: 3, Acked: 3},
		{Status: queue.StatusDelivered, Replaced: 4, Parts: 4, Acked: 4},
		// what is sent to a device that cannot confirm has no acknowledged parts.
		{Status: queue.StatusSent, Replaced: 258, Parts: 5},
		{Status: queue.StatusFailed, Reason: queue.ReasonStorage},
		{Status: queue.StatusSent, Parts: 6},
	} {
		if m := c.get(1, sent[i]); m.Status != want.Status || m.Replaced != want.Replaced ||
			m.Reason != want.Reason || m.Parts != want.Parts || m.Acked != want.Acked {
			c.Fatalf("message %d: %+v, want %+v", i, m, want)
		}
	}
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[5], Replaced: 258})
	c.ackAs(queue.AckReq{Tracker: 1, ID: sent[6], Replaced: 2})
	if a, b := c.wantStatus(1, sent[5], queue.StatusDelivered), c.wantStatus(1, sent[6],
		queue.StatusDelivered); a.Replaced != 258 || b.Replaced != 2 || b.Reason != 0 {
		c.Fatalf("%+v, %+v", a, b)
	}
}

func ends(c *check) {
	for st, why := range map[queue.Status]queue.Reason{
		queue.StatusFailed: queue.ReasonRefused, queue.StatusExpired: 0, queue.StatusCancelled: 0,
		queue.StatusSent: 0,
	} {
		id := c.send(1, "x")[0]
		if r := c.end(1, id, st, why); r != queue.EndNow {
			c.Fatalf("%q: %v", st, r)
		}
		if m := c.wantStatus(1, id, st); m.Reason != why || m.UpdateMs != 0 ||
			m.ChangeMs < m.SubmitMs {
			c.Fatalf("%+v", m)
		}
	}
	id := c.send(1, "y")[0]
	l := c.acquire("a", 1)
	if l.Pending != 1 {
		c.Fatalf("%d pending", l.Pending)
	}
	c.wantIDs(c.claim(l, 0, 100).Msgs, []int64{id})
	for _, st := range []queue.Status{
		queue.StatusDelivered, queue.StatusPending,
		queue.StatusUnread, 0,
	} {
		if _, err := c.Store.End(c.Context(), []queue.EndReq{{
			Tracker: 1, ID: id,
			Status: st,
		}}); err == nil {
			c.Fatalf("%q was taken for an end", st)
		}
	}
	c.wantStatus(1, id, queue.StatusPending)
}

func lateAck(c *check) {
	for _, st := range []queue.Status{
		queue.StatusFailed, queue.StatusExpired,
		queue.StatusCancelled, queue.StatusSent,
	} {
		sent := c.send(1, "x", "y")
		c.end(1, sent[0], st, queue.ReasonNotConfirmed)
		c.end(1, sent[1], st, queue.ReasonNotConfirmed)
		c.reopen()
		if r := c.ack(1, sent[0]); r != queue.AckDelivered {
			c.Fatalf("%q: %v", st, r)
		}
		if r := c.ack(1, sent[0]); r != queue.AckAlready {
			c.Fatalf("%q again: %v", st, r)
		}
		if m := c.wantStatus(1, sent[0], queue.StatusDelivered); m.UpdateMs == 0 ||
			m.Reason != queue.ReasonNone {
			c.Fatalf("%+v", m)
		}
		if r := c.ackAs(queue.AckReq{
			Tracker: 1, ID: sent[1],
			Opened: true,
		}); r != queue.AckDelivered {
			c.Fatalf("%q opened: %v", st, r)
		}
		c.wantStatus(1, sent[1], queue.StatusOpened)
	}
	if n := c.pending(1); n != 0 {
		c.Fatalf("%d pending", n)
	}
}

func endTwice(c *check) {
	sent := c.send(1, "x", "y", "z")
	c.end(1, sent[0], queue.StatusFailed, queue.ReasonRefused)
	c.ack(1, sent[1])
	for _, id := range sent[:2] {
		if r := c.end(1, id, queue.StatusCancelled, 0); r != queue.EndAlready {
			c.Fatalf("message %d: %v", id, r)
		}
	}
	if m := c.wantStatus(1, sent[0], queue.StatusFailed); m.Reason != queue.ReasonRefused {
		c.Fatalf("%+v", m)
	}
	c.wantStatus(1, sent[1], queue.StatusDelivered)
	if n := c.pending(1); n != 1 {
		c.Fatalf("%d pending", n)
	}
}

func endUnknown(c *check) {
	id := c.send(1, "x")[0]
	in := c.receive(queue.Incoming{Tracker: 1, Text: "in"}).ID
	for _, ref := range []queue.Ref{
		{Tracker: 1, ID: in},
		{Tracker: 2, ID: id},
		{Tracker: 1, ID: id + 1<<30},
		{Tracker: 1},
	} {
		if r := c.end(ref.Tracker, ref.ID, queue.StatusCancelled, 0); r != queue.EndUnknown {
			c.Fatalf("%+v: %v", ref, r)
		}
	}
	c.wantStatus(1, id, queue.StatusPending)
	c.wantStatus(1, in, queue.StatusUnread)
}
