package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"

	"trackchat/queue"
)

// count finds out what there is to take over.
func (m *migration) count(ctx context.Context) (err error) {
	if m.counts, err = m.from.Trackers(ctx); err != nil {
		return fmt.Errorf("counting messages: %w", err)
	}
	m.trackers = slices.Sorted(maps.Keys(m.counts))
	for _, n := range m.counts {
		m.total += n
	}
	return nil
}

// survey finds out which messages Redis has already, and refuses trackers whose messages there are
// not this store's.
func (m *migration) survey(ctx context.Context) error {
	for some := range slices.Chunk(m.trackers, migrateTrackers) {
		states, err := m.to.Imported(ctx, some)
		if err != nil {
			return fmt.Errorf("asking Redis what it has: %w", err)
		}
		for i, t := range some {
			if err := m.surveyOne(ctx, t, states[i]); err != nil {
				return err
			}
		}
	}
	m.say("%d messages of %d trackers to take over", m.total, len(m.trackers))
	return nil
}

func (m *migration) surveyOne(ctx context.Context, t queue.TrackerID, st queue.Imported) error {
	if st.ID != 0 {
		m.begun = true
		old, _, err := m.from.Find(t, st.ID)
		if err != nil {
			return fmt.Errorf("looking for message %d: %w", st.ID, err)
		}
		if old.ID == 0 || old.SubmitMs != st.SubmitMs {
			return fmt.Errorf("%w: an import of tracker %d into this Redis was begun from another store", queue.ErrConflict, t)
		}
		m.done[t] = st.ID
		return nil
	}
	if st.NewestMs == 0 {
		return nil
	}
	// Either everything of it was taken over and finished before, or somebody else wrote it.
	last, err := m.compare(ctx, t, nil)
	if err != nil {
		return fmt.Errorf("tracker %d has messages in Redis that are not of this store: %w", t, err)
	}
	m.done[t] = last
	return nil
}

var errDiffers = errors.New("the stores differ")

// tally counts messages by status.
type tally map[queue.Status]int

// compare holds a tracker's messages in Redis to those of the embedded store, one by one, and
// returns the last one's id there.
func (m *migration) compare(ctx context.Context, t queue.TrackerID, sum tally) (last int64,
	err error,
) {
	next, stop := iter.Pull2(m.to.History(ctx, t))
	defer stop()
	// of the embedded store to those in Redis, of messages that may be answered.
	ids := map[int64]int64{0: 0}
	var after queue.Message
	for {
		page, err := m.from.History(t, after, migrateTrackers)
		if err != nil {
			return 0, fmt.Errorf("reading messages: %w", err)
		}
		for i := range page {
			got, err, ok := next()
			if err != nil {
				return 0, fmt.Errorf("reading messages in Redis: %w", err)
			}
			if !ok {
				return 0, fmt.Errorf("%w: tracker %d: message %d is not in Redis", errDiffers, t,
					page[i].ID)
			}
			ids[page[i].ID] = got.ID
			if err := sameMessage(page[i], got, ids); err != nil {
				return 0, err
			}
			if sum != nil {
				sum[got.Status]++
			}
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1]
	}
	if got, err, ok := next(); err != nil || ok {
		return 0, errors.Join(err, fmt.Errorf("%w: tracker %d: message %d in Redis is one too many",
			errDiffers, t, got.ID))
	}
	return after.ID, nil
}

// sameMessage compares everything but the id, which is another one, and the hint, which is the
// store's own.
func sameMessage(was, is queue.Message, ids map[int64]int64) error {
	id := is.ID
	want := was
	want.ID, want.Hint, want.ReplyTo = is.ID, is.Hint, ids[was.ReplyTo]
	if !reflect.DeepEqual(want, is) {
		return fmt.Errorf("%w: tracker %d: message %d is not what became of it, %d", errDiffers,
			was.Tracker, was.ID, id)
	}
	return nil
}

// check holds everything in Redis to the embedded store: each message, the counters of each
// tracker, the totals, the directory.
func (m *migration) check(ctx context.Context) error {
	sum := make(tally)
	for some := range slices.Chunk(m.trackers, migrateTrackers) {
		states, err := m.to.Imported(ctx, some)
		if err != nil {
			return fmt.Errorf("asking Redis what it has: %w", err)
		}
		for i, t := range some {
			one := make(tally)
			if _, err := m.compare(ctx, t, one); err != nil {
				return err
			}
			if one.total() != m.counts[t] || one[queue.StatusPending] != states[i].Pending ||
				one[queue.StatusUnread] != states[i].Unread {
				return fmt.Errorf("%w: tracker %d has %d messages in Redis, %d pending and %d unread by its counters %+v; %d were expected",
					errDiffers, t, one.total(), one[queue.StatusPending], one[queue.StatusUnread],
					states[i], m.counts[t])
			}
			for s, n := range one {
				sum[s] += n
			}
		}
	}
	if sum.total() != m.total {
		return fmt.Errorf("%w: %d messages in Redis, %d were expected", errDiffers, sum.total(),
			m.total)
	}
	if err := m.checkDirectory(ctx); err != nil {
		return err
	}
	m.say("checked one by one: %d messages (%d acknowledged, %d pending, %d ended without an ack, %d from drivers), and every account and tracker", sum.total(),
		sum[queue.StatusDelivered]+sum[queue.StatusOpened], sum[queue.StatusPending],
		sum[queue.StatusFailed]+sum[queue.StatusExpired]+sum[queue.StatusCancelled]+
			sum[queue.StatusSent], sum[queue.StatusUnread]+sum[queue.StatusRead])
	return nil
}

func (t tally) total() int {
	n := 0
	for _, k := range t {
		n += k
	}
	return n
}

func (m *migration) checkDirectory(ctx context.Context) error {
	accounts, trackers, err := m.from.Directory(ctx)
	if err != nil {
		return fmt.Errorf("reading accounts and trackers: %w", err)
	}
	hereAccounts, hereTrackers, err := m.to.LoadDirectory(ctx)
	if err != nil {
		return fmt.Errorf("reading accounts and trackers in Redis: %w", err)
	}
	here := queue.NewSnapshot(hereAccounts, hereTrackers)
	for i := range accounts {
		if a, ok := here.Account(accounts[i].ID); !ok || !queue.SameAccount(a, &accounts[i]) {
			return fmt.Errorf("%w: account %d", errDiffers, accounts[i].ID)
		}
	}
	for i := range trackers {
		if t, ok := here.Tracker(trackers[i].ID); !ok || !queue.SameTracker(t, &trackers[i]) {
			return fmt.Errorf("%w: tracker %d of the directory", errDiffers, trackers[i].ID)
		}
	}
	return nil
}

// finish takes the marks of the import away and lets services in. From then on the same migration
// only compares.
func (m *migration) finish(ctx context.Context) error {
	for some := range slices.Chunk(m.trackers, migrateTrackers) {
		if err := m.to.FinishImport(ctx, some); err != nil {
			return fmt.Errorf("finishing the import: %w", err)
		}
	}
	if err := m.to.FinishMigration(ctx); err != nil {
		return fmt.Errorf("finishing the migration: %w", err)
	}
	m.say("done. Messages have new ids: a late acknowledgement of a text that was written to a device before is not recognised, and such a text may be shown twice")
	return nil
}
