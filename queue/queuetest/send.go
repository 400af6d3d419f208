package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"trackchat/queue"
)

func sendRules() []rule {
	return []rule{
		{"01 ids are unique and in range under 64 senders", idsUnique},
		{"02 ids rise per tracker in the order of replies", idsRise},
		{"03 ids are not used again after a restart", idsAfterRestart},
		{"04 results belong to their requests", batchResults},
		{"05 long texts round-trip and longer ones are refused", longTexts},
		{"06 empty batches", emptyBatches},
		{"07 a key makes a repetition harmless", keyRepeats},
		{"07 a key lives for 24 hours", keyExpires},
		{"08 the same text twice is two messages", sameText},
		{"09 submit time never decreases", submitTime},
		{"10 a done context stores nothing", doneContext},
		{"a full tracker refuses more", queueFull},
		{"every field round-trips", fields},
	}
}

func idsUnique(c *check) {
	const senders, each = 64, 20
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			for i := range each {
				res, err := c.Store.Send(c.Context(),
					[]queue.SendReq{{Tracker: queue.TrackerID(g%7 + 1), Text: fmt.Sprint(g, i)}})
				if err != nil || res[0].Err != nil {
					c.Errorf("send: %v %v", res, err)
					return
				}
				mu.Lock()
				if id := res[0].ID; id <= 0 || id >= queue.MaxID || seen[id] {
					c.Errorf("id %d: out of range or given twice", id)
				}
				seen[res[0].ID] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != senders*each {
		c.Fatalf("%d ids for %d messages", len(seen), senders*each)
	}
}

func idsRise(c *check) {
	stores := []queue.Store{c.Store, c.Store}
	if c.Another != nil {
		stores[1] = c.Another(c.T)
	}
	last := int64(0)
	for i := range 100 {
		res, err := stores[i%2].Send(c.Context(), []queue.SendReq{
			{Tracker: 5, Text: "a"},
			{Tracker: 5, Text: "b"},
		})
		c.must(err)
		for _, r := range res {
			if r.ID <= last {
				c.Fatalf("id %d after %d", r.ID, last)
			}
			last = r.ID
		}
	}
}

func idsAfterRestart(c *check) {
	last := int64(0)
	for range 4 {
		for _, id := range c.send(1, texts(70)...) {
			if id <= last {
				c.Fatalf("id %d after %d", id, last)
			}
			last = id
		}
		c.reopen()
	}
	if n := len(c.list(1)); n != 4*70 {
		c.Fatalf("%d messages after restarts", n)
	}
}

func batchResults(c *check) {
	long := strings.Repeat("x", queue.MaxText+1)
	res := c.try(queue.SendReq{Tracker: 1, Text: "one"}, queue.SendReq{Tracker: 2, Text: long},
		queue.SendReq{Tracker: 3, Text: "three"})
	if res[0].Err != nil || !errors.Is(res[1].Err, queue.ErrTooLarge) || res[1].ID != 0 ||
		res[2].Err != nil {
		c.Fatalf("results %+v", res)
	}
	for i, t := range []queue.TrackerID{1, 3} {
		if msgs := c.list(t); len(msgs) != 1 || msgs[0].ID != res[2*i].ID ||
			msgs[0].Text != []string{"one", "three"}[i] {
			c.Fatalf("tracker %d has %+v", t, msgs)
		}
	}
	if msgs := c.list(2); len(msgs) != 0 {
		c.Fatalf("the refused message was stored: %d", len(msgs))
	}
}

func longTexts(c *check) {
	for _, text := range []string{
		strings.Repeat("𝕏", queue.MaxText), "a\x00b\r\n\tc", "ASCII", "Grüße, мир, 世界",
		"\xff\xfe not UTF-8", " ",
	} {
		id := c.send(1, text)[0]
		if got := c.get(1, id).Text; got != text {
			c.Fatalf("text of %d bytes came back as %d bytes", len(text), len(got))
		}
		in := c.receive(queue.Incoming{Tracker: 2, Text: text})
		if got := c.get(2, in.ID).Text; got != text {
			c.Fatalf("incoming text of %d bytes came back as %d bytes", len(text), len(got))
		}
	}
	tooLong := strings.Repeat("𝕏", queue.MaxText+1)
	if r := c.try(queue.SendReq{Tracker: 3, Text: tooLong})[0]; !errors.Is(r.Err,
		queue.ErrTooLarge) {
		c.Fatalf("20,001 characters: %+v", r)
	}
	res, err := c.Store.Receive(c.Context(), []queue.Incoming{{Tracker: 3, Text: tooLong}})
	c.must(err)
	if !errors.Is(res[0].Err, queue.ErrTooLarge) || len(c.list(3)) != 0 {
		c.Fatalf("20,001 characters received: %+v", res[0])
	}
}

func emptyBatches(c *check) {
	ctx := c.Context()
	s := c.Store
	for name, call := range map[string]func() (int, error){
		"Send":     func() (int, error) { r, err := s.Send(ctx, nil); return len(r), err },
		"Find":     func() (int, error) { r, err := s.Find(ctx, nil); return len(r), err },
		"MarkRead": func() (int, error) { r, err := s.MarkRead(ctx, nil); return len(r), err },
		"All":      func() (int, error) { return s.MarkReadAll(ctx, nil) },
		"Times":    func() (int, error) { r, err := s.LastTimes(ctx, nil); return len(r), err },
		"Unread":   func() (int, error) { r, err := s.Unread(ctx, nil); return len(r), err },
		"End":      func() (int, error) { r, err := s.End(ctx, nil); return len(r), err },
		"Acquire": func() (int, error) {
			r, err := s.Acquire(ctx, "n", nil)
			return len(r),
				err
		},
		"Release":  func() (int, error) { r, err := s.Release(ctx, nil); return len(r), err },
		"Claim":    func() (int, error) { r, err := s.Claim(ctx, nil); return len(r), err },
		"Ack":      func() (int, error) { r, err := s.Ack(ctx, nil); return len(r), err },
		"Progress": func() (int, error) { return 0, s.Progress(ctx, nil) },
		"Receive":  func() (int, error) { r, err := s.Receive(ctx, nil); return len(r), err },
		"CheckLeases": func() (int, error) {
			r, err := s.CheckLeases(ctx, nil)
			return len(r),
				err
		},
	} {
		if n, err := call(); n != 0 || err != nil {
			c.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func keyRepeats(c *check) {
	req := queue.SendReq{Tracker: 9, Text: "once", Key: "1/order 4711"}
	res := c.try(req, req, queue.SendReq{Tracker: 9, Text: "once", Key: "1/order 4712"},
		queue.SendReq{Tracker: 8, Text: "once", Key: "1/order 4711"})
	if res[0].Dup || !res[1].Dup || res[1].ID != res[0].ID || res[2].Dup || res[3].Dup {
		c.Fatalf("in one batch: %+v", res)
	}
	c.send(9, texts(100)...)
	c.reopen()
	if r := c.try(req)[0]; !r.Dup || r.ID != res[0].ID {
		c.Fatalf("repeated after 100 more and a restart: %+v", r)
	}
	if c.ack(9, res[0].ID) != queue.AckDelivered {
		c.Fatal("ack")
	}
	if r := c.try(req)[0]; !r.Dup || r.ID != res[0].ID {
		c.Fatalf("repeated after delivery: %+v", r)
	}
	if n := len(c.list(9)); n != 102 {
		c.Fatalf("%d messages", n)
	}
}

func keyExpires(c *check) {
	if c.Clock == nil {
		return // the store's own clock cannot be turned
	}
	req := queue.SendReq{Tracker: 9, Text: "once", Key: "k"}
	first := c.sendAll(req)[0]
	c.Clock.Advance(24*time.Hour - time.Second)
	if r := c.try(req)[0]; !r.Dup || r.ID != first {
		c.Fatalf("before 24 h: %+v", r)
	}
	c.Clock.Advance(2 * time.Second)
	if r := c.try(req)[0]; r.Dup || r.ID == first {
		c.Fatalf("after 24 h: %+v", r)
	}
	if r := c.try(req)[0]; !r.Dup || r.ID == first {
		c.Fatalf("the newer one is not remembered: %+v", r)
	}
}

func sameText(c *check) {
	a := c.send(1, "twice", "twice")
	b := c.send(1, "twice")
	c.wantIDs(c.list(1), []int64{a[0], a[1], b[0]})
}

func submitTime(c *check) {
	jumps := []time.Duration{
		0, time.Second, -time.Hour, 0, 30 * time.Minute, 2 * time.Hour,
		-time.Minute,
	}
	for _, d := range jumps {
		if c.Clock != nil {
			c.Clock.Advance(d)
		}
		c.send(1, "x")
		id := c.receive(queue.Incoming{Tracker: 1, Text: "y"}).ID
		if d < 0 {
			c.reopen()
		}
		if _, err := c.Store.MarkRead(c.Context(), []queue.Ref{{Tracker: 1, ID: id}}); err != nil {
			c.Fatal(err)
		}
	}
	msgs := c.list(1)
	if len(msgs) != 2*len(jumps) {
		c.Fatalf("%d messages", len(msgs))
	}
	for i, m := range msgs {
		if i > 0 && (m.SubmitMs < msgs[i-1].SubmitMs || m.ID <= msgs[i-1].ID) {
			c.Fatalf("message %d: submitted %d after %d", i, m.SubmitMs, msgs[i-1].SubmitMs)
		}
		if m.Status == queue.StatusRead && m.UpdateMs < m.SubmitMs {
			c.Fatalf("message %d was read %d ms before it came", i, m.SubmitMs-m.UpdateMs)
		}
	}
}

func doneContext(c *check) {
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	id := c.send(1, "there")[0]
	for name, call := range map[string]func() error{
		"Send": func() error {
			_, err := c.Store.Send(ctx, []queue.SendReq{{
				Tracker: 1,
				Text:    "no",
			}})
			return err
		},
		"Receive": func() error {
			_, err := c.Store.Receive(ctx, []queue.Incoming{{
				Tracker: 1,
				Text:    "no",
			}})
			return err
		},
		"Ack": func() error {
			_, err := c.Store.Ack(ctx,
				[]queue.AckReq{{Tracker: 1, ID: id}})
			return err
		},
		"List": func() error {
			_, err := c.Store.List(ctx, queue.ListQuery{Tracker: 1, ToMs: forever, Limit: 1})
			return err
		},
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			c.Errorf("%s: %v", name, err)
		}
	}
	c.wantIDs(c.list(1), []int64{id})
	c.wantStatus(1, id, queue.StatusPending)
}

func queueFull(c *check) {
	for sent := 0; sent < c.MaxPending; sent += 100 {
		c.send(4, texts(min(100, c.MaxPending-sent))...)
	}
	refused := queue.SendReq{Tracker: 4, Text: "too many", Key: "k"}
	for range 2 { // a refused request is not remembered as done
		res := c.try(refused, queue.SendReq{Tracker: 5, Text: "another tracker"})
		if !errors.Is(res[0].Err, queue.ErrQueueFull) || res[0].ID != 0 || res[1].Err != nil {
			c.Fatalf("results %+v", res)
		}
	}
	l := c.acquire("n", 4)
	if l.Pending != c.MaxPending {
		c.Fatalf("%d pending", l.Pending)
	}
	c.receive(queue.Incoming{Tracker: 4, Text: "the driver can still write"})
	c.ack(4, c.claim(l, 0, 1).Msgs[0].ID)
	c.sendAll(refused)
	if r := c.try(queue.SendReq{Tracker: 4, Text: "again"})[0]; !errors.Is(r.Err,
		queue.ErrQueueFull) {
		c.Fatalf("full again: %+v", r)
	}
	if r := c.try(refused)[0]; !r.Dup {
		c.Fatalf("a repetition while full: %+v", r)
	}
}

func fields(c *check) {
	first := c.send(1, "question")[0]
	req := queue.SendReq{
		Tracker: 1, Employee: 42, Text: "answer", ExpiresMs: 1_900_000_000_123,
		Choices: []string{"yes", "", "нет \"quoted\""}, ReplyTo: first, Urgent: true,
		Author: &queue.Author{Kind: queue.AuthorKey, ID: "af", Name: "ERP «нов»"},
	}
	id := c.sendAll(req)[0]
	urgent := c.sendAll(queue.SendReq{Tracker: 1, Text: "only urgent", Urgent: true})[0]
	in := c.receive(queue.Incoming{Tracker: 1, Employee: 43, Text: "reply", ReplyTo: id}).ID
	c.reopen()
	m := c.wantStatus(1, id, queue.StatusPending)
	if m.Tracker != 1 || m.Employee != 42 || m.Text != "answer" || m.ExpiresMs != req.ExpiresMs ||
		!slices.Equal(m.Choices, req.Choices) || m.ReplyTo != first ||
		!m.Urgent || !sameAuthor(m.Author, req.Author) {
		c.Fatalf("%+v", m)
	}
	if m.SubmitMs == 0 || m.UpdateMs != 0 || m.ReadMs != 0 || m.ChangeMs != m.SubmitMs ||
		m.Parts != 0 || m.Acked != 0 || m.Reason != 0 {
		c.Fatalf("a new message has %+v", m)
	}
	if m := c.wantStatus(1, urgent, queue.StatusPending); m.Text != "only urgent" || !m.Urgent {
		c.Fatalf("%+v", m)
	}
	if m := c.wantStatus(1, first, queue.StatusPending); m.Urgent {
		c.Fatalf("%+v", m)
	}
	m = c.wantStatus(1, in, queue.StatusUnread)
	if m.Employee != 43 || m.ReplyTo != id || m.Text != "reply" || m.UpdateMs != 0 ||
		m.Urgent {
		c.Fatalf("%+v", m)
	}
	if m := c.get(2, id); m.ID != 0 {
		c.Fatalf("another tracker gets %+v", m)
	}
	if m := c.get(1, id+1<<20); m.ID != 0 {
		c.Fatalf("an unknown id gets %+v", m)
	}
}
