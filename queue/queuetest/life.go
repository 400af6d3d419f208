package queuetest

import (
	"errors"
	"slices"

	"trackchat/queue"
)

func lifeRules() []rule {
	return []rule{
		{"everything survives a restart", survives},
		{"check finds a healthy store fit", checkFit},
		{"closed is closed", closed},
	}
}

func survives(c *check) {
	sent := c.sendAll(queue.SendReq{Tracker: 1, Text: "a", Choices: []string{"x"}},
		queue.SendReq{Tracker: 1, Text: "b"}, queue.SendReq{Tracker: 1, Text: "c"},
		queue.SendReq{Tracker: 1, Text: "d"})
	c.receive(keyed(1, 8))
	read := c.receive(queue.Incoming{Tracker: 1, Text: "read"}).ID
	c.mark(queue.Ref{Tracker: 1, ID: read})
	c.ack(1, sent[0])
	c.end(1, sent[1], queue.StatusFailed, queue.ReasonStorage)
	c.must(c.Store.Progress(c.Context(), []queue.ProgressReq{{
		Tracker: 1, ID: sent[2], Parts: 4,
		Acked: 2,
	}}))
	lease := c.acquire("a", 1)
	before := c.list(1)
	c.reopen()
	after := c.list(1)
	if !slices.EqualFunc(before, after, equal) {
		c.Fatalf("before %+v\nafter %+v", before, after)
	}
	if res := c.claim(lease, 0, 1000); res.Err != nil {
		c.Fatalf("the lease did not survive: %v", res.Err)
	}
	c.wantIDs(c.claim(lease, 0, 1000).Msgs, sent[2:])
	if n := c.unread(1); n != 1 {
		c.Fatalf("%d unread", n)
	}
}

// equal compares messages but for the hint, which is the store's own.
func equal(a, b queue.Message) bool {
	return a.ID == b.ID && a.Tracker == b.Tracker && a.Status == b.Status && a.Reason == b.Reason &&
		a.SubmitMs == b.SubmitMs && a.UpdateMs == b.UpdateMs &&
		a.ReadMs == b.ReadMs && a.ChangeMs == b.ChangeMs && a.ExpiresMs == b.ExpiresMs &&
		a.Employee == b.Employee && a.Parts == b.Parts && a.Acked == b.Acked &&
		a.Tries == b.Tries && a.TriedMs == b.TriedMs && a.Replaced == b.Replaced &&
		a.Text == b.Text && a.ReplyTo == b.ReplyTo && slices.Equal(a.Choices, b.Choices)
}

func checkFit(c *check) {
	c.send(1, "x")
	rep, err := c.Store.Check(c.Context())
	c.must(err)
	if len(rep.Problems) != 0 {
		c.Fatal(rep.Problems)
	}
	if !rep.Counted || rep.Pending != 1 {
		c.Errorf("%d messages are to be delivered, counted: %v", rep.Pending, rep.Counted)
	}
}

func closed(c *check) {
	c.send(1, "x")
	c.must(c.Store.Close())
	c.must(c.Store.Close())
	ctx, s := c.Context(), c.Store
	for name, call := range map[string]func() error{
		"Send": func() error {
			_, err := s.Send(ctx, []queue.SendReq{{
				Tracker: 1,
				Text:    "x",
			}})
			return err
		},
		"Receive": func() error {
			_, err := s.Receive(ctx, []queue.Incoming{{
				Tracker: 1,
				Text:    "x",
			}})
			return err
		},
		"Ack": func() error {
			_, err := s.Ack(ctx,
				[]queue.AckReq{{Tracker: 1, ID: 1}})
			return err
		},
		"List": func() error {
			_, err := s.List(ctx, queue.ListQuery{
				Tracker: 1,
				Limit:   1,
			})
			return err
		},
		"Claim":     func() error { _, err := s.Claim(ctx, []queue.ClaimReq{{}}); return err },
		"Listen":    func() error { return s.Listen(ctx, "a", func([]queue.Wake) {}) },
		"Check":     func() error { _, err := s.Check(ctx); return err },
		"Directory": func() error { _, _, err := s.LoadDirectory(ctx); return err },
	} {
		if err := call(); !errors.Is(err, queue.ErrUnavailable) {
			c.Errorf("%s: %v", name, err)
		}
	}
	c.reopen()
	if n := len(c.list(1)); n != 1 {
		c.Fatalf("%d messages after closing and opening", n)
	}
}
