package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

const (
	keptAtOnce = 1000
	keptNode   = NodeID("moved") // owner while kept conversations are ended; no node has that id
	keptBytes  = 256 << 10
)

// EndKept ends what is still to be delivered in conversations that accounts have kept of trackers
// which are another account's now: it failed, as ReasonMoved says, and no device is shown it any
// more. A session that still serves one of them is kicked. It returns how many messages it ended.
// It may be repeated, by any process: somebody who does not know of the move may still have sent.
func EndKept(ctx context.Context, store Delivery, keys []TrackerID) (ended int, err error) {
	for some := range slices.Chunk(keys, keptAtOnce) {
		leases := make([]Lease, len(some))
		for i, key := range some {
			leases[i] = Lease{Tracker: key, Node: keptNode}
		}
		found, err := store.CheckLeases(ctx, leases) // all that was ever used is fenced
		if err != nil {
			return ended, fmt.Errorf("looking for messages of moved trackers: %w", err)
		}
		for i := range found {
			if found[i].Pending == 0 {
				continue
			}
			n, err := endPending(ctx, store, found[i].Tracker)
			ended += n
			if err != nil {
				return ended, fmt.Errorf("ending messages of moved trackers: %w", err)
			}
		}
	}
	return ended, nil
}

func endPending(ctx context.Context, store Delivery, key TrackerID) (ended int, err error) {
	leases, err := store.Acquire(ctx, keptNode, []TrackerID{key})
	if err != nil {
		return 0, err
	}
	defer func() {
		_, release := store.Release(ctx, leases)
		err = errors.Join(err, release)
	}()
	for {
		claimed, err := store.Claim(ctx, []ClaimReq{{Lease: leases[0], MaxBytes: keptBytes}})
		if err == nil {
			err = claimed[0].Err
		}
		if errors.Is(err, ErrFenced) {
			return ended, nil // another process does the same
		}
		if err != nil || len(claimed[0].Msgs) == 0 {
			return ended, err
		}
		ends := make([]EndReq, len(claimed[0].Msgs))
		for i := range ends {
			m := &claimed[0].Msgs[i]
			ends[i] = EndReq{Tracker: key, ID: m.ID, Status: StatusFailed, Reason: ReasonMoved}
		}
		results, err := store.End(ctx, ends)
		if err != nil {
			return ended, err
		}
		for _, r := range results {
			if r == EndNow {
				ended++
			}
		}
	}
}
