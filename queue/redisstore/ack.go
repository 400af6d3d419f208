package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"trackchat/queue"
)

func (s *Store) Ack(ctx context.Context, acks []queue.AckReq) ([]queue.AckResult, error) {
	results := make([]queue.AckResult, len(acks))
	err := s.change(ctx, opAck, len(acks), func(i int) (queue.Ref, []byte) {
		r := &acks[i]
		offset, check := fromHint(r.Tracker, r.Hint)
		opened := byte(0)
		if r.Opened {
			opened = 1
		}
		meta := binary.BigEndian.AppendUint32([]byte{opened}, check)
		meta = append(appendCount(meta, r.Replaced), 0)
		if digits := len(meta); offset > 0 {
			meta = strconv.AppendInt(meta, int64(offset), 10)
			meta[digits-1] = byte(len(meta) - digits)
			meta = strconv.AppendInt(meta, int64(offset+recordHeader-1), 10)
		}
		return queue.Ref{Tracker: r.Tracker, ID: r.ID}, meta
	}, func(i int, code byte) { results[i] = queue.AckResult(code) })
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (s *Store) End(ctx context.Context, ends []queue.EndReq) ([]queue.EndResult, error) {
	for _, r := range ends {
		if !slices.Contains([]queue.Status{
			queue.StatusFailed, queue.StatusExpired,
			queue.StatusCancelled, queue.StatusSent,
		}, r.Status) {
			return nil, fmt.Errorf("%q is no end of a message", r.Status)
		}
	}
	results := make([]queue.EndResult, len(ends))
	err := s.change(ctx, opFinish, len(ends), func(i int) (queue.Ref, []byte) {
		r := &ends[i]
		reason, replaced := r.Reason, 0
		if r.Status == queue.StatusSent {
			reason, replaced = queue.ReasonNone, r.Replaced
		}
		return queue.Ref{Tracker: r.Tracker, ID: r.ID}, appendCount([]byte{
			byte(r.Status),
			byte(reason),
		}, replaced)
	}, func(i int, code byte) { results[i] = queue.EndResult(code) })
	if err != nil {
		return nil, err
	}
	return results, nil
}

func appendCount(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(max(0, min(n, math.MaxUint16))))
}

// Progress: Notes that make no sense are ignored.
func (s *Store) Progress(ctx context.Context, ps []queue.ProgressReq) error {
	return s.change(ctx, opProgress, len(ps), func(i int) (queue.Ref, []byte) {
		p := &ps[i]
		if !p.Valid() {
			return queue.Ref{}, nil
		}
		meta := binary.BigEndian.AppendUint16(nil, uint16(p.Parts))
		meta = append(binary.BigEndian.AppendUint16(meta, uint16(p.Acked)), byte(p.Tries))
		return queue.Ref{Tracker: p.Tracker, ID: p.ID}, appendUint48(meta, p.TriedMs)
	}, func(int, byte) {})
}

// change runs a transition of single messages: request describes one, meta being what follows
// tracker, block and slot, and result takes its code, 0 where there is no such message.
func (s *Store) change(ctx context.Context, op string, n int, request func(i int) (queue.Ref,
	[]byte), result func(i int, code byte),
) error {
	items, index := make([]*item, 0, n), make([]int, 0, n)
	for i := range n {
		ref, meta := request(i)
		at, ok := placeIn(ref.Tracker, ref.ID)
		if !ok {
			continue
		}
		full := append(appendUint40(tracker8(ref.Tracker), at.block), byte(at.slot))
		items = append(items, &item{partition: at.partition, args: []any{
			s.trackerKey(ref.Tracker), s.blockKey(at), append(full, meta...),
		}, weight: 1, width: 1, bytes: 64})
		index = append(index, i)
	}
	if err := s.execute(ctx, op, items); err != nil {
		return err
	}
	if err := anyError(items); err != nil {
		return err
	}
	for i, it := range items {
		result(index[i], it.reply[0])
	}
	return nil
}

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
	ids := make([]int64, len(refs))
	for i, r := range refs {
		ids[i] = r.ID
	}
	found, err := s.Find(ctx, ids)
	if err != nil {
		return nil, false, err
	}
	results, all := make([]queue.MarkResult, len(refs)), true
	for i := range found {
		switch m := &found[i]; {
		case m.Tracker != refs[i].Tracker:
			all = false
		case m.Status == queue.StatusUnread:
			results[i] = queue.MarkNewly
		case m.Status == queue.StatusRead:
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
