package queuetest

import (
	"errors"
	"fmt"
	"time"

	"trackchat/queue"
)

func sessionRules() []rule {
	return []rule{
		{"put, find, renew, end", sessionLives},
		{"expired is gone", sessionExpires},
		{"a password's change ends them", sessionPassword},
		{"an account's end ends them", sessionAccount},
		{"an account's sessions are bounded", sessionBound},
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

func sessionBound(c *check) {
	c.fill()
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
	c.wantSessions(append(all, other)...)
}
