package redisstore

import (
	"context"
	"fmt"

	"trackchat/queue"
)

// maxNode is the greatest length of a node's id.
const maxNode = 32

func (s *Store) Acquire(ctx context.Context, node queue.NodeID,
	ts []queue.TrackerID,
) ([]queue.Lease, error) {
	if node == "" || len(node) > maxNode {
		return nil, fmt.Errorf("node id %q must have 1 to %d bytes", node, maxNode)
	}
	items := make([]*item, len(ts))
	for i, t := range ts {
		items[i] = &item{partition: partitionOf(t), args: []any{
			trackerArg(t), tracker8(t),
			string(node),
		}, weight: 1, width: 16, bytes: 96}
	}
	if err := s.execute(ctx, opAcquire, items); err != nil {
		return nil, err
	}
	if err := anyError(items); err != nil {
		return nil, err
	}
	leases := make([]queue.Lease, len(ts))
	for i, it := range items {
		b := []byte(it.reply)
		leases[i] = queue.Lease{
			Tracker: ts[i], Node: node, Epoch: uint48(b),
			Pending: uint24(b[6:]), LastOut: uint56(b[9:]),
		}
	}
	return leases, nil
}

func (s *Store) Release(ctx context.Context, ls []queue.Lease) ([]bool, error) {
	return s.leases(ctx, opRelease, len(ls), func(i int) (queue.TrackerID, []any) {
		return ls[i].Tracker, []any{
			trackerArg(ls[i].Tracker), tracker8(ls[i].Tracker), ls[i].Epoch,
			ls[i].SeenMs,
		}
	})
}

func (s *Store) Touch(ctx context.Context, ls []queue.Lease) error {
	_, err := s.leases(ctx, opTouch, len(ls), func(i int) (queue.TrackerID, []any) {
		return ls[i].Tracker, []any{trackerArg(ls[i].Tracker), ls[i].Epoch, ls[i].SeenMs}
	})
	return err
}

func (s *Store) Kick(ctx context.Context, ts []queue.TrackerID) ([]bool, error) {
	return s.leases(ctx, opKick, len(ts), func(i int) (queue.TrackerID, []any) {
		return ts[i],
			[]any{trackerArg(ts[i]), tracker8(ts[i])}
	})
}

// leases runs a transition that answers each of n items with a byte: whether it was done.
func (s *Store) leases(ctx context.Context, op string, n int, args func(i int) (queue.TrackerID,
	[]any),
) ([]bool, error) {
	items := make([]*item, n)
	for i := range items {
		t, a := args(i)
		items[i] = &item{partition: partitionOf(t), args: a, weight: 1, width: 1, bytes: 64}
	}
	if err := s.execute(ctx, op, items); err != nil {
		return nil, err
	}
	if err := anyError(items); err != nil {
		return nil, err
	}
	done := make([]bool, n)
	for i, it := range items {
		done[i] = it.reply[0] == 1
	}
	return done, nil
}

func (s *Store) CheckLeases(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult, error) {
	ts := make([]queue.TrackerID, len(ls))
	for i, l := range ls {
		ts[i] = l.Tracker
	}
	texts, err := s.stateTexts(ctx, "peek", ts)
	if err != nil {
		return nil, err
	}
	var results []queue.PeekResult
	for i, l := range ls {
		st, err := decodeState(texts[i])
		if err != nil { // Claim says more of it, to this session alone
			st = state{epoch: l.Epoch, pending: 1}
		}
		if fenced := st.epoch != l.Epoch; fenced || st.pending > 0 {
			results = append(results, queue.PeekResult{
				Tracker: l.Tracker, Epoch: l.Epoch,
				Pending: int(st.pending), LastOut: st.lastOut, Fenced: fenced,
			})
		}
	}
	return results, nil
}

// claimBlocks is how many blocks one answer for a Claim may hold.
const claimBlocks = 8

// claimer is one request of Claim on its way. A Cursor is the id of the last message that was
// returned.
type claimer struct {
	req    *queue.ClaimReq
	result *queue.ClaimResult
	run    run
	bytes  int
}

func (s *Store) Claim(ctx context.Context, reqs []queue.ClaimReq) ([]queue.ClaimResult, error) {
	results := make([]queue.ClaimResult, len(reqs))
	open := make([]*claimer, len(reqs))
	for i := range reqs {
		r := &reqs[i]
		results[i].Next = r.Cursor
		at, _ := placeOf(int64(r.Cursor))
		open[i] = &claimer{req: r, result: &results[i], run: run{
			tracker: r.Lease.Tracker, forward: true, from: fromPending, at: at.block,
			bytes: max(1, min(r.MaxBytes, readBytes)), blocks: claimBlocks,
		}}
	}
	for first := true; first || len(open) > 0; first = false {
		runs := make([]run, len(open))
		for i, c := range open {
			runs[i] = c.run
		}
		pages, err := s.read(ctx, "claim", runs)
		if err != nil {
			return nil, err
		}
		var left []*claimer
		for i, c := range open {
			more, err := c.take(&pages[i])
			switch {
			case err == nil:
			case len(c.result.Msgs) > 0: // it comes up again when it is next
				c.result.More = true
			default: // it concerns this tracker alone
				if pages[i].err == nil { // read has not counted it
					s.metrics.Corrupt("claim")
				}
				c.result.Err = err
			}
			if more {
				left = append(left, c)
			}
		}
		open = left
	}
	return results, nil
}

// take adds what a page holds for the request and reports whether another page is needed.
func (c *claimer) take(pg *page) (more bool, err error) {
	if pg.err != nil {
		return false, pg.err
	}
	if pg.state.epoch != c.req.Lease.Epoch {
		*c.result = queue.ClaimResult{Next: c.req.Cursor, Err: queue.ErrFenced}
		return false, nil
	}
	more, err = pg.each(partitionOf(c.run.tracker), true, func(m *queue.Message) bool {
		if m.Status != queue.StatusPending || m.ID <= int64(c.req.Cursor) {
			return true
		}
		if c.bytes += len(m.Text); c.req.Full(len(c.result.Msgs), c.bytes) {
			c.result.More = true
			return false
		}
		c.result.Msgs = append(c.result.Msgs, *m)
		c.result.Next = queue.Cursor(m.ID)
		return true
	})
	c.run.from, c.run.at = fromBlock, pg.next
	return more, err
}
