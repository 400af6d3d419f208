package queuetest

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"trackchat/queue"
)

type modelBroadcast struct {
	queue.Broadcast
	targets map[int][]queue.BroadcastTarget // by the number of the first
}

func (m *Model) SaveBroadcast(ctx context.Context, a queue.AccountID, b queue.Broadcast, first int,
	ts []queue.BroadcastTarget,
) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.findAccount(a) == nil {
		return queue.ErrNotFound
	}
	list := m.broadcasts[a]
	i, found := slices.BinarySearchFunc(list, b.ID, func(o modelBroadcast, id int64) int {
		return cmp.Compare(o.ID, id)
	})
	if !found {
		list = slices.Insert(list, i, modelBroadcast{
			targets: make(map[int][]queue.BroadcastTarget),
		})
	}
	list[i].Broadcast = b
	if len(ts) > 0 {
		list[i].targets[first] = slices.Clone(ts)
	}
	m.broadcasts[a] = list[max(0, len(list)-queue.MaxBroadcasts):]
	return nil
}

func (m *Model) Broadcasts(ctx context.Context, a queue.AccountID, before int64,
	limit int,
) ([]queue.Broadcast, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var list []queue.Broadcast
	for _, b := range slices.Backward(m.broadcasts[a]) {
		if (before == 0 || b.ID < before) && len(list) < limit {
			list = append(list, b.Broadcast)
		}
	}
	return list, nil
}

func (m *Model) BroadcastTargets(ctx context.Context, a queue.AccountID,
	id int64,
) ([]queue.BroadcastTarget, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var ts []queue.BroadcastTarget
	for _, b := range m.broadcasts[a] {
		if b.ID == id {
			for _, first := range slices.Sorted(maps.Keys(b.targets)) {
				ts = append(ts, b.targets[first]...)
			}
		}
	}
	return ts, nil
}
