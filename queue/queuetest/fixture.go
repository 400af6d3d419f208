// Package queuetest holds every queue.Store to one contract: Run is the suite, Machine compares
// random operations with Model, and Crash kills a process in the middle of its work. A backend's
// own tests call them.
package queuetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"trackchat/queue"
)

// Fixture is a fresh, empty store of the backend under test. Open registers its clean-up with t.
type Fixture struct {
	Store queue.Store
	// closes the store in an orderly way and opens it again over the same data.
	Reopen func(t *testing.T) queue.Store
	// a second instance beside the first, nil where the backend allows only one.
	Another func(t *testing.T) queue.Store
	// what the store takes the time from, nil if it has its own.
	Clock *Clock
	// undelivered messages of one tracker that the store was opened with.
	MaxPending int
}

// Clock is a settable clock.
type Clock struct{ ms atomic.Int64 }

// NewClock starts at a fixed moment.
func NewClock() *Clock {
	c := new(Clock)
	c.ms.Store(1_780_000_000_000)
	return c
}

// Now is the time for a store's options.
func (c *Clock) Now() time.Time { return time.UnixMilli(c.ms.Load()) }

// Advance moves the clock, also back.
func (c *Clock) Advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// rule is one subtest.
type rule struct {
	name string
	test func(c *check)
}

// Run holds the stores that open returns to the contract, one fresh store a rule.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, topic := range []struct {
		name  string
		rules []rule
	}{
		{"Send", sendRules()},
		{"List", listRules()},
		{"Lease", leaseRules()},
		{"Claim", claimRules()},
		{"Wake", wakeRules()},
		{"Ack", ackRules()},
		{"End", endRules()},
		{"Expire", expireRules()},
		{"Answer", answerRules()},
		{"Receive", receiveRules()},
		{"Read", readRules()},
		{"Changes", changesRules()},
		{"Watch", watchRules()},
		{"Webhook", webhookRules()},
		{"Broadcast", broadcastRules()},
		{"Trim", trimRules()},
		{"Roster", rosterRules()},
		{"Directory", directoryRules()},
		{"Life", lifeRules()},
	} {
		t.Run(topic.name, func(t *testing.T) {
			for _, r := range topic.rules {
				t.Run(r.name, func(t *testing.T) { r.test(&check{T: t, Fixture: open(t)}) })
			}
		})
	}
}

// check is a running rule with what rules have in common. Its methods end the test on errors that
// no rule expects.
type check struct {
	*testing.T
	Fixture
}

// forever is a list's upper bound after every message.
const forever = int64(1) << 52

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

func (c *check) reopen() { c.Helper(); c.Store = c.Reopen(c.T) }

// send stores one text each and returns the ids.
func (c *check) send(t queue.TrackerID, texts ...string) []int64 {
	c.Helper()
	reqs := make([]queue.SendReq, len(texts))
	for i, text := range texts {
		reqs[i] = queue.SendReq{Tracker: t, Text: text}
	}
	return c.sendAll(reqs...)
}

func (c *check) sendAll(reqs ...queue.SendReq) []int64 {
	c.Helper()
	ids := make([]int64, len(reqs))
	for i, r := range c.try(reqs...) {
		if r.Err != nil || r.ID <= 0 {
			c.Fatalf("send %d: %+v", i, r)
		}
		ids[i] = r.ID
	}
	return ids
}

// try is sendAll for requests that may be refused.
func (c *check) try(reqs ...queue.SendReq) []queue.SendResult {
	c.Helper()
	res, err := c.Store.Send(c.Context(), reqs)
	c.must(err)
	if len(res) != len(reqs) {
		c.Fatalf("%d results for %d requests", len(res), len(reqs))
	}
	return res
}

func (c *check) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *check) list(t queue.TrackerID) []queue.Message {
	c.Helper()
	return c.query(queue.ListQuery{Tracker: t, ToMs: forever, Limit: 1024})
}

func (c *check) query(q queue.ListQuery) []queue.Message {
	c.Helper()
	msgs, err := c.Store.List(c.Context(), q)
	c.must(err)
	return msgs
}

func (c *check) get(t queue.TrackerID, id int64) queue.Message {
	c.Helper()
	msgs, err := c.Store.Find(c.Context(), []int64{id})
	c.must(err)
	if msgs[0].Tracker != t {
		return queue.Message{}
	}
	return msgs[0]
}

// owners returns the trackers of messages, 0 where there is no such message.
func (c *check) owners(ids ...int64) []queue.TrackerID {
	c.Helper()
	msgs, err := c.Store.Find(c.Context(), ids)
	c.must(err)
	owners := make([]queue.TrackerID, len(msgs))
	for i := range msgs {
		owners[i] = msgs[i].Tracker
	}
	return owners
}

func (c *check) acquire(node queue.NodeID, t queue.TrackerID) queue.Lease {
	c.Helper()
	ls, err := c.Store.Acquire(c.Context(), node, []queue.TrackerID{t})
	c.must(err)
	return ls[0]
}

func (c *check) claim(l queue.Lease, from queue.Cursor, bytes int) queue.ClaimResult {
	c.Helper()
	res, err := c.Store.Claim(c.Context(), []queue.ClaimReq{{
		Lease: l, Cursor: from,
		MaxBytes: bytes,
	}})
	c.must(err)
	return res[0]
}

func (c *check) ack(t queue.TrackerID, id int64) queue.AckResult {
	c.Helper()
	return c.ackAs(queue.AckReq{Tracker: t, ID: id})
}

func (c *check) ackAs(r queue.AckReq) queue.AckResult {
	c.Helper()
	res, err := c.Store.Ack(c.Context(), []queue.AckReq{r})
	c.must(err)
	return res[0]
}

func (c *check) end(t queue.TrackerID, id int64, st queue.Status,
	why queue.Reason,
) queue.EndResult {
	c.Helper()
	res, err := c.Store.End(c.Context(), []queue.EndReq{{
		Tracker: t, ID: id, Status: st,
		Reason: why,
	}})
	c.must(err)
	return res[0]
}

func (c *check) receive(in queue.Incoming) queue.ReceiveResult {
	c.Helper()
	res, err := c.Store.Receive(c.Context(), []queue.Incoming{in})
	c.must(err)
	if res[0].Err != nil || res[0].ID <= 0 {
		c.Fatalf("receive: %+v", res[0])
	}
	return res[0]
}

func (c *check) unread(t queue.TrackerID) int {
	c.Helper()
	n, err := c.Store.Unread(c.Context(), []queue.TrackerID{t})
	c.must(err)
	return n[t]
}

// pending is the count that a session would be told; it makes the node "counter" the owner.
func (c *check) pending(t queue.TrackerID) int {
	c.Helper()
	return c.acquire("counter",
		t).Pending
}

// wantStatus reads a message and compares its state.
func (c *check) wantStatus(t queue.TrackerID, id int64, want queue.Status) queue.Message {
	c.Helper()
	m := c.get(t, id)
	if m.ID != id || m.Status != want {
		c.Fatalf("message %d is %d in state %q, want %q", id, m.ID, m.Status, want)
	}
	return m
}

func ids(msgs []queue.Message) []int64 {
	list := make([]int64, len(msgs))
	for i := range msgs {
		list[i] = msgs[i].ID
	}
	return list
}

func (c *check) wantIDs(msgs []queue.Message, want []int64) {
	c.Helper()
	if got := ids(msgs); !slices.Equal(got, want) {
		c.Fatalf("messages %v, want %v", got, want)
	}
}

// texts makes n different texts.
func texts(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = "text " + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) +
			string(rune('a'+i/676))
	}
	return list
}

func lifeRules() []rule {
	return []rule{
		{"everything survives a restart", survives},
		{"check finds a healthy store fit", checkFit},
		{"closed is closed", closed},
	}
}

func survives(c *check) {
	sent := c.sendAll(queue.SendReq{Tracker: 1, Text: "a", Choices: []string{"x"}},
		queue.SendReq{Tracker: 1, Text: "b", Urgent: true}, queue.SendReq{Tracker: 1, Text: "c"},
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
		a.Text == b.Text && a.ReplyTo == b.ReplyTo && slices.Equal(a.Choices, b.Choices) &&
		a.Urgent == b.Urgent && sameAuthor(a.Author, b.Author)
}

func sameAuthor(a, b *queue.Author) bool {
	return a == b || a != nil && b != nil && *a == *b
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

// Stepped returns a reading of time.Now as it would be had the system's clock been set forward or
// back by whole seconds: its monotonic clock is as it was. Package time has no way to make one, so
// this writes to its seconds, and panics should they ever be kept elsewhere.
func Stepped(t time.Time, by time.Duration) time.Time {
	const fraction = 30 // bits of the nanoseconds, below those of the seconds
	stepped := t
	wall := (*uint64)(unsafe.Pointer(&stepped))
	*wall += uint64(by/time.Second) << fraction
	if stepped.Sub(t) != 0 || stepped.UnixMilli()-t.UnixMilli() != by.Milliseconds() {
		panic("time.Time keeps its clocks otherwise")
	}
	return stepped
}
