package queuetest

import (
	"context"
	"slices"
	"time"

	"trackchat/queue"
)

// modelWatch is one reader of changes.
type modelWatch struct {
	buffer *queue.Buffer[queue.Change]
	stop   context.CancelFunc
}

func (m *Model) Watch(ctx context.Context) (<-chan []queue.Change, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	life, stop := context.WithCancel(ctx)
	w := &modelWatch{buffer: queue.NewChangeBuffer(modelWakes), stop: stop}
	m.watches = append(m.watches, w)
	out := make(chan []queue.Change)
	go m.tellLate(life, w)
	go func() {
		defer close(out)
		defer stop()
		w.buffer.Pump(life.Done(), out)
	}()
	return out, nil
}

// tellLate says ten times a second that nothing is left to be told.
func (m *Model) tellLate(ctx context.Context, w *modelWatch) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		w.buffer.Add(queue.Change{Kind: queue.ChangeWatermark, Ms: m.now().UnixMilli()})
		m.mu.Unlock()
	}
}

// hint tells a change, and that nothing before it is left to be told.
func (m *Model) hint(kind queue.ChangeKind, t queue.TrackerID, id, ms int64) {
	for _, w := range m.watches {
		w.buffer.Add(queue.Change{Kind: kind, Tracker: t, ID: id, Ms: ms},
			queue.Change{Kind: queue.ChangeWatermark, Ms: m.now().UnixMilli()})
	}
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
