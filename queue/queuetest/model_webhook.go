package queuetest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"trackchat/queue"
)

// modelHook is a webhook with its lease.
type modelHook struct {
	queue.Webhook
	node queue.NodeID
	at   time.Time // when it was leased last
}

func (m *Model) hook(a queue.AccountID) *modelHook {
	if i := slices.IndexFunc(m.hooks, func(h *modelHook) bool { return h.Account == a }); i >= 0 {
		return m.hooks[i]
	}
	return nil
}

func (m *Model) PutWebhook(ctx context.Context, w queue.Webhook) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	h := m.hook(w.Account)
	if h == nil {
		h = &modelHook{Webhook: queue.Webhook{Account: w.Account, Progress: w.Progress}}
		m.hooks = append(m.hooks, h)
	}
	m.revision++
	h.URL, h.Secret, h.Revision = w.URL, w.Secret, m.revision
	return nil
}

func (m *Model) DropWebhook(ctx context.Context, a queue.AccountID) (bool, error) {
	if err := m.enter(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	before := len(m.hooks)
	m.hooks = slices.DeleteFunc(m.hooks, func(h *modelHook) bool { return h.Account == a })
	return len(m.hooks) < before, nil
}

func (m *Model) ReplayWebhook(ctx context.Context, a queue.AccountID, positionMs int64) (bool,
	error,
) {
	if err := m.enter(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	h := m.hook(a)
	if h == nil {
		return false, nil
	}
	m.revision++
	h.Progress.PositionMs, h.Revision = positionMs, m.revision
	return true, nil
}

func (m *Model) Webhooks(ctx context.Context) ([]queue.Webhook, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	list := make([]queue.Webhook, len(m.hooks))
	for i, h := range m.hooks {
		list[i] = h.Webhook
	}
	slices.SortFunc(list, func(a, b queue.Webhook) int { return int(a.Account - b.Account) })
	return list, nil
}

func (m *Model) LeaseWebhooks(ctx context.Context, node queue.NodeID, accounts []queue.AccountID,
	life time.Duration,
) ([]queue.AccountID, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	now := m.now()
	var leased []queue.AccountID
	for _, a := range accounts {
		h := m.hook(a)
		switch {
		case h == nil || h.node != node && h.node != "" && (life == 0 || now.Sub(h.at) < life):
		case life == 0:
			h.node = ""
		default:
			h.node, h.at = node, now
			leased = append(leased, a)
		}
	}
	return leased, nil
}

func (m *Model) SaveWebhook(ctx context.Context, node queue.NodeID, a queue.AccountID,
	revision int64, p queue.WebhookProgress,
) (bool, error) {
	if err := m.enter(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	h := m.hook(a)
	if h == nil || h.node != node || h.Revision != revision {
		return false, nil
	}
	h.Progress = p
	return true, nil
}

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
