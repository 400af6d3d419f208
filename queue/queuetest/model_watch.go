package queuetest

import (
	"context"
	"slices"
	"time"

	"trackchat/queue"
)

func (m *Model) Watch(ctx context.Context, tell func([]queue.Change)) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := m.changes.Listen(ctx, struct{}{}, tell); err != nil {
		return err
	}
	go m.tellLate(ctx)
	return nil
}

// tellLate says ten times a second that nothing is left to be told.
func (m *Model) tellLate(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		m.told()
		m.mu.Unlock()
	}
}

// hint tells a change, and that nothing before it is left to be told.
func (m *Model) hint(kind queue.ChangeKind, t queue.TrackerID, id, ms int64) {
	m.told(queue.Change{Kind: kind, Tracker: t, ID: id, Ms: ms})
}

func (m *Model) told(list ...queue.Change) {
	m.changes.Tell(struct{}{}, append(list, queue.Change{
		Kind: queue.ChangeWatermark, Ms: m.now().UnixMilli(),
	}))
}

// presence tells that a session began or ended; owned says that there was one before.
func (m *Model) presence(t queue.TrackerID, owned bool) {
	id := int64(0)
	if owned {
		id = queue.PresenceOwned
	}
	m.hint(queue.ChangePresence, t, id, m.now().UnixMilli())
}

func (m *Model) Changed(ctx context.Context, ts []queue.TrackerID,
	sinceMs int64,
) ([]queue.TrackerID, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var changed []queue.TrackerID
	for _, id := range ts {
		if t := m.trackers[id]; t != nil && t.clock > 0 && t.clock >= sinceMs {
			changed = append(changed, id)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed), nil
}
