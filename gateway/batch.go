package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

// request is one item for the store and the session that waits for its result; tag is the session's
// own note.
type request[Q any] struct {
	s   *session
	tag int64
	q   Q
}

// batcher gathers requests of one kind into store calls. Where partitions of the store may fail one
// by one, the trackers of each have a lane of their own, so that a part of it that does not answer
// holds up nobody else; else there is one lane. One call of a lane is in flight, and what queues up
// meanwhile is its next batch. The queues are bounded by what sessions may have outstanding.
type batcher[Q, R any] struct {
	g  *Gateway
	op string
	// repeat a call that failed: the outcome must not be lost, and a repetition does no harm.
	again bool
	apart bool // partitions have lanes of their own
	most  int  // items of a call
	each  bool // a call may take the StoreTimeout for each of its items
	call  func(context.Context, []Q) ([]R, error)
	done  func(request[Q], R, error)

	gather time.Duration // how long a batch waits for company, unless one of it is waited for
	enough int           // or so many have come

	// waits for what of the trackers, all of one lane, has to be stored before the next call; nil:
	// nothing.
	after func([]queue.TrackerID)

	mu      sync.Mutex // guards what follows
	lanes   map[queue.Partition]*lane[Q]
	start   func(*lane[Q]) // has a lane worked on; nil before run
	gone    bool           // nothing is called any more
	working sync.WaitGroup // lanes at work; grows only while gone is false
}

// How many requests an empty lane keeps room for: one of many, and the only one.
const (
	laneRoom = 4
	onlyRoom = 64
)

// lane is a queue of its own, guarded by its batcher's mu.
type lane[Q any] struct {
	queued []request[Q]
	flight []request[Q] // of the call that is being made; they are only read
	busy   bool
	ready  chan struct{} // its batch does not wait for company any more
	added  int64         // requests so far
	ended  int64         // of them: called and reported
	ending *sync.Cond
}

func newBatcher[Q, R any](g *Gateway, op string, again bool, call func(context.Context, []Q) ([]R,
	error), done func(request[Q], R, error),
) *batcher[Q, R] {
	return &batcher[Q, R]{
		g: g, op: op, again: again, apart: g.divided, most: batchItems, enough: batchItems,
		call: call, done: done, lanes: make(map[queue.Partition]*lane[Q]),
	}
}

func (b *batcher[Q, R]) add(s *session, tag int64, q Q) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lane(s.tracker)
	l.queued = append(l.queued, request[Q]{s, tag, q})
	l.added++
	if len(l.queued) >= b.enough {
		l.hurry()
	}
	b.begin(l)
}

// lane returns a tracker's lane; mu is held.
func (b *batcher[Q, R]) lane(t queue.TrackerID) *lane[Q] {
	p := queue.Partition(0)
	if b.apart {
		p = b.g.partition(t)
	}
	l := b.lanes[p]
	if l == nil {
		l = &lane[Q]{ready: make(chan struct{}, 1), ending: sync.NewCond(&b.mu)}
		b.lanes[p] = l
	}
	return l
}

// begin has a lane worked on until it is empty; mu is held.
func (b *batcher[Q, R]) begin(l *lane[Q]) {
	if l.busy || b.start == nil || b.gone || len(l.queued) == 0 {
		return
	}
	l.busy = true
	b.start(l)
}

// run lets requests through until ctx ends and everything that is queued then has been given up.
func (b *batcher[Q, R]) run(ctx context.Context) {
	b.mu.Lock()
	b.start = func(l *lane[Q]) { b.working.Go(func() { b.work(ctx, l) }) }
	for _, l := range b.lanes {
		b.begin(l)
	}
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	b.gone = true
	for _, l := range b.lanes {
		l.ending.Broadcast()
	}
	b.mu.Unlock()
	b.working.Wait()
}

func (b *batcher[Q, R]) work(ctx context.Context, l *lane[Q]) {
	var batch []request[Q]
	var qs []Q
	var ts []queue.TrackerID
	for {
		b.waitForMore(ctx, l)
		if batch = b.take(l, batch[:0]); len(batch) == 0 {
			return
		}
		qs, ts = qs[:0], ts[:0]
		for i := range batch {
			qs, ts = append(qs, batch[i].q), append(ts, batch[i].s.tracker)
		}
		if b.after != nil {
			b.after(ts)
		}
		b.perform(ctx, batch, qs)
		b.mu.Lock()
		l.ended += int64(len(batch))
		l.flight = nil
		l.ending.Broadcast()
		b.mu.Unlock()
		clear(batch)
		clear(qs)
	}
}

// perform calls the store and reports the results. Data that cannot be read are the matter of some
// item, and repeating the call with it would hold up all others for ever; so would a call that is
// too large for a slow store to answer in time. Either half is called for by itself then.
func (b *batcher[Q, R]) perform(ctx context.Context, batch []request[Q], qs []Q) {
	rs, err := b.execute(ctx, qs)
	if half := len(qs) / 2; half > 0 && b.again && divisible(err) && ctx.Err() == nil {
		b.perform(ctx, batch[:half], qs[:half])
		b.perform(ctx, batch[half:], qs[half:])
		return
	}
	for i := range batch {
		var r R
		if err == nil {
			r = rs[i]
		} else if errors.Is(err, queue.ErrCorrupt) {
			b.g.log.Error("stored data cannot be read", zap.String("op", b.op), batch[i].s.field(),
				zap.Error(err))
		}
		b.done(batch[i], r, err)
	}
}

// divisible reports whether smaller calls may get on where one call failed.
func divisible(err error) bool {
	return errors.Is(err, queue.ErrCorrupt) || errors.Is(err, context.DeadlineExceeded)
}

// hurry ends the wait for company, the next one if there is none now.
func (l *lane[Q]) hurry() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

func (b *batcher[Q, R]) waitForMore(ctx context.Context, l *lane[Q]) {
	if b.gather == 0 {
		return
	}
	b.mu.Lock()
	full := len(l.queued) >= b.enough
	b.mu.Unlock()
	if full { // what one call did not hold
		return
	}
	wait := time.NewTimer(b.gather)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-l.ready:
	case <-ctx.Done():
	}
}

// settle waits until everything of trackers of one lane that was added before the call has its
// result or never will. What others have on their way is not waited for.
func (b *batcher[Q, R]) settle(ts []queue.TrackerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lane(ts[0])
	for target := l.last(ts); l.ended < target && !b.gone; {
		l.hurry()
		l.ending.Wait()
	}
}

// last is what ended comes to when the last request of the trackers has.
func (l *lane[Q]) last(ts []queue.TrackerID) int64 {
	if l.ended == l.added {
		return 0
	}
	among := make(map[queue.TrackerID]struct{}, len(ts))
	for _, t := range ts {
		among[t] = struct{}{}
	}
	for i, r := range slices.Backward(l.queued) {
		if _, ok := among[r.s.tracker]; ok {
			return l.ended + int64(len(l.flight)+i) + 1
		}
	}
	for i, r := range slices.Backward(l.flight) {
		if _, ok := among[r.s.tracker]; ok {
			return l.ended + int64(i) + 1
		}
	}
	return 0
}

// mark returns what reports whether everything that was added before has its result or never will.
func (b *batcher[Q, R]) mark() func() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	targets := make(map[*lane[Q]]int64, len(b.lanes))
	for _, l := range b.lanes {
		if l.ended < l.added {
			targets[l] = l.added
		}
	}
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for l, target := range targets {
			if l.ended < target && !b.gone {
				return false
			}
		}
		return true
	}
}

// take removes a batch from a lane; without one the lane is at rest.
func (b *batcher[Q, R]) take(l *lane[Q], batch []request[Q]) []request[Q] {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(l.queued), b.most)
	room := onlyRoom
	if b.apart {
		room = laneRoom
	}
	batch = append(batch, l.queued[:n]...)
	clear(l.queued[:n])
	switch {
	case n < len(l.queued):
		l.queued = l.queued[n:]
	case cap(l.queued) <= room:
		l.queued = l.queued[:0]
	default:
		l.queued = nil
	}
	l.busy = n > 0
	if l.flight = nil; l.busy { // a lane at rest keeps no room for a batch
		l.flight = batch
	}
	return batch
}

// execute calls the store, again and again where the outcome must not be lost, until it answers or
// ctx ends.
func (b *batcher[Q, R]) execute(ctx context.Context, qs []Q) ([]R, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		limit := b.g.o.StoreTimeout
		if b.each {
			limit *= time.Duration(len(qs))
		}
		call, cancel := context.WithTimeout(ctx, limit)
		rs, err := b.call(call, qs)
		cancel()
		if err == nil && len(rs) != len(qs) {
			err = errors.New("store answered another number of items")
		}
		if err == nil || !b.again || errors.Is(err, queue.ErrCorrupt) || ctx.Err() != nil {
			return rs, err
		}
		b.g.m.storeRetry.WithLabelValues(b.op).Inc()
		b.g.log.Warn("store call failed, will be repeated", zap.String("op", b.op), zap.Int("items",
			len(qs)), zap.Error(err))
		if len(qs) > 1 && divisible(err) {
			return rs, err
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return rs, err
		}
	}
}

// storeWork is the gateway's store calls, one batcher a kind.
type storeWork struct {
	acquire  *batcher[queue.TrackerID, queue.Lease]
	release  *batcher[queue.Lease, bool]
	touch    *batcher[queue.Lease, struct{}]
	claim    *batcher[queue.ClaimReq, queue.ClaimResult]
	ack      *batcher[queue.AckReq, queue.AckResult]
	progress *batcher[queue.ProgressReq, struct{}]
	end      *batcher[queue.EndReq, queue.EndResult]
	receive  *batcher[queue.Incoming, queue.ReceiveResult]
	peek     *batcher[queue.Lease, queue.PeekResult]
	late     *batcher[lateAck, lateMatch]
}

func newStoreWork(g *Gateway) *storeWork {
	st := g.o.Store
	w := &storeWork{}
	w.acquire = newBatcher(g, "acquire", true, func(ctx context.Context,
		ts []queue.TrackerID,
	) ([]queue.Lease, error) {
		return st.Acquire(ctx, g.o.Node, ts)
	}, func(r request[queue.TrackerID], lease queue.Lease, err error) {
		switch {
		case err == nil:
			r.s.acquired(lease)
		case errors.Is(err, queue.ErrCorrupt): // its device had better try again than wait in vain
			r.s.post(func() { r.s.close(reasonRefused) })
		default:
		}
	})
	// else the tracker would count as online.
	w.release = newBatcher(g, "release", true, st.Release, func(request[queue.Lease], bool,
		error) {
	})
	w.touch = newBatcher(g, "touch", false, func(ctx context.Context, ls []queue.Lease) ([]struct{},
		error,
	) {
		return make([]struct{}, len(ls)), st.Touch(ctx, ls)
	}, func(request[queue.Lease], struct{}, error) {})
	w.touch.gather = touchGather
	w.claim = newBatcher(g, "claim", true, st.Claim, func(r request[queue.ClaimReq],
		c queue.ClaimResult, err error,
	) {
		if err == nil {
			r.s.post(func() { r.s.outbox().claimed(r.tag, &c) })
		}
	})
	w.ack = newBatcher(g, "ack", true, st.Ack, func(r request[queue.AckReq], res queue.AckResult,
		err error,
	) {
		g.acked(r, res, err)
	})
	w.ack.gather, w.ack.enough = ackGather, ackEnough
	w.progress = newBatcher(g, "progress", true, func(ctx context.Context, ps []queue.ProgressReq) (
		[]struct{}, error,
	) {
		return make([]struct{}, len(ps)), st.Progress(ctx, ps)
	}, func(request[queue.ProgressReq], struct{}, error) {})
	w.end = newBatcher(g, "end", true, st.End, func(r request[queue.EndReq], res queue.EndResult,
		err error,
	) {
		if err == nil && res == queue.EndNow {
			g.m.ended.WithLabelValues(statusLabel(r.q.Status)).Inc()
		}
	})
	w.receive = newBatcher(g, "receive", false, st.Receive, func(r request[queue.Incoming],
		res queue.ReceiveResult, err error,
	) {
		if err == nil {
			err = res.Err
		}
		r.s.post(func() { r.s.received(r.tag, res.Dup, err) })
	})
	w.peek = newBatcher(g, "peek", false, func(ctx context.Context,
		ls []queue.Lease,
	) ([]queue.PeekResult, error) {
		return peekAll(ctx, st, ls)
	}, func(r request[queue.Lease], res queue.PeekResult, err error) {
		news := err == nil && (res.Fenced || res.Pending > 0)
		r.s.post(func() {
			r.s.peeking = false
			if news {
				r.s.peeked(&res)
			}
		})
	})
	w.peek.gather = lookGather
	settled := func(ts []queue.TrackerID) {
		// a text whose ack is on its way to the store is not pending any more
		w.ack.settle(ts)
		w.progress.settle(ts)
		w.end.settle(ts)
	}
	w.claim.after = settled
	w.late = newBatcher(g, "late", false, g.matchLate, g.lateMatched)
	w.late.most, w.late.each, w.late.after = lateItems, true, settled
	w.late.apart = true // its items are several calls each, which go side by side
	return w
}

// peekAll gives every lease its result; those that the store does not mention are zero.
func peekAll(ctx context.Context, st queue.Delivery, ls []queue.Lease) ([]queue.PeekResult, error) {
	found, err := st.CheckLeases(ctx, ls)
	if err != nil {
		return nil, err
	}
	type key struct {
		tracker queue.TrackerID
		epoch   int64
	}
	by := make(map[key]queue.PeekResult, len(found))
	for _, p := range found {
		by[key{p.Tracker, p.Epoch}] = p
	}
	all := make([]queue.PeekResult, len(ls))
	for i, l := range ls {
		all[i] = by[key{l.Tracker, l.Epoch}]
	}
	return all, nil
}

func (w *storeWork) start(ctx context.Context, group *sync.WaitGroup) {
	for _, run := range []func(context.Context){
		w.acquire.run, w.release.run, w.touch.run, w.claim.run, w.ack.run, w.progress.run,
		w.end.run, w.receive.run, w.peek.run, w.late.run,
	} {
		group.Go(func() { run(ctx) })
	}
}

func (w *storeWork) marks() []func() bool {
	return []func() bool{
		w.acquire.mark(), w.release.mark(), w.claim.mark(), w.ack.mark(), w.progress.mark(),
		w.end.mark(), w.receive.mark(), w.peek.mark(), w.late.mark(),
	}
}
