package directory_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"trackchat/queue"
	"trackchat/queue/directory"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// rows are a directory without any index.
type rows struct {
	accounts map[queue.AccountID]queue.Account
	trackers map[queue.TrackerID]queue.Tracker
}

func newRows() rows {
	return rows{make(map[queue.AccountID]queue.Account), make(map[queue.TrackerID]queue.Tracker)}
}

func (r rows) snapshot() *queue.Snapshot {
	return queue.NewSnapshot(slices.Collect(maps.Values(r.accounts)),
		slices.Collect(maps.Values(r.trackers)))
}

// contradiction reports whether rows that must be unique are not, or have no account.
func (r rows) contradiction() bool {
	logins, keys := make(map[string]bool), make(map[queue.KeyHash]bool)
	devices := make(map[[2]string]bool)
	for _, a := range r.accounts {
		if a.Login != "" && logins[a.Login] {
			return true
		}
		logins[a.Login] = true
		for _, k := range a.Keys {
			if keys[k.Hash] {
				return true
			}
			keys[k.Hash] = true
		}
	}
	for _, t := range r.trackers {
		device := [2]string{t.Protocol, t.DeviceID}
		if _, owned := r.accounts[t.Account]; !owned || devices[device] {
			return true
		}
		devices[device] = true
	}
	return false
}

// imported is what an import makes of rows, worked out with all of them.
func (r rows) imported(accounts []queue.Account, trackers []queue.Tracker, prune bool) rows {
	after := rows{maps.Clone(r.accounts), maps.Clone(r.trackers)}
	if prune {
		after = newRows()
	}
	for _, a := range accounts {
		if a.Keys == nil {
			a.Keys = r.accounts[a.ID].Keys
		}
		after.accounts[a.ID] = a
	}
	for _, t := range trackers {
		var before *queue.Tracker
		if old, ok := r.trackers[t.ID]; ok {
			before = &old
		}
		_, _ = t.Succeed(before)
		after.trackers[t.ID] = t
	}
	for id, t := range after.trackers {
		t.Forget(func(a queue.AccountID) bool {
			_, stays := after.accounts[a]
			return !stays
		})
		after.trackers[id] = t
	}
	return after
}

func (r rows) apply(c *directory.Change) {
	for _, row := range c.Accounts {
		delete(r.accounts, row.ID)
		if row.Is != nil {
			r.accounts[row.ID] = *row.Is
		}
	}
	for _, row := range c.Trackers {
		delete(r.trackers, row.ID)
		if row.Is != nil {
			r.trackers[row.ID] = *row.Is
		}
	}
}

func someRows(t *rapid.T) (accounts []queue.Account, trackers []queue.Tracker) {
	few := func(most int, name string) int { return rapid.IntRange(0, most).Draw(t, name) }
	for id := range few(4, "accounts") {
		a := queue.Account{ID: queue.AccountID(id + 1), Password: fmt.Sprint(few(1, "password"))}
		if n := few(4, "login"); n > 0 {
			a.Login = fmt.Sprint(n)
		}
		if few(1, "keys are given") == 1 {
			a.Keys = []queue.Key{}
		}
		for range few(2, "keys") {
			a.Keys = append(a.Keys,
				queue.Key{Hash: queue.HashKey(fmt.Sprint(few(5, "key")))})
		}
		if few(4, "left out") > 0 {
			accounts = append(accounts, a)
		}
	}
	for id := range few(5, "trackers") {
		if few(4, "left out") > 0 {
			trackers = append(trackers, queue.Tracker{
				ID: queue.TrackerID(id + 1), Account: queue.AccountID(few(3, "account") + 1),
				Protocol: "p", DeviceID: fmt.Sprint(few(6, "device") + 1),
				History: queue.History(few(2, "history")),
			})
		}
	}
	return accounts, trackers
}

// TestImport compares imports with what comes of looking at all rows: they are refused if and only
// if the result would contradict itself, and change what differs and nothing else.
func TestImport(t *testing.T) {
	refused, accepted := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		now := newRows()
		for range 12 {
			accounts, trackers := someRows(t)
			prune := rapid.Bool().Draw(t, "prune")
			want := now.imported(accounts, trackers, prune)
			c, stats, err := directory.Import(now.snapshot(), nil, accounts, trackers, prune)
			if wrong := want.contradiction(); wrong != errors.Is(err, queue.ErrConflict) ||
				!wrong && err != nil {
				t.Fatalf("contradiction: %t, answered %v", wrong, err)
			}
			if err != nil {
				refused++
				continue
			}
			accepted++
			for _, row := range c.Trackers {
				if was, ok := now.trackers[row.ID]; ok != (row.Was != nil) ||
					ok && !queue.SameTracker(&was, row.Was) {
					t.Fatalf("%+v replaces %+v", row, was)
				}
				if row.Was != nil && row.Is != nil && queue.SameTracker(row.Was, row.Is) {
					t.Fatalf("tracker %d is as it was", row.ID)
				}
			}
			if n := stats.Added + stats.Updated + stats.Removed; n != len(c.Accounts)+
				len(c.Trackers) || int64(n) != c.Version {
				t.Fatalf("%+v: %d and %d rows, version %d", stats, len(c.Accounts),
					len(c.Trackers), c.Version)
			}
			now.apply(c)
			if d := cmp.Diff(want, now, cmp.AllowUnexported(rows{}),
				cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("(-want +got):\n%s", d)
			}
		}
	})
	if refused == 0 || accepted == 0 {
		t.Fatalf("%d imports refused, %d accepted", refused, accepted)
	}
}
