package queuetest

import (
	"errors"
	"fmt"
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

func sessionRules() []rule {
	return []rule{
		{"put, find, renew, end", sessionLives},
		{"expired is gone", sessionExpires},
		{"a password's change ends them", sessionPassword},
		{"an account's end ends them", sessionAccount},
		{"an account's sessions are bounded", sessionBound},
		{"users have sessions of their own", sessionOfUser},
	}
}

const hour = int64(time.Hour / time.Millisecond)

// session stores a session of one hour.
func (c *check) session(id queue.AccountID, name string) queue.Session {
	c.Helper()
	now := c.nowMs()
	s := queue.Session{Hash: queue.HashKey(name), Account: id, CreatedMs: now, ExpiresMs: now +
		hour}
	c.must(c.Store.PutSession(c.Context(), s))
	return s
}

// wantSessions compares what is found with want; a session without an account is one that is not
// there.
func (c *check) wantSessions(want ...queue.Session) {
	c.Helper()
	hs := make([]queue.KeyHash, len(want))
	for i := range want {
		hs[i] = want[i].Hash
	}
	got, err := c.Store.Sessions(c.Context(), hs)
	c.must(err)
	for i := range want {
		if want[i].Account == 0 {
			want[i] = queue.Session{}
		}
		if got[i] != want[i] {
			c.Fatalf("session %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func ended(s queue.Session) queue.Session { return queue.Session{Hash: s.Hash} }

func (c *check) wantDone(done bool, err error, want bool) {
	c.Helper()
	c.must(err)
	if done != want {
		c.Fatalf("%v, want %v", done, want)
	}
}

func sessionLives(c *check) {
	c.fill()
	a, b, other := c.session(1, "a"), c.session(1, "b"), c.session(2, "c")
	unknown := queue.Session{Hash: queue.HashKey("d")}
	c.wantSessions(other, unknown, a, b, a)
	c.wantSessions()
	a.ExpiresMs += 5 * hour
	done, err := c.Store.RenewSession(c.Context(), a.Hash, a.ExpiresMs)
	c.wantDone(done, err, true)
	done, err = c.Store.EndSession(c.Context(), b.Hash)
	c.wantDone(done, err, true)
	c.reopen()
	c.wantSessions(a, ended(b), other)
	for _, h := range []queue.KeyHash{b.Hash, unknown.Hash} {
		done, err = c.Store.EndSession(c.Context(), h)
		c.wantDone(done, err, false)
		done, err = c.Store.RenewSession(c.Context(), h, a.ExpiresMs)
		c.wantDone(done, err, false)
	}
	c.wantSessions(a, ended(b))
	if err := c.Store.PutSession(c.Context(), queue.Session{
		Hash: queue.HashKey("e"), Account: 77,
		ExpiresMs: a.ExpiresMs,
	}); !errors.Is(err, queue.ErrNotFound) {
		c.Fatalf("session of an unknown account: %v", err)
	}
}

func sessionExpires(c *check) {
	c.fill()
	if c.Clock == nil { // the store's own clock: a session that has expired already
		now := c.nowMs()
		s := queue.Session{
			Hash: queue.HashKey("a"), Account: 1, CreatedMs: now - hour,
			ExpiresMs: now - 1000,
		}
		c.must(c.Store.PutSession(c.Context(), s))
		c.wantSessions(ended(s))
		return
	}
	s := c.session(1, "a")
	c.Clock.Advance(time.Hour - time.Millisecond)
	c.wantSessions(s)
	c.Clock.Advance(time.Millisecond)
	c.wantSessions(ended(s))
	done, err := c.Store.RenewSession(c.Context(), s.Hash, s.ExpiresMs+hour)
	c.wantDone(done, err, false)
	done, err = c.Store.EndSession(c.Context(), s.Hash)
	c.wantDone(done, err, false)
	fresh := c.session(1, "b")
	c.wantSessions(ended(s), fresh)
}

func sessionPassword(c *check) {
	c.fill()
	a, b := c.session(1, "a"), c.session(2, "b")
	account := someAccounts()[1]
	account.Title, account.Keys = "renamed", nil
	c.wantEdits(queue.EditUpdated, putAccount(account), addKey(1, "k"))
	c.wantSessions(a, b)
	account.Password = "other"
	c.wantEdits(queue.EditUpdated, putAccount(account))
	c.wantSessions(ended(a), b)
	again := c.session(1, "again")
	account.Password = "third"
	c.importAll([]queue.Account{account}, nil, false, queue.ImportStats{Updated: 1})
	c.wantSessions(ended(again), b)
}

func sessionAccount(c *check) {
	c.fill()
	a, b := c.session(3, "a"), c.session(4, "b")
	c.wantEdits(queue.EditRemoved, dropAccount(3))
	c.wantSessions(ended(a), b)
	c.wantEdits(queue.EditAdded, putAccount(queue.Account{ID: 3}))
	c.wantSessions(ended(a), b)
	c.importAll(nil, nil, true, queue.ImportStats{Removed: 7})
	c.wantSessions(ended(b))
}

// userSession stores a session of user 1 of account 1.
func (c *check) userSession(name string, createdMs int64) queue.Session {
	c.Helper()
	s := queue.Session{
		Hash: queue.HashKey(name), Account: 1, User: 1, Stamp: "0123456789abcdef",
		CreatedMs: createdMs, ExpiresMs: c.nowMs() + hour,
	}
	c.must(c.Store.PutSession(c.Context(), s))
	return s
}

func sessionOfUser(c *check) {
	c.fill()
	own, user := c.session(1, "a"), c.userSession("user", c.nowMs())
	c.wantSessions(own, user)
	user.ExpiresMs += hour
	done, err := c.Store.RenewSession(c.Context(), user.Hash, user.ExpiresMs)
	c.wantDone(done, err, true)
	account := someAccounts()[1]
	account.Password = "other"
	c.wantEdits(queue.EditUpdated, putAccount(account))
	c.wantSessions(ended(own), user)
	c.reopen()
	c.wantSessions(user)
	again := c.userSession("again", c.nowMs())
	done, err = c.Store.EndSession(c.Context(), again.Hash)
	c.wantDone(done, err, true)
	c.wantSessions(user, ended(again))
	c.importAll(nil, nil, true, queue.ImportStats{Removed: 7})
	c.wantSessions(ended(user))
}

func sessionBound(c *check) {
	c.fill()
	user := c.userSession("user", 1)
	other := c.session(2, "other")
	all := make([]queue.Session, 0, queue.MaxSessions+4)
	base := c.nowMs()
	for i := range queue.MaxSessions + 3 {
		s := queue.Session{Hash: queue.HashKey(fmt.Sprint(i)), Account: 1, CreatedMs: base +
			int64(i), ExpiresMs: base + hour}
		c.must(c.Store.PutSession(c.Context(), s))
		all = append(all, s)
	}
	for i := range 3 {
		all[i] = ended(all[i])
	}
	c.wantSessions(append(all, other, user)...)
}
