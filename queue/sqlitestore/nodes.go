package sqlitestore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
)

// nodes are those of this process. They end with it, because no other process uses the file, so
// they are kept nowhere else.
type nodes struct {
	clock func() time.Time
	stop  <-chan struct{} // closed with the store

	mu    sync.Mutex // guards known
	known map[queue.NodeID]beating
}

// beating is a node and when it reported itself last. How long ago that was says the monotonic
// clock: a clock that is set makes no node dead.
type beating struct {
	queue.Node
	at time.Time
}

// beatMs is when that was by the clock as it is now.
func (b *beating) beatMs(now time.Time) int64 {
	return now.UnixMilli() - now.Sub(b.at).Milliseconds()
}

func (ns *nodes) Heartbeat(ctx context.Context, n queue.Node) error {
	if err := ns.usable(ctx); err != nil {
		return err
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.known[n.ID] = beating{n, ns.clock()}
	return nil
}

func (ns *nodes) Leave(ctx context.Context, id queue.NodeID) error {
	if err := ns.usable(ctx); err != nil {
		return err
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	delete(ns.known, id)
	return nil
}

// usable says why a call that does not go to the file is refused.
func (ns *nodes) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-ns.stop:
		return fmt.Errorf("%w: closed", queue.ErrUnavailable)
	default:
		return nil
	}
}

func (ns *nodes) Nodes(ctx context.Context) ([]queue.Node, error) {
	if err := ns.usable(ctx); err != nil {
		return nil, err
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	now := ns.clock()
	var nodes []queue.Node
	for _, b := range ns.known {
		b.BeatMs = b.beatMs(now)
		if queue.Living(b.BeatMs, now.UnixMilli()) {
			nodes = append(nodes, b.Node)
		}
	}
	slices.SortFunc(nodes, func(a, b queue.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

// beat is when a node reported itself last, 0 never.
func (ns *nodes) beat(id queue.NodeID, now time.Time) int64 {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	b, ok := ns.known[id]
	if !ok {
		return 0
	}
	return b.beatMs(now)
}
