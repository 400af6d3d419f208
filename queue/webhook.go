package queue

import (
	"context"
	"time"
)

// Webhook is where an account's events are sent to.
type Webhook struct {
	Account  AccountID
	URL      string
	Secret   string // signs what is sent; whoever can read the store can read it
	Revision int64  // rises with every Put and Replay
	Progress WebhookProgress
}

// WebhookProgress is how far the delivery has come. Times are UTC milliseconds, 0 never.
type WebhookProgress struct {
	// every event before it was delivered or given up.
	PositionMs     int64  `json:"position"`
	OldestMs       int64  `json:"oldest,omitempty"` // of the events that wait
	DeliveredMs    int64  `json:"delivered,omitempty"`
	LastError      string `json:"error,omitempty"`
	ErrorMs        int64  `json:"error_at,omitempty"`
	FailingSinceMs int64  `json:"failing_since,omitempty"` // 0: the last call succeeded
	Dropped        int64  `json:"dropped,omitempty"`       // events that were given up
}

// WebhookStore keeps webhooks durably. At any time at most one node delivers for an account: the
// one that has its lease.
type WebhookStore interface {
	// PutWebhook sets URL and secret; the account's progress stays if it has a webhook already,
	// else it begins with w.Progress.
	PutWebhook(ctx context.Context, w Webhook) error
	// DropWebhook removes an account's webhook with its progress; false where there is none.
	DropWebhook(ctx context.Context, a AccountID) (bool, error)
	// ReplayWebhook has an account's events delivered again from a position on; false where there
	// is no webhook.
	ReplayWebhook(ctx context.Context, a AccountID, positionMs int64) (bool, error)
	// Webhooks returns all of them, ordered by account.
	Webhooks(ctx context.Context) ([]Webhook, error)
	// LeaseWebhooks makes node the one that delivers for those of the accounts that nobody else
	// delivers for, and returns them in the order given. Who delivers calls this again and again;
	// who has not done so for life, by the monotonic clock of the process that calls now, is taken
	// for dead. A life of 0 gives up what the node has.
	LeaseWebhooks(ctx context.Context, node NodeID, accounts []AccountID,
		life time.Duration) ([]AccountID, error)
	// SaveWebhook notes the progress of an account; false, and nothing is noted, where node has no
	// lease of it or revision is not the current one.
	SaveWebhook(ctx context.Context, node NodeID, a AccountID, revision int64,
		p WebhookProgress) (bool, error)
}
