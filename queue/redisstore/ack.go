package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

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
		meta := binary.BigEndian.AppendUint32([]byte{
			opened, byte(offset >> 16), byte(offset >> 8),
			byte(offset),
		}, check)
		return queue.Ref{Tracker: r.Tracker, ID: r.ID}, appendCount(meta, r.Replaced)
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
// tracker and slot, and result takes its code, 0 where there is no such message.
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
		full := append(append(tracker8(ref.Tracker), byte(at.slot)), meta...)
		items = append(items, &item{partition: at.partition, args: []any{
			trackerArg(ref.Tracker),
			at.block, full,
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
