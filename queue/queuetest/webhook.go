package queuetest

import (
	"slices"
	"time"

	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func webhookRules() []rule {
	return []rule{
		{"a webhook is kept with its progress", webhookKept},
		{"one node delivers at a time", webhookLeased},
		{"progress is taken from the owner of the current one only", webhookSaved},
		{"a lease ends by itself", webhookLeaseEnds},
	}
}

func (c *check) putHook(a queue.AccountID, url string, position int64) queue.Webhook {
	c.Helper()
	c.must(c.Store.PutWebhook(c.Context(), queue.Webhook{Account: a, URL: url, Secret: "s \"é" +
		url, Progress: queue.WebhookProgress{PositionMs: position}}))
	return c.hook(a)
}

func (c *check) hooks() []queue.Webhook {
	c.Helper()
	list, err := c.Store.Webhooks(c.Context())
	c.must(err)
	return list
}

func (c *check) hook(a queue.AccountID) queue.Webhook {
	c.Helper()
	for _, h := range c.hooks() {
		if h.Account == a {
			return h
		}
	}
	c.Fatalf("account %d has no webhook", a)
	return queue.Webhook{}
}

func (c *check) leaseHooks(node queue.NodeID, life time.Duration,
	as ...queue.AccountID,
) []queue.AccountID {
	c.Helper()
	got, err := c.Store.LeaseWebhooks(c.Context(), node, as, life)
	c.must(err)
	return got
}

func (c *check) wantLeased(got []queue.AccountID, want ...queue.AccountID) {
	c.Helper()
	if !slices.Equal(got, want) {
		c.Fatalf("leased %v, want %v", got, want)
	}
}

func webhookKept(c *check) {
	if len(c.hooks()) != 0 {
		c.Fatal("an empty store has webhooks")
	}
	c.putHook(20, "https://b.example/", 2)
	first := c.putHook(3, "https://a.example/", 1)
	c.wantLeased(c.leaseHooks("n", time.Hour, 3), 3)
	p := queue.WebhookProgress{
		PositionMs: 1_780_000_000_001, DeliveredMs: 5,
		LastError: "it's \"down\" é", ErrorMs: 6, FailingSinceMs: 7, Dropped: 8,
	}
	if ok, err := c.Store.SaveWebhook(c.Context(), "n", 3, first.Revision, p); !ok || err != nil {
		c.Fatal(ok, err)
	}
	again := c.putHook(3, "https://c.example/", 99)
	if again.Revision <= first.Revision {
		c.Fatalf("revision %d after %d", again.Revision, first.Revision)
	}
	ok, err := c.Store.ReplayWebhook(c.Context(), 3, 1_770_000_000_000)
	c.must(err)
	replayed := c.hook(3)
	if p.PositionMs = 1_770_000_000_000; !ok || replayed.Revision <= again.Revision {
		c.Fatalf("replay: %v, revision %d after %d", ok, replayed.Revision, again.Revision)
	}
	c.reopen()
	want := []queue.Webhook{
		{Account: 3, URL: "https://c.example/", Secret: "s \"éhttps://c.example/", Progress: p},
		{
			Account: 20, URL: "https://b.example/", Secret: "s \"éhttps://b.example/",
			Progress: queue.WebhookProgress{PositionMs: 2},
		},
	}
	if d := cmp.Diff(want, c.hooks(), cmpopts.IgnoreFields(queue.Webhook{}, "Revision")); d != "" {
		c.Fatal(d)
	}
	for _, want := range []bool{true, false} {
		if ok, err := c.Store.DropWebhook(c.Context(), 3); ok != want || err != nil {
			c.Fatal(ok, err)
		}
	}
	if ok, err := c.Store.ReplayWebhook(c.Context(), 3, 1); ok || err != nil {
		c.Fatal(ok, err)
	}
	for range 3 { // as often as it was changed
		c.tick()
	}
	if h := c.putHook(3, "https://d.example/", 44); h.Progress.PositionMs != 44 ||
		h.Revision <= replayed.Revision {
		c.Fatalf("a new webhook has %+v", h)
	}
}

func webhookLeased(c *check) {
	for a := queue.AccountID(1); a <= 3; a++ {
		c.putHook(a, "https://a.example/", 1)
	}
	c.wantLeased(c.leaseHooks("a", time.Hour, 2, 1), 2, 1)
	c.wantLeased(c.leaseHooks("a", time.Hour, 1, 2), 1, 2)
	c.wantLeased(c.leaseHooks("b", time.Hour, 1, 2, 3, 4), 3)
	c.wantLeased(c.leaseHooks("a", 0, 1, 3))
	c.wantLeased(c.leaseHooks("b", time.Hour, 1, 2, 3), 1, 3)
	c.wantLeased(c.leaseHooks("a", time.Hour, 1, 2, 3), 2)
	if c.Another != nil {
		other := &check{T: c.T, Fixture: Fixture{Store: c.Another(c.T)}}
		c.wantLeased(other.leaseHooks("c", time.Hour, 1, 2, 3))
	}
}

func webhookSaved(c *check) {
	h := c.putHook(1, "https://a.example/", 1)
	save := func(node queue.NodeID, a queue.AccountID, revision, position int64) bool {
		c.Helper()
		ok, err := c.Store.SaveWebhook(c.Context(), node, a, revision,
			queue.WebhookProgress{PositionMs: position})
		c.must(err)
		return ok
	}
	if save("a", 1, h.Revision, 5) || save("a", 2, h.Revision, 5) {
		c.Fatal("saved without a lease")
	}
	c.leaseHooks("a", time.Hour, 1)
	if save("b", 1, h.Revision, 5) || !save("a", 1, h.Revision, 6) {
		c.Fatal("saved by another node, or not by the owner")
	}
	newer := c.putHook(1, "https://b.example/", 1)
	if save("a", 1, h.Revision, 7) || !save("a", 1, newer.Revision, 8) {
		c.Fatal("saved for an older revision, or not for the current one")
	}
	if got := c.hook(1).Progress.PositionMs; got != 8 {
		c.Fatalf("position %d", got)
	}
}

func webhookLeaseEnds(c *check) {
	const life = 50 * time.Millisecond
	h := c.putHook(1, "https://a.example/", 1)
	c.wantLeased(c.leaseHooks("a", time.Hour, 1), 1)
	for deadline := time.Now().Add(patience); len(c.leaseHooks("b", life, 1)) == 0; { //nolint:forbidigo // a store with a clock of its own takes its time
		if time.Now().After(deadline) { //nolint:forbidigo // the same
			c.Fatal("the lease of a node that is gone does not end")
		}
		if c.Clock != nil {
			c.Clock.Advance(life)
		}
	}
	if ok, err := c.Store.SaveWebhook(c.Context(), "a", 1, h.Revision,
		queue.WebhookProgress{}); ok || err != nil {
		c.Fatal(ok, err)
	}
	c.wantLeased(c.leaseHooks("a", time.Hour, 1))
}
