package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	saveEvery   = time.Second
	savesIdle   = 30  // saves of which one notes that nothing has happened
	maxLastText = 300 // bytes of an error that is kept
)

// webhookWorker delivers the events of one account. Each tracker has a line of events that wait;
// its first one is under way until it is taken or given up.
type webhookWorker struct {
	w     *Webhooks
	hook  queue.Webhook
	log   *zap.Logger
	calls chan struct{}
	lines sync.WaitGroup // goroutines of lines

	mu       sync.Mutex // guards what follows
	waiting  map[queue.TrackerID][]*event
	count    int           // of events that wait or are under way
	room     chan struct{} // holds a token when count has gone down
	reached  int64         // where the reading is: every event before it is in waiting or done
	progress queue.WebhookProgress
	changed  bool      // progress is not noted
	failures int       // in a row
	failing  time.Time // since when, by the clock that nobody sets
	notUntil time.Time
}

func newWebhookWorker(w *Webhooks, h queue.Webhook) *webhookWorker {
	return &webhookWorker{
		w: w, hook: h, log: w.log.With(zap.Int64("account", int64(h.Account))),
		calls:   make(chan struct{}, hookCallsAccount),
		waiting: make(map[queue.TrackerID][]*event), room: make(chan struct{}, 1),
		reached: h.Progress.PositionMs, progress: h.Progress,
	}
}

// lag is how many seconds the delivery is behind.
func (c *webhookWorker) lag() float64 {
	oldest := c.oldest()
	if oldest == 0 {
		return 0
	}
	return max(0, float64(c.w.now().UnixMilli()-oldest)/1000)
}

// oldest is when the oldest event that waits happened, 0 where none does.
func (c *webhookWorker) oldest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := int64(0)
	for _, line := range c.waiting {
		if oldest == 0 || line[0].ms < oldest {
			oldest = line[0].ms
		}
	}
	return oldest
}

// run delivers until ctx ends.
func (c *webhookWorker) run(ctx context.Context) {
	saving := make(chan struct{})
	go func() {
		defer close(saving)
		c.keepSaving(ctx)
	}()
	for pause := feedPause; ctx.Err() == nil; pause = min(2*pause, feedPatient) {
		if err := c.follow(ctx); err == nil {
			pause = feedPause
		} else if ctx.Err() == nil {
			c.log.Warn("the events of a webhook cannot be read", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	c.lines.Wait()
	<-saving
	c.save(context.WithoutCancel(ctx), true)
}

// follow reads events from where the delivery is until the feed ends, or has more than can wait
// here; nil then.
func (c *webhookWorker) follow(ctx context.Context) error {
	sub := &subscriber{account: c.hook.Account, internal: true, ready: make(chan struct{}, 1)}
	defer c.w.feed.leave(sub)
	bounded, cancel := context.WithTimeout(ctx, c.w.feed.timeout)
	position, err := c.w.feed.subscribe(bounded, sub)
	cancel()
	if err != nil {
		return err
	}
	since := c.position()
	err = c.w.feed.replay(ctx, c.hook.Account, since-feedSlack.Milliseconds(),
		func(events []*event) error {
			for _, e := range events {
				if c.waits(e) {
					continue
				}
				e.position = since
				if err := c.add(ctx, e); err != nil {
					return err
				}
			}
			return nil
		}, c.tellReset(ctx, since))
	if err != nil {
		return fmt.Errorf("reading what is to be delivered: %w", err)
	}
	c.reach(position)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.ready:
		case <-time.After(saveEvery):
		}
		position := c.w.feed.at()
		list, over := sub.take()
		if over != endNot {
			return nil
		}
		for _, e := range list {
			if e.name == eventReset {
				// not all of what happened was told: what is known of it is read again from here
				return nil
			}
			// Shared with other readers; its position is where the feed was, which is behind or at
			// the one read above.
			if err := c.add(ctx, e); err != nil {
				return err
			}
		}
		c.reach(position)
	}
}

// tellReset has told that changes of a tracker are too long ago to know; what is newer than that
// follows.
func (c *webhookWorker) tellReset(ctx context.Context, since int64) func(t queue.TrackerID) error {
	return func(key queue.TrackerID) error {
		t, _ := queue.TrackerOf(key)
		c.log.Error("changes of a tracker are too long ago to be delivered", zap.Int64("tracker",
			int64(t)))
		e := resetEvent(c.w.now().UnixMilli())
		e.tracker, e.position = t, since
		e.data = fmt.Appendf(nil, `{"tracker_id":%d}`, t)
		return c.add(ctx, e)
	}
}

// waits reports whether the same event is in its line already.
func (c *webhookWorker) waits(e *event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.waiting[e.tracker],
		func(o *event) bool { return o.name == e.name && o.id == e.id && e.id != 0 })
}

// add puts an event into its tracker's line; it waits while too many do.
func (c *webhookWorker) add(ctx context.Context, e *event) error {
	for {
		c.mu.Lock()
		if c.count < c.w.feed.buffer {
			c.count++
			line := c.waiting[e.tracker]
			c.waiting[e.tracker] = append(line, e)
			if len(line) == 0 {
				c.lines.Go(func() { c.deliverLine(ctx, e.tracker) })
			}
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.room:
		}
	}
}

// deliverLine delivers the events of one tracker until there are no more. A line in waiting is
// never empty and has one goroutine.
func (c *webhookWorker) deliverLine(ctx context.Context, t queue.TrackerID) {
	c.mu.Lock()
	e := c.waiting[t][0]
	c.mu.Unlock()
	for more := true; more; {
		if !c.deliver(ctx, e) {
			return // the end; what waits is read again by whoever goes on
		}
		e, more = c.next(t)
	}
}

// next takes the first event, which is done, from a line; false where none is left and the line has
// ended.
func (c *webhookWorker) next(t queue.TrackerID) (*event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count--
	c.changed = true
	select {
	case c.room <- struct{}{}:
	default:
	}
	line := c.waiting[t][1:]
	if len(line) == 0 {
		delete(c.waiting, t)
		return nil, false
	}
	c.waiting[t] = line
	return line[0], true
}

// deliver calls until the event is taken or has been tried for long enough; false where ctx ended
// before.
func (c *webhookWorker) deliver(ctx context.Context, e *event) bool {
	body := hookBody(e)
	first := time.Time{} // failure
	for pause := c.w.pause; ; pause = min(2*pause, hookLastPause) {
		if !c.enter(ctx) {
			return false
		}
		begin := c.w.now()
		err := c.w.caller.post(ctx, c.hook.URL, c.hook.Secret, body)
		c.leave()
		if err != nil && ctx.Err() != nil {
			return false
		}
		now := c.w.now()
		c.w.metrics.observe(now.Sub(begin), err)
		failing := c.note(err, now)
		if err == nil {
			return true
		}
		if first.IsZero() {
			first = now
		}
		if c.givenUp(e, now, first, failing) {
			c.w.metrics.dropped.Inc()
			c.giveUp()
			c.log.Error("an event was not delivered for too long and is given up",
				zap.String("event", e.name), zap.Int64("tracker", int64(e.tracker)), zap.Error(err))
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// givenUp reports whether an event has been tried for long enough: here, or before a restart.
func (c *webhookWorker) givenUp(e *event, now, first, failing time.Time) bool {
	if now.Sub(first) >= c.w.retryFor {
		return true
	}
	return now.Sub(failing) >= c.w.retryFor && now.Sub(time.UnixMilli(e.ms)) >= c.w.retryFor
}

func (c *webhookWorker) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.Dropped++
}

// enter waits for a place among the calls, and while the receiver is down for the next time that it
// is tried.
func (c *webhookWorker) enter(ctx context.Context) bool {
	select {
	case c.calls <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	c.mu.Lock()
	wait := c.notUntil.Sub(c.w.now())
	c.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			<-c.calls
			return false
		}
	}
	if !c.w.places.enter(ctx, c.hook.Account) {
		<-c.calls
		return false
	}
	return true
}

func (c *webhookWorker) leave() {
	c.w.places.leave(c.hook.Account)
	<-c.calls
}

// note keeps how a call went and returns since when none has succeeded. A receiver that fails all
// the time is left alone for longer and longer.
func (c *webhookWorker) note(err error, now time.Time) (failing time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = true
	p := &c.progress
	if err == nil {
		p.DeliveredMs, p.FailingSinceMs, c.failures, c.failing, c.notUntil = now.UnixMilli(), 0, 0,
			time.Time{}, time.Time{}
		return now
	}
	text := err.Error()
	p.LastError, p.ErrorMs = text[:min(len(text), maxLastText)], now.UnixMilli()
	if p.FailingSinceMs == 0 {
		p.FailingSinceMs, c.failing = now.UnixMilli(), now
	}
	if c.failing.IsZero() { // since before a restart
		c.failing = time.UnixMilli(p.FailingSinceMs)
	}
	if c.failures++; c.failures > hookCallsAccount { // no single tracker's fault any more
		c.notUntil = now.Add(min(c.w.pause<<min(c.failures/hookCallsAccount, 12), hookLastPause))
	}
	return c.failing
}

// reach notes that every event before a position is known here. The clock may have been set back
// since the last one: what has happened from then on would not be read again from where that one
// was.
func (c *webhookWorker) reach(position int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached = position
}

// position is where the delivery is: every event before it is done.
func (c *webhookWorker) position() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	position := c.reached
	for _, line := range c.waiting {
		for _, e := range line {
			position = min(position, e.position)
		}
	}
	return position
}

// keepSaving notes the progress now and then.
func (c *webhookWorker) keepSaving(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n++
			c.save(ctx, n%savesIdle == 0)
		}
	}
}

// save notes the progress if there is any; also that nothing happened, if asked to.
func (c *webhookWorker) save(ctx context.Context, idle bool) {
	position, oldest := c.position(), c.oldest()
	c.mu.Lock()
	changed := c.changed || idle && position != c.progress.PositionMs
	c.progress.PositionMs, c.progress.OldestMs = position, oldest
	p := c.progress
	c.changed = false
	c.mu.Unlock()
	if !changed {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, c.w.feed.timeout)
	defer cancel()
	if _, err := c.w.store.SaveWebhook(bounded, c.w.node, c.hook.Account, c.hook.Revision,
		p); err != nil {
		c.mu.Lock()
		c.changed = true
		c.mu.Unlock()
		c.log.Warn("the progress of a webhook is not noted", zap.Error(err))
	}
}
