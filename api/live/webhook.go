package live

import (
	"context"
	"sync"
	"time"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Bounds of the webhooks.
const (
	hookCalls        = 256 // at a time, shared fairly among accounts
	hookCallsAccount = 8   // of one account
	hookLook         = time.Second
	hookLease        = 10 * time.Second // after which another node takes over from one that died
	hookFirstPause   = time.Second
	hookLastPause    = 5 * time.Minute
)

// Defaults of WebhookOptions.
const (
	DefaultWebhookTimeout  = 10 * time.Second
	DefaultWebhookRetryFor = 24 * time.Hour
)

// WebhookOptions configure the delivery of events to the accounts' own servers. Feed, Store, Node
// and Now are required.
type WebhookOptions struct {
	Feed         *Feed // tells what happens; it is closed later
	Store        queue.WebhookStore
	Node         queue.NodeID // of this run of this process
	AllowPrivate bool         // call addresses of private networks and of this machine
	Timeout      time.Duration
	RetryFor     time.Duration
	Pause        time.Duration // after the first failure; it doubles up to 5 minutes. 0: 1 s
	Now          func() time.Time
	Logger       *zap.Logger           // nil: none
	Registerer   prometheus.Registerer // nil: figures are kept but not registered
}

// Webhooks delivers events: to each account's server at least once, and in order for each tracker.
// How far it has come is in the store.
type Webhooks struct {
	store    queue.WebhookStore
	feed     *Feed
	node     queue.NodeID
	caller   *hookCaller
	places   *hookPlaces
	retryFor time.Duration
	pause    time.Duration // after the first failure
	now      func() time.Time
	log      *zap.Logger
	metrics  *hookMetrics

	stop    context.CancelFunc
	running sync.WaitGroup
}

// StartWebhooks begins to deliver. Close ends it.
func StartWebhooks(o WebhookOptions) *Webhooks {
	if o.Timeout <= 0 {
		o.Timeout = DefaultWebhookTimeout
	}
	if o.RetryFor <= 0 {
		o.RetryFor = DefaultWebhookRetryFor
	}
	if o.Pause <= 0 {
		o.Pause = hookFirstPause
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	ctx, stop := context.WithCancel(context.Background())
	metrics := newHookMetrics(o.Registerer)
	w := &Webhooks{
		store: o.Store, feed: o.Feed, node: o.Node, caller: newHookCaller(o.AllowPrivate,
			o.Timeout, o.Now),
		places: newHookPlaces(hookCalls, metrics.waiting), retryFor: o.RetryFor, pause: o.Pause,
		now: o.Now,
		log: o.Logger, metrics: metrics, stop: stop,
	}
	w.running.Go(func() { w.manage(ctx) })
	return w
}

// Close ends the calls under way, notes how far they came, and lets other nodes take over. It comes
// before the feed's.
func (w *Webhooks) Close() {
	w.stop()
	w.running.Wait()
}

// hookRun is a worker that runs.
type hookRun struct {
	worker *webhookWorker
	stop   context.CancelFunc
	done   chan struct{}
}

// manage keeps one worker for each account that this node has the lease of.
func (w *Webhooks) manage(ctx context.Context) {
	runs := make(map[queue.AccountID]*hookRun)
	look := time.NewTicker(hookLook)
	defer look.Stop()
	for ctx.Err() == nil {
		if err := w.assign(ctx, runs); err != nil && ctx.Err() == nil {
			w.log.Warn("webhooks cannot be looked at", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	accounts := make([]queue.AccountID, 0, len(runs))
	for account, r := range runs {
		r.stop()
		accounts = append(accounts, account)
	}
	for _, r := range runs {
		<-r.done
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.feed.timeout)
	defer cancel()
	if _, err := w.store.LeaseWebhooks(bounded, w.node, accounts, 0); err != nil {
		w.log.Warn("webhooks wait until this node's leases end", zap.Error(err))
	}
}

// assign starts and stops workers as the leases say. One that the store cannot be asked about goes
// on: it is fenced when it notes its progress.
func (w *Webhooks) assign(ctx context.Context, runs map[queue.AccountID]*hookRun) error {
	bounded, cancel := context.WithTimeout(ctx, w.feed.timeout)
	defer cancel()
	list, err := w.store.Webhooks(bounded)
	if err != nil {
		return err
	}
	snap := w.feed.directory.Current()
	hooks := make(map[queue.AccountID]queue.Webhook, len(list))
	accounts := make([]queue.AccountID, 0, len(list))
	for _, h := range list {
		if _, ok := snap.Account(h.Account); ok {
			hooks[h.Account] = h
			accounts = append(accounts, h.Account)
		}
	}
	leased, err := w.store.LeaseWebhooks(bounded, w.node, accounts, hookLease)
	if err != nil {
		return err
	}
	mine := make(map[queue.AccountID]bool, len(leased))
	for _, a := range leased {
		mine[a] = true
	}
	for account, r := range runs {
		if !mine[account] || hooks[account].Revision != r.worker.hook.Revision {
			r.stop()
			<-r.done
			delete(runs, account)
		}
	}
	w.places.setHooks(len(mine))
	lag := 0.0
	for account := range mine {
		if runs[account] == nil {
			runs[account] = w.start(ctx, hooks[account])
		}
		lag = max(lag, runs[account].worker.lag())
	}
	w.metrics.accounts.Set(float64(len(runs)))
	w.metrics.lag.Set(lag)
	return nil
}

func (w *Webhooks) start(ctx context.Context, h queue.Webhook) *hookRun {
	life, stop := context.WithCancel(ctx)
	r := &hookRun{worker: newWebhookWorker(w, h), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.worker.run(life)
	}()
	return r
}

// WebhookLag is the age of what waits for its delivery, in seconds. A position that does not move
// means that nobody delivers.
func WebhookLag(p *queue.WebhookProgress, now time.Time) float64 {
	oldest := p.OldestMs
	if oldest == 0 {
		oldest = p.PositionMs
		if now.Sub(time.UnixMilli(oldest)) < 2*savesIdle*saveEvery {
			return 0
		}
	}
	return max(0, now.Sub(time.UnixMilli(oldest)).Seconds())
}
