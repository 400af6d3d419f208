package redisstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"trackchat/queue"
)

// hookTag puts everything about webhooks into one slot.
const hookTag = "{chat:hook}"

// hookTarget is what a webhook is beside its revision.
type hookTarget struct {
	URL    string `json:"url"`
	Secret string `json:"secret"`
}

// webhooks keeps where events are sent to, and which node does so.
type webhooks struct {
	*client
	mu   sync.Mutex // guards seen
	seen map[queue.AccountID]hookLease
}

// webhook runs the script.
func (hs *webhooks) webhook(ctx context.Context, what string, args ...any) (any, error) {
	sc := hs.scripts[scriptWebhook]
	q := &query{
		slot: slotOf(strings.Trim(hookTag, "{}")), sc: sc, writes: what != "list",
		args: append([]any{"evalsha", sc.sha, 3, hookTag + ":list", hookTag + ":progress", hookTag +
			":lease", what, hs.scriptClock()}, args...),
	}
	err := hs.ask(ctx, "webhook_"+what, []*query{q})
	return q.reply, err
}

// webhookDone is webhook for what is done or not.
func (hs *webhooks) webhookDone(ctx context.Context, what string, args ...any) (bool, error) {
	reply, err := hs.webhook(ctx, what, args...)
	return reply == int64(1), err
}

func (hs *webhooks) PutWebhook(ctx context.Context, h queue.Webhook) error {
	target, err := json.Marshal(hookTarget{h.URL, h.Secret})
	if err != nil {
		return fmt.Errorf("writing a webhook: %w", err)
	}
	progress, err := json.Marshal(h.Progress)
	if err != nil {
		return fmt.Errorf("writing a webhook's progress: %w", err)
	}
	_, err = hs.webhook(ctx, "put", int64(h.Account), target, progress)
	return err
}

// DropWebhook: Repeated because its answer was lost, it says false.
func (hs *webhooks) DropWebhook(ctx context.Context, a queue.AccountID) (bool, error) {
	return hs.webhookDone(ctx, "drop", int64(a))
}

func (hs *webhooks) ReplayWebhook(ctx context.Context, a queue.AccountID, positionMs int64) (bool,
	error,
) {
	return hs.webhookDone(ctx, "replay", int64(a), positionMs)
}

func (hs *webhooks) SaveWebhook(ctx context.Context, node queue.NodeID, a queue.AccountID,
	revision int64, p queue.WebhookProgress,
) (bool, error) {
	progress, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("writing a webhook's progress: %w", err)
	}
	return hs.webhookDone(ctx, "save", int64(a), string(node), revision, progress)
}

func (hs *webhooks) Webhooks(ctx context.Context) ([]queue.Webhook, error) {
	reply, err := hs.webhook(ctx, "list")
	if err != nil {
		return nil, err
	}
	rows, _ := reply.([]any)
	if len(rows)%3 != 0 {
		return nil, fmt.Errorf("%w: list of webhooks with %d values", queue.ErrCorrupt, len(rows))
	}
	list := make([]queue.Webhook, 0, len(rows)/3)
	for ; len(rows) > 0; rows = rows[3:] {
		h, err := decodeWebhook(rows)
		if err != nil {
			return nil, fmt.Errorf("%w: webhook of account %v: %w", queue.ErrCorrupt, rows[0], err)
		}
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b queue.Webhook) int { return cmp.Compare(a.Account, b.Account) })
	return list, nil
}

func decodeWebhook(row []any) (h queue.Webhook, err error) {
	account, _ := row[0].(string)
	value, _ := row[1].(string)
	progress, _ := row[2].(string)
	id, err := strconv.ParseInt(account, 10, 64)
	if err != nil {
		return h, err
	}
	revision, text, _ := strings.Cut(value, " ")
	if h.Revision, err = strconv.ParseInt(revision, 10, 64); err != nil {
		return h, err
	}
	var target hookTarget
	if err = json.Unmarshal([]byte(text), &target); err != nil {
		return h, err
	}
	h.Account, h.URL, h.Secret = queue.AccountID(id), target.URL, target.Secret
	err = json.Unmarshal([]byte(progress), &h.Progress)
	return h, err
}

// hookLease is what this process has seen of another node's lease. Whoever has one changes it with
// every call, so how long it has stood still says whether he lives, and no clock but this process's
// own counts.
type hookLease struct {
	text  string
	since time.Time
}

func (hs *webhooks) LeaseWebhooks(ctx context.Context, node queue.NodeID,
	accounts []queue.AccountID, life time.Duration,
) ([]queue.AccountID, error) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	args := make([]any, 2, 2+2*len(accounts))
	args[0], args[1] = string(node), 1
	if life == 0 {
		args[1] = 0
	}
	now := hs.now()
	for _, a := range accounts {
		over := ""
		if l, ok := hs.seen[a]; ok && now.Sub(l.since) >= life {
			over = l.text
		}
		args = append(args, int64(a), over)
	}
	reply, err := hs.webhook(ctx, "lease", args...)
	if err != nil {
		return nil, err
	}
	rows, _ := reply.([]any)
	if len(rows)%2 != 0 {
		return nil, fmt.Errorf("%w: leases of webhooks with %d values", queue.ErrCorrupt, len(rows))
	}
	now = hs.now()
	leased := make([]queue.AccountID, 0, len(rows)/2)
	for ; len(rows) > 0; rows = rows[2:] {
		account, _ := rows[0].(string)
		text, _ := rows[1].(string)
		id, err := strconv.ParseInt(account, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: lease of account %q", queue.ErrCorrupt, account)
		}
		a := queue.AccountID(id)
		_, by, _ := strings.Cut(text, " ")
		switch {
		case by == string(node):
			leased = append(leased, a)
			delete(hs.seen, a)
		case hs.seen[a].text != text:
			hs.seen[a] = hookLease{text, now}
		}
	}
	return leased, nil
}
