package queuetest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"trackchat/queue"
)

func listRules() []rule {
	return []rule{
		{"11 bounds are inclusive", listBounds},
		{"12 limits across many sizes", listLimits},
		{"13 14 descending is the reverse and gives the newest", listDescending},
		{"14b pages by id within one moment, in both directions", listPages},
		{"15 both directions interleave in the order they were stored", listInterleaves},
		{"16 update time follows the state", listUpdateTime},
		{"17 18 nothing of others, nothing of an empty window", listEmpty},
		{"19 a list while 64 writers append", listWhileWriting},
	}
}

func listBounds(c *check) {
	var all []queue.Message
	for range 6 {
		c.send(1, "x")
		if c.Clock != nil {
			c.Clock.Advance(400 * time.Millisecond)
		}
	}
	all = c.list(1)
	for i, from := range all {
		for _, to := range all[i:] {
			got := c.query(queue.ListQuery{
				Tracker: 1, FromMs: from.SubmitMs, ToMs: to.SubmitMs,
				Limit: 1024,
			})
			var want []int64
			for _, m := range all {
				if m.SubmitMs >= from.SubmitMs && m.SubmitMs <= to.SubmitMs {
					want = append(want, m.ID)
				}
			}
			c.wantIDs(got, want)
		}
	}
	second := all[0].SubmitMs / 1000
	for _, m := range c.query(queue.ListQuery{Tracker: 1, FromMs: second * 1000, ToMs: second*1000 +
		999, Limit: 1024}) {
		if m.SubmitMs/1000 != second {
			c.Fatalf("%d is not within second %d", m.SubmitMs, second)
		}
	}
}

func listLimits(c *check) {
	for i, n := range []int{1, 63, 64, 65, 130} {
		t := queue.TrackerID(i + 1)
		sent := c.send(t, texts(n)...)
		for _, limit := range []int{1, 63, 64, 65, 1023, 1024} {
			c.wantIDs(c.query(queue.ListQuery{Tracker: t, ToMs: forever, Limit: limit}),
				sent[:min(limit, n)])
		}
	}
	sent := c.storeMany(9, 1100)
	for _, limit := range []int{1, 1023, 1024} {
		c.wantIDs(c.query(queue.ListQuery{Tracker: 9, ToMs: forever, Limit: limit}), sent[:limit])
	}
}

// storeMany stores n messages in both directions, so that no limit of undelivered ones is met.
func (c *check) storeMany(t queue.TrackerID, n int) []int64 {
	c.Helper()
	var stored []int64
	for len(stored) < n {
		in := make([]queue.Incoming, min(50, n-len(stored)))
		for i := range in {
			in[i] = queue.Incoming{Tracker: t, Text: fmt.Sprint("incoming ", i)}
		}
		res, err := c.Store.Receive(c.Context(), in)
		c.must(err)
		for _, r := range res {
			stored = append(stored, r.ID)
		}
		if len(stored) < n {
			stored = append(stored, c.send(t, "outgoing")...)
			c.ack(t, stored[len(stored)-1])
		}
	}
	return stored
}

func listDescending(c *check) {
	sent := c.storeMany(1, 200)
	for _, limit := range []int{1, 64, 199, 200, 1024} {
		n := min(limit, len(sent))
		want := slices.Clone(sent[len(sent)-n:])
		slices.Reverse(want)
		c.wantIDs(c.query(queue.ListQuery{Tracker: 1, ToMs: forever, Limit: limit, Desc: true}),
			want)
	}
}

func listPages(c *check) {
	sent := c.storeMany(1, 2100)
	for _, desc := range []bool{false, true} {
		want := slices.Clone(sent)
		if desc {
			slices.Reverse(want)
		}
		var got []int64
		for q := (queue.ListQuery{Tracker: 1, ToMs: forever, Limit: 1024, Desc: desc}); ; {
			page := c.query(q)
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				got = append(got, m.ID)
			}
			q.Beyond = got[len(got)-1]
			if m := page[len(page)-1]; desc {
				q.ToMs = m.SubmitMs
			} else {
				q.FromMs = m.SubmitMs
			}
		}
		if !slices.Equal(got, want) {
			c.Fatalf("descending %v: %d messages in pages, want %d", desc, len(got), len(want))
		}
	}
}

func listInterleaves(c *check) {
	var want []int64
	for i := range 20 {
		if i%3 == 0 {
			want = append(want, c.receive(queue.Incoming{Tracker: 1, Text: "in"}).ID)
		} else {
			want = append(want, c.send(1, "out")...)
		}
	}
	c.wantIDs(c.list(1), want)
}

func listUpdateTime(c *check) {
	sent := c.send(1, "a", "b")
	if c.Clock != nil {
		c.Clock.Advance(time.Second)
	}
	c.ack(1, sent[0])
	msgs := c.list(1)
	if m := msgs[0]; m.Status != queue.StatusDelivered || m.UpdateMs < m.SubmitMs ||
		m.UpdateMs == 0 || m.ChangeMs != m.UpdateMs {
		c.Fatalf("delivered: %+v", m)
	}
	if m := msgs[1]; m.Status != queue.StatusPending || m.UpdateMs != 0 {
		c.Fatalf("pending: %+v", m)
	}
}

func listEmpty(c *check) {
	c.send(1, "one")
	c.receive(queue.Incoming{Tracker: 2, Text: "two"})
	for _, t := range []queue.TrackerID{1, 2, 3} {
		for _, m := range c.list(t) {
			if m.Tracker != t {
				c.Fatalf("tracker %d lists a message of %d", t, m.Tracker)
			}
		}
	}
	if got := c.query(queue.ListQuery{Tracker: 1, FromMs: forever, ToMs: 0, Limit: 10}); len(
		got) != 0 {
		c.Fatalf("from after to: %v", got)
	}
	if got := c.list(3); len(got) != 0 {
		c.Fatalf("a tracker without messages: %v", got)
	}
}

func listWhileWriting(c *check) {
	const writers, each = 64, 10
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				text := fmt.Sprintf("writer %02d message %02d", g, i)
				var err error
				if g%2 == 0 {
					_, err = c.Store.Send(c.Context(), []queue.SendReq{{
						Tracker: 1, Text: text,
						Employee: int64(g*each + i),
					}})
				} else {
					_, err = c.Store.Receive(c.Context(), []queue.Incoming{{
						Tracker: 1, Text: text,
						Employee: int64(g*each + i),
					}})
				}
				if err != nil {
					c.Errorf("writing: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	seen := 0
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		msgs := c.list(1)
		if len(msgs) < seen {
			c.Fatalf("%d messages after %d", len(msgs), seen)
		}
		seen = len(msgs)
		if !slices.IsSortedFunc(msgs, func(a, b queue.Message) int {
			return cmp.Or(cmp.Compare(a.SubmitMs, b.SubmitMs), cmp.Compare(a.ID, b.ID))
		}) {
			c.Fatal("not sorted")
		}
		c.wantWhole(msgs, each)
	}
	if seen != writers*each {
		c.Fatalf("%d messages in the end", seen)
	}
}

// wantWhole checks that every record carries the text that belongs to its number, once.
func (c *check) wantWhole(msgs []queue.Message, each int64) {
	c.Helper()
	found := make(map[int64]bool, len(msgs))
	for _, m := range msgs {
		if want := fmt.Sprintf("writer %02d message %02d", m.Employee/each,
			m.Employee%each); m.Text != want || found[m.Employee] {
			c.Fatalf("record %d holds %q, want %q (seen before: %v)", m.ID, m.Text, want,
				found[m.Employee])
		}
		found[m.Employee] = true
	}
}

func answerRules() []rule {
	return []rule{
		{"the first answer counts", firstAnswer},
		{"an answer is kept for 24 hours", answerExpires},
		{"of many at once one counts", oneAnswer},
	}
}

func (c *check) recall(a queue.AccountID, key string) string {
	c.Helper()
	b, err := c.Store.IdempotentAnswer(c.Context(), a, key)
	c.must(err)
	return string(b)
}

// remember is for the key "k" of account 1.
func (c *check) remember(answer string) string {
	c.Helper()
	b, err := c.Store.SaveAnswer(c.Context(), 1, "k", []byte(answer))
	c.must(err)
	return string(b)
}

func firstAnswer(c *check) {
	long := strings.Repeat("12345678901,", 600) + "\x00\xff"
	if got := c.recall(1, "k"); got != "" {
		c.Fatalf("%q before any", got)
	}
	if got := c.remember(long); got != long {
		c.Fatalf("%q", got)
	}
	c.reopen()
	if got := c.remember("second"); got != long {
		c.Fatalf("the second one counts: %q", got)
	}
	if got := c.recall(1, "k"); got != long {
		c.Fatalf("%q", got)
	}
	for _, other := range []struct {
		account queue.AccountID
		key     string
	}{{2, "k"}, {1, "K"}, {1, "k "}, {11, "k"}, {1, ""}} {
		if got := c.recall(other.account, other.key); got != "" {
			c.Fatalf("%v has %q", other, got)
		}
	}
}

func answerExpires(c *check) {
	if c.Clock == nil {
		return // the store's own clock cannot be turned
	}
	c.remember("first")
	c.Clock.Advance(24*time.Hour - time.Second)
	if got := c.recall(1, "k"); got != "first" {
		c.Fatalf("before 24 h: %q", got)
	}
	c.Clock.Advance(2 * time.Second)
	if got := c.recall(1, "k"); got != "" {
		c.Fatalf("after 24 h: %q", got)
	}
	if got := c.remember("second"); got != "second" {
		c.Fatalf("after 24 h: %q", got)
	}
}

func oneAnswer(c *check) {
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			b, err := c.Store.SaveAnswer(c.Context(), 1, "k", []byte(strconv.Itoa(i)))
			if err != nil {
				c.Error(err)
			}
			got[i] = string(b)
		})
	}
	wg.Wait()
	for _, s := range got {
		if s != got[0] || s == "" {
			c.Fatalf("different answers: %q", got)
		}
	}
}
