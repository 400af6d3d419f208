package queuetest

import (
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
