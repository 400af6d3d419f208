package redisstore

import (
	"context"
	"fmt"

	"trackchat/queue"
)

// maxNode is the greatest length of a node's id.
const maxNode = 32

// Acquire implements queue.Delivery.
func (s *Store) Acquire(ctx context.Context, node queue.NodeID, ts []queue.TrackerID) ([]queue.Lease, error) {
	if node == "" || len(node) > maxNode {
		return nil, fmt.Errorf("node id %q must have 1 to %d bytes", node, maxNode)
	}
	items, places := make([]*item, len(ts)), make([]int, len(ts))
	for i, t := range ts {
		items[i] = &item{args: []any{trackerArg(t), tracker8(t), string(node)}, weight: 1, width: 16, bytes: 96}
		places[i] = partitionOf(t)
	}
	if err := s.transit(ctx, opAcquire, items, places); err != nil {
		return nil, err
	}
	if err := anyError(items); err != nil {
		return nil, err
	}
	leases := make([]queue.Lease, len(ts))
	for i, it := range items {
		b := []byte(it.reply)
		leases[i] = queue.Lease{Tracker: ts[i], Node: node, Epoch: uint48(b), Pending: uint24(b[6:]), LastOut: uint56(b[9:])}
	}
	return leases, nil
}

// Release implements queue.Delivery.
func (s *Store) Release(ctx context.Context, ls []queue.Lease) ([]bool, error) {
	items, places := make([]*item, len(ls)), make([]int, len(ls))
	for i, l := range ls {
		items[i] = &item{args: []any{trackerArg(l.Tracker), l.Epoch}, weight: 1, width: 1, bytes: 64}
		places[i] = partitionOf(l.Tracker)
	}
	if err := s.transit(ctx, opRelease, items, places); err != nil {
		return nil, err
	}
	if err := anyError(items); err != nil {
		return nil, err
	}
	done := make([]bool, len(ls))
	for i, it := range items {
		done[i] = it.reply[0] == 1
	}
	return done, nil
}

// Peek implements queue.Delivery.
func (s *Store) Peek(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult, error) {
	ts := make([]queue.TrackerID, len(ls))
	for i, l := range ls {
		ts[i] = l.Tracker
	}
	states, err := s.states(ctx, "peek", ts)
	if err != nil {
		return nil, err
	}
	var results []queue.PeekResult
	for i, l := range ls {
		st := &states[i]
		if fenced := st.epoch != l.Epoch; fenced || st.pending > 0 {
			results = append(results, queue.PeekResult{Tracker: l.Tracker, Epoch: l.Epoch, Pending: int(st.pending), LastOut: st.lastOut, Fenced: fenced})
		}
	}
	return results, nil
}
