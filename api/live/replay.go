package live

import (
	"context"
	"errors"
	"fmt"
	"math"

	"trackchat/queue"
)

const (
	replayMessages = 64   // read at once; each may have 80 KB
	replayPage     = 1024 // the same where changes are too long ago to know
)

// replay hands out what has happened to the trackers of an account since a time, as far as it still
// shows: of what happened to a message twice, the first may be left out where the second says more.
// The events of each tracker are in order. An error of emit or reset ends it. reset is called for a
// tracker of which since is too long ago to know, and then the messages are told that were stored
// since.
func (f *Feed) replay(ctx context.Context, account queue.AccountID, since int64,
	emit func([]*event) error, reset func(t queue.TrackerID) error,
) error {
	return f.eachTrackers(account, func(ts []queue.TrackerID) error {
		bounded, cancel := context.WithTimeout(ctx, f.timeout)
		changed, err := f.store.Changed(bounded, ts, since)
		cancel()
		if err != nil {
			return fmt.Errorf("reading what has changed: %w", err)
		}
		for _, t := range changed {
			err := f.replayTracker(ctx, t, since, emit)
			if errors.Is(err, queue.ErrTooOld) {
				if err = reset(t); err == nil {
					err = f.replayStored(ctx, t, since, emit)
				}
			}
			if err != nil {
				return err
			}
		}
		return f.presences(ctx, ts, func(t queue.TrackerID, p queue.Presence) error {
			if p.SinceMs < since {
				return nil
			}
			return emit([]*event{presenceEvent(t, p, f.now().UnixMilli())})
		})
	})
}

// replayTracker is replay for the messages of one tracker.
func (f *Feed) replayTracker(ctx context.Context, t queue.TrackerID, since int64,
	emit func([]*event) error,
) error {
	for from := since; ; {
		bounded, cancel := context.WithTimeout(ctx, f.timeout)
		list, err := f.store.Changes(bounded, t, from, replayMessages)
		cancel()
		if err != nil {
			return fmt.Errorf("reading changes of tracker %d: %w", t, err)
		}
		if len(list) == 0 {
			return nil
		}
		now := f.now().UnixMilli()
		events := make([]*event, 0, len(list))
		for i := range list {
			for _, name := range eventsSince(&list[i], since) {
				events = append(events, messageEvent(name, &list[i], list[i].ChangeMs, now))
			}
		}
		if err := emit(events); err != nil {
			return err
		}
		if len(list) < replayMessages {
			return nil
		}
		from = list[len(list)-1].ChangeMs + 1
	}
}

// noReset ends a replay that cannot be whole.
func noReset(queue.TrackerID) error { return queue.ErrTooOld }

// replayStored tells the messages of a tracker that were stored since a time.
func (f *Feed) replayStored(ctx context.Context, t queue.TrackerID, since int64,
	emit func([]*event) error,
) error {
	q := queue.ListQuery{Tracker: t, FromMs: since, ToMs: math.MaxInt64, Limit: replayPage}
	for {
		bounded, cancel := context.WithTimeout(ctx, f.timeout)
		list, err := f.store.List(bounded, q)
		cancel()
		if err != nil {
			return fmt.Errorf("reading messages of tracker %d: %w", t, err)
		}
		now := f.now().UnixMilli()
		for i := range list {
			for _, name := range eventsSince(&list[i], since) {
				if err := emit([]*event{messageEvent(name, &list[i], list[i].ChangeMs,
					now)}); err != nil {
					return err
				}
			}
		}
		if len(list) < replayPage {
			return nil
		}
		last := &list[len(list)-1]
		q.FromMs, q.Beyond = last.SubmitMs, last.ID
	}
}

// eachPresence calls each for the trackers of an account that were ever connected.
func (f *Feed) eachPresence(ctx context.Context, account queue.AccountID,
	each func(t queue.TrackerID, p queue.Presence),
) error {
	return f.eachTrackers(account, func(ts []queue.TrackerID) error {
		return f.presences(ctx, ts, func(t queue.TrackerID, p queue.Presence) error {
			each(t, p)
			return nil
		})
	})
}

func (f *Feed) presences(ctx context.Context, ts []queue.TrackerID, each func(t queue.TrackerID,
	p queue.Presence) error,
) error {
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	known, err := f.store.Presence(bounded, ts)
	if err != nil {
		return fmt.Errorf("reading who is connected: %w", err)
	}
	for _, t := range ts {
		if p, ok := known[t]; ok {
			if err := each(t, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachTrackers calls each for the conversations of an account, some at a time: those of its
// trackers, and those that it has kept.
func (f *Feed) eachTrackers(account queue.AccountID, each func(ts []queue.TrackerID) error) error {
	snap := f.directory.Current()
	var ts []queue.TrackerID
	add := func(keys ...queue.TrackerID) error {
		if ts = append(ts, keys...); len(ts) < askedAtOnce {
			return nil
		}
		err := each(ts)
		ts = ts[:0]
		return err
	}
	for t := range snap.TrackersOf(account) {
		if err := add(t.Key()); err != nil {
			return err
		}
	}
	for t := range snap.FormerOf(account) {
		if err := add(t.FormerKeys(account)...); err != nil {
			return err
		}
	}
	if len(ts) == 0 {
		return nil
	}
	return each(ts)
}
