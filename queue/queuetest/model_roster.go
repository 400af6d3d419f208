package queuetest

import (
	"cmp"
	"context"
	"slices"

	"trackchat/queue"
)

// heard notes when a device was last heard of.
func (m *Model) heard(t *modelTracker, ms int64) {
	t.seen = max(t.seen,
		min(ms, m.now().UnixMilli()))
}

func (m *Model) Touch(ctx context.Context, ls []queue.Lease) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, l := range ls {
		if t := m.tracker(l.Tracker); t.epoch == l.Epoch && t.owner != "" {
			m.heard(t, l.SeenMs)
		}
	}
	return nil
}

func (m *Model) Presence(ctx context.Context,
	ts []queue.TrackerID,
) (map[queue.TrackerID]queue.Presence, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	known := make(map[queue.TrackerID]queue.Presence)
	for _, id := range ts {
		t := m.tracker(id)
		if t.since == 0 {
			continue
		}
		p := queue.Presence{SinceMs: t.since, SeenMs: t.seen}
		if n, ok := m.nodes[t.owner]; ok && m.living(n) {
			p.Online = true
		} else if t.owner != "" {
			p.SinceMs = max(n.BeatMs, t.seen)
		}
		known[id] = p
	}
	return known, nil
}

func (m *Model) living(n queue.Node) bool {
	return queue.Living(n.BeatMs, m.now().UnixMilli())
}

func (m *Model) Heartbeat(ctx context.Context, n queue.Node) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	n.BeatMs = m.now().UnixMilli()
	m.nodes[n.ID] = n
	return nil
}

func (m *Model) Leave(ctx context.Context, id queue.NodeID) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.nodes, id)
	return nil
}

func (m *Model) Nodes(ctx context.Context) ([]queue.Node, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var nodes []queue.Node
	for _, n := range m.nodes {
		if m.living(n) {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b queue.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

func (m *Model) Kick(ctx context.Context, ts []queue.TrackerID) ([]bool, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	res := make([]bool, len(ts))
	for i, id := range ts {
		t := m.tracker(id)
		if res[i] = t.owner != ""; !res[i] {
			continue
		}
		m.wake(t.owner, queue.Wake{Kind: queue.WakeKick, Tracker: id, Epoch: t.epoch})
		t.epoch++
		t.owner, t.since = "", m.now().UnixMilli()
		m.presence(id, true)
	}
	return res, nil
}
