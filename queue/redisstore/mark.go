package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"trackchat/queue"
)

// MarkRead: Within one partition all or none is a matter of one script. Across partitions
// everything is looked up first and marked then; a message that retention removes in between is
// reported unknown although the others are marked.
func (s *Store) MarkRead(ctx context.Context, refs []queue.Ref) ([]queue.MarkResult, error) {
	groups := make(map[int][]int)
	sound := true
	for i, r := range refs {
		at, ok := placeIn(r.Tracker, r.ID)
		sound = sound && ok
		groups[at.partition] = append(groups[at.partition], i)
	}
	if !sound || len(groups) > 1 {
		results, all, err := s.lookUnread(ctx, refs)
		if err != nil || !all {
			return results, err
		}
	}
	items, index := make([]*item, 0, len(groups)), make([][]int, 0, len(groups))
	for p, list := range groups {
		args := make([]any, 1, 1+3*len(list))
		args[0] = len(list)
		for _, i := range list {
			at, _ := placeIn(refs[i].Tracker, refs[i].ID)
			args = append(args, trackerArg(refs[i].Tracker), at.block,
				append(tracker8(refs[i].Tracker), byte(at.slot)))
		}
		items = append(items, &item{
			partition: p, args: args, weight: len(list), width: len(list),
			bytes: 64 * len(list),
		})
		index = append(index, list)
	}
	if err := s.execute(ctx, opMark, items); err != nil {
		return nil, err
	}
	if err := anyError(items); err != nil {
		return nil, err
	}
	results := make([]queue.MarkResult, len(refs))
	for g, list := range index {
		for k, i := range list {
			results[i] = queue.MarkResult(items[g].reply[k])
		}
	}
	return results, nil
}

// lookUnread says what marking refs would do, and whether all of them can be marked.
func (s *Store) lookUnread(ctx context.Context, refs []queue.Ref) ([]queue.MarkResult, bool,
	error,
) {
	found, err := s.Get(ctx, refs)
	if err != nil {
		return nil, false, err
	}
	results, all := make([]queue.MarkResult, len(refs)), true
	for i := range found {
		switch found[i].Status {
		case queue.StatusUnread:
			results[i] = queue.MarkNewly
		case queue.StatusRead:
			results[i] = queue.MarkAlready
		default:
			all = false
		}
	}
	return results, all, nil
}

// MarkReadAll: Each script call marks at most 256 messages of a tracker. After an error, what was
// marked stays so.
func (s *Store) MarkReadAll(ctx context.Context, ts []queue.TrackerID) (int, error) {
	type marking struct {
		tracker queue.TrackerID
		done    int // blocks, the newest first, that hold no unread message any more
	}
	open := make([]marking, len(ts))
	for i, t := range ts {
		open[i].tracker = t
	}
	total := 0
	for first := true; first || len(open) > 0; first = false {
		items := make([]*item, len(open))
		for i, m := range open {
			items[i] = &item{partition: partitionOf(m.tracker), args: []any{
				trackerArg(m.tracker),
				m.done,
			}, weight: 8, width: 7, bytes: 64}
		}
		if err := s.execute(ctx, opMarkAll, items); err != nil {
			return total, err
		}
		var left []marking
		for i, it := range items {
			if it.Err != nil {
				return total, fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, it.Err)
			}
			b := []byte(it.reply)
			total += int(binary.BigEndian.Uint16(b))
			if b[6] == 1 {
				left = append(left, marking{open[i].tracker, int(binary.BigEndian.Uint32(b[2:]))})
			}
		}
		open = left
	}
	return total, nil
}
