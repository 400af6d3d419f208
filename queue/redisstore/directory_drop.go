package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	dropBlocks = 256         // of a removed tracker's messages that one script removes
	dropLook   = 100         // removed trackers that are looked for at once
	dropEvery  = time.Minute // between looks for what other processes did not get to
)

// A tracker that is removed with its messages is noted in the step that removes it. Its messages
// lie in another slot: they are cut off by one script, which does so only once for a removal, and
// then removed block by block; the note goes last.

// dropMessages removes the messages of a conversation that a version of the directory has dropped.
func (s *dirStore) dropMessages(ctx context.Context, t queue.TrackerID, version int64) error {
	p := partitionOf(t)
	rest := fmt.Sprintf("%s:g:%d:%d", s.keys[p], t, version)
	more, err := s.partRun(ctx, p, scriptDrop, version, s.scriptClock(), s.publish, trackerArg(t),
		tracker8(t), rest)
	for more && err == nil {
		more, err = s.partRun(ctx, p, scriptPurge, rest, dropBlocks)
	}
	if err != nil {
		return err
	}
	_, err = s.dirRun(ctx, "drop_tracker", scriptDropped, int64(t), version)
	return err
}

// partRun runs a script that may be repeated on a partition and reports whether it answered 1.
func (s *dirStore) partRun(ctx context.Context, p int, name string, args ...any) (bool, error) {
	q := s.evalsha(s.slots[p], s.keys[p], name, args...)
	q.writes = true
	if err := s.ask(ctx, "drop_tracker", []*query{q}); err != nil {
		return false, err
	}
	return q.reply == int64(1), nil
}

// finishDrops makes sure that trackers which come again start without messages, also if the process
// that removed them did not get to the end.
func (s *dirStore) finishDrops(ctx context.Context, ts []queue.TrackerID) error {
	if len(ts) == 0 {
		return nil
	}
	left := dirQuery("hlen", dirDrops)
	if err := s.ask(ctx, "drop_tracker", []*query{left}); err != nil || left.reply == int64(0) {
		return err
	}
	for some := range slices.Chunk(ts, dirPage) {
		q := dirQuery("hmget", dirDrops)
		for _, t := range some {
			q.args = append(q.args, int64(t))
		}
		if err := s.ask(ctx, "drop_tracker", []*query{q}); err != nil {
			return err
		}
		versions, _ := q.reply.([]any)
		if len(versions) != len(some) {
			return fmt.Errorf("%w: HMGET answered %T", queue.ErrCorrupt, q.reply)
		}
		for i, t := range some {
			if text, ok := versions[i].(string); ok {
				if err := s.finishDrop(ctx, t, text); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *dirStore) finishDrop(ctx context.Context, t queue.TrackerID, text string) error {
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: removal of tracker %d in version %q", queue.ErrCorrupt, t, text)
	}
	if err := s.dropMessages(ctx, t, version); err != nil {
		return fmt.Errorf("removing the messages of tracker %d: %w", t, err)
	}
	return nil
}

// dropLeft finishes what some process has left.
func (s *dirStore) dropLeft(ctx context.Context) error {
	for cursor := "0"; ; {
		q := dirQuery("hscan", dirDrops, cursor, "count", dropLook)
		if err := s.ask(ctx, "drop_tracker", []*query{q}); err != nil {
			return err
		}
		answer, _ := q.reply.([]any)
		if len(answer) != 2 {
			return fmt.Errorf("%w: HSCAN answered %T", queue.ErrCorrupt, q.reply)
		}
		fields, _ := answer[1].([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			id, err := strconv.ParseInt(fmt.Sprint(fields[i]), 10, 64)
			if err != nil {
				return fmt.Errorf("%w: removed tracker %q", queue.ErrCorrupt, fields[i])
			}
			if err := s.finishDrop(ctx, queue.TrackerID(id), fmt.Sprint(fields[i+1])); err != nil {
				return err
			}
		}
		if cursor = fmt.Sprint(answer[0]); cursor == "0" {
			return nil
		}
	}
}

// purgeLoop looks for messages of removed trackers that some process has left, until ctx ends.
func (s *dirStore) purgeLoop(ctx context.Context) {
	if err := s.forgetIndexes(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("what an earlier version kept is left", zap.Error(err))
	}
	tick := time.NewTicker(dropEvery)
	defer tick.Stop()
	for {
		s.tryDrops(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *dirStore) tryDrops(ctx context.Context) {
	if err := s.dropLeft(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("messages of removed trackers are left", zap.Error(err))
	}
}

// forgetIndexes removes what earlier versions kept of the directory's rows: who has what is unique,
// {chat:dir}:u:<n>, and an account's trackers, {chat:dir}:o:<account>. Those go first, so that
// where none of the others is left, nothing is.
func (s *dirStore) forgetIndexes(ctx context.Context) error {
	const parts = 4096
	unique := make([]any, parts)
	for i := range unique {
		unique[i] = fmt.Sprintf("%s:u:%d", dirTag, i)
	}
	q := dirQuery(append([]any{"exists"}, unique...)...)
	if err := s.ask(ctx, "directory", []*query{q}); err != nil || q.reply == int64(0) {
		return err
	}
	unlink := func(keys []any) error {
		q := dirQuery(append([]any{"unlink"}, keys...)...)
		q.writes = true
		return s.ask(ctx, "directory", []*query{q})
	}
	for after := queue.AccountID(0); ; {
		page, err := s.Accounts(ctx, after, dirPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return unlink(unique)
		}
		owned := make([]any, len(page))
		for i := range page {
			owned[i] = fmt.Sprintf("%s:o:%d", dirTag, page[i].ID)
		}
		if err := unlink(owned); err != nil {
			return err
		}
		after = page[len(page)-1].ID
	}
}
