package admin

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/api/auth"
	"trackchat/api/live"
	"trackchat/api/navixy"
	"trackchat/queue"
)

const (
	minSecret = 16
	maxSecret = 255
)

// webhookAdmin answers /admin/accounts/{id}/webhook and what is below it.
type webhookAdmin struct {
	*administration
	allowPrivate bool
}

func (a *webhookAdmin) routes() routes {
	return routes{
		"/admin/accounts/{id}/webhook": {
			http.MethodGet:    a.handle(a.get),
			http.MethodPut:    a.change("webhook/put", "account", a.put),
			http.MethodDelete: a.change("webhook/delete", "account", bare(a.drop)),
		},
		"/admin/accounts/{id}/webhook/replay": {
			http.MethodPost: a.change("webhook/replay", "account", a.replay),
		},
	}
}

// webhookObject is what is put.
type webhookObject struct {
	URL string `json:"url"`
	// absent: a webhook that exists keeps its own, a new one gets one that is answered once.
	Secret *string `json:"secret"`
}

// webhookState is what is answered; the secret is not.
type webhookState struct {
	URL          string  `json:"url"`
	Position     string  `json:"position"`    // everything before it is delivered or given up
	LagSeconds   float64 `json:"lag_seconds"` // age of the oldest event that waits
	LastDelivery *string `json:"last_delivery"`
	LastError    *string `json:"last_error"`
	LastErrorAt  *string `json:"last_error_at"`
	FailingSince *string `json:"failing_since"` // null: the last call succeeded
	Dropped      int64   `json:"dropped"`
}

// find returns the webhook of the path's account.
func (a *webhookAdmin) find(ctx context.Context, r *http.Request) (id int64, hook *queue.Webhook,
	err error,
) {
	if id, err = pathID(r); err != nil {
		return 0, nil, err
	}
	if _, err := a.account(ctx, id); err != nil {
		return 0, nil, err
	}
	list, err := a.hooks.Webhooks(ctx)
	if err != nil {
		return 0, nil, err
	}
	for i := range list {
		if int64(list[i].Account) == id {
			return id, &list[i], nil
		}
	}
	return id, nil, nil
}

func (a *webhookAdmin) get(ctx context.Context, r *http.Request) (any, error) {
	_, hook, err := a.find(ctx, r)
	if err != nil {
		return nil, err
	}
	if hook == nil {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	p := &hook.Progress
	state := webhookState{
		URL: hook.URL, Position: time.UnixMilli(p.PositionMs).UTC().Format(time.RFC3339),
		LagSeconds:   live.WebhookLag(p, a.now()),
		LastDelivery: moment(p.DeliveredMs), LastErrorAt: moment(p.ErrorMs),
		FailingSince: moment(p.FailingSinceMs), Dropped: p.Dropped,
	}
	if p.LastError != "" {
		state.LastError = &p.LastError
	}
	return valueMembers{state}, nil
}

// moment is a time in an answer, nil for 0.
func moment(ms int64) *string {
	if ms == 0 {
		return nil
	}
	text := time.UnixMilli(ms).UTC().Format(time.RFC3339)
	return &text
}

func (a *webhookAdmin) put(ctx context.Context, r *http.Request) (any, error) {
	id, hook, err := a.find(ctx, r)
	if err != nil {
		return nil, err
	}
	var o webhookObject
	if err := readObject(r, &o); err != nil {
		return nil, err
	}
	var c checker
	if problem := live.CheckWebhookURL(o.URL, a.allowPrivate); problem != "" {
		c.fail("url", "%s", problem)
	}
	if o.Secret != nil {
		n := utf8.RuneCountInString(*o.Secret)
		if n < minSecret || n > maxSecret || !utf8.ValidString(*o.Secret) ||
			strings.ContainsFunc(*o.Secret, unicode.IsControl) {
			c.fail("secret", "must have %d to %d characters and no control characters", minSecret,
				maxSecret)
		}
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	made := ""
	next := queue.Webhook{
		Account: queue.AccountID(id), URL: o.URL,
		Progress: queue.WebhookProgress{PositionMs: a.now().UnixMilli()},
	}
	switch {
	case o.Secret != nil:
		next.Secret = *o.Secret
	case hook != nil:
		next.Secret = hook.Secret
	default:
		made = auth.NewKey()
		next.Secret = made
	}
	if err := a.hooks.PutWebhook(ctx, next); err != nil {
		return nil, err
	}
	return valueMembers{struct {
		URL    string `json:"url"`
		Secret string `json:"secret,omitempty"`
	}{o.URL, made}}, nil
}

func (a *webhookAdmin) drop(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	done, err := a.hooks.DropWebhook(ctx, queue.AccountID(id))
	if err == nil && !done {
		err = navixy.Refuse(navixy.CodeNotFound)
	}
	return nil, err
}

// replay has events delivered again: those of the last 24 hours, or since a time.
func (a *webhookAdmin) replay(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	var o struct {
		Since string `json:"since"`
	}
	if err := readOptional(r, &o); err != nil {
		return nil, err
	}
	since := a.now().Add(-live.Retained)
	if o.Since != "" {
		unix, ok := navixy.Clock{Zone: time.UTC}.Parse(o.Since, false)
		if !ok || unix < 0 {
			return nil, navixy.Invalid("since", "must be a time like 2026-05-28T20:26:40Z")
		}
		since = time.Unix(unix, 0)
	}
	done, err := a.hooks.ReplayWebhook(ctx, queue.AccountID(id), since.UnixMilli())
	if err == nil && !done {
		err = navixy.Refuse(navixy.CodeNotFound)
	}
	return nil, err
}
