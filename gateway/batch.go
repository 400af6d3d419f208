package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

// request is one item for the store and the session that waits for its result; tag is the session's own note.
type request[Q any] struct {
	s   *session
	tag int64
	q   Q
}

// batcher gathers requests of one kind into store calls: one call is in flight, and what queues up meanwhile is the next batch. Its queue is bounded by what sessions
// may have outstanding.
type batcher[Q, R any] struct {
	g     *Gateway
	op    string
	again bool // repeat a call that failed: the outcome must not be lost, and a repetition does no harm
	call  func(context.Context, []Q) ([]R, error)
	done  func(request[Q], R, error)

	after func() // waits for what has to be stored before the next call; nil: nothing

	mu     sync.Mutex
	queued []request[Q]
	added  int64 // requests so far
	ended  int64 // of them: called and reported
	gone   bool  // run has returned
	ending *sync.Cond
	busy   atomic.Int64 // queued or in a call
	wake   chan struct{}
	quit   chan struct{}
}

func newBatcher[Q, R any](g *Gateway, op string, again bool, call func(context.Context, []Q) ([]R, error), done func(request[Q], R, error)) *batcher[Q, R] {
	b := &batcher[Q, R]{g: g, op: op, again: again, call: call, done: done, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	b.ending = sync.NewCond(&b.mu)
	return b
}

func (b *batcher[Q, R]) add(s *session, tag int64, q Q) {
	b.busy.Add(1)
	b.mu.Lock()
	b.queued = append(b.queued, request[Q]{s, tag, q})
	b.added++
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *batcher[Q, R]) run() {
	var batch []request[Q]
	var qs []Q
	for {
		batch = b.take(batch[:0])
		if len(batch) == 0 {
			select {
			case <-b.wake:
				continue
			case <-b.quit:
				b.mu.Lock()
				b.gone = true
				b.ending.Broadcast()
				b.mu.Unlock()
				return
			}
		}
		qs = qs[:0]
		for i := range batch {
			qs = append(qs, batch[i].q)
		}
		if b.after != nil {
			b.after()
		}
		rs, err := b.execute(qs)
		for i := range batch {
			var r R
			if err == nil {
				r = rs[i]
			}
			b.done(batch[i], r, err)
		}
		b.mu.Lock()
		b.ended += int64(len(batch))
		b.ending.Broadcast()
		b.mu.Unlock()
		b.busy.Add(-int64(len(batch)))
		clear(batch)
		clear(qs)
	}
}

// settle waits until everything that was added before the call has its result or never will.
func (b *batcher[Q, R]) settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for target := b.added; b.ended < target && !b.gone; {
		b.ending.Wait()
	}
}

func (b *batcher[Q, R]) take(batch []request[Q]) []request[Q] {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.queued), batchItems)
	batch = append(batch, b.queued[:n]...)
	rest := copy(b.queued, b.queued[n:])
	clear(b.queued[rest:])
	b.queued = b.queued[:rest]
	return batch
}

// execute calls the store, again and again where the outcome must not be lost, until it answers or the gateway is closed.
func (b *batcher[Q, R]) execute(qs []Q) ([]R, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), b.g.o.StoreTimeout)
		rs, err := b.call(ctx, qs)
		cancel()
		if err == nil && len(rs) != len(qs) {
			err = errors.New("store answered another number of items")
		}
		if err == nil || !b.again {
			return rs, err
		}
		b.g.m.storeRetry.WithLabelValues(b.op).Inc()
		b.g.log.Warn("store call failed, will be repeated", zap.String("op", b.op), zap.Int("items", len(qs)), zap.Error(err))
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-b.quit:
			wait.Stop()
			return rs, err
		}
	}
}

// storeWork is the gateway's store calls, one batcher a kind.
type storeWork struct {
	acquire  *batcher[queue.TrackerID, queue.Lease]
	release  *batcher[queue.Lease, bool]
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
	w.acquire = newBatcher(g, "acquire", true, func(ctx context.Context, ts []queue.TrackerID) ([]queue.Lease, error) {
		return st.Acquire(ctx, g.o.Node, ts)
	}, func(r request[queue.TrackerID], lease queue.Lease, err error) {
		if err == nil {
			r.s.shard.box.put(item{kind: itemLease, s: r.s, data: &lease})
		}
	})
	w.release = newBatcher(g, "release", false, st.Release, func(request[queue.Lease], bool, error) {})
	w.claim = newBatcher(g, "claim", true, st.Claim, func(r request[queue.ClaimReq], c queue.ClaimResult, err error) {
		if err == nil {
			r.s.shard.box.put(item{kind: itemClaimed, s: r.s, n: r.tag, data: &c})
		}
	})
	w.ack = newBatcher(g, "ack", true, st.Ack, func(r request[queue.AckReq], res queue.AckResult, err error) {
		g.acked(r, res, err)
	})
	w.progress = newBatcher(g, "progress", true, func(ctx context.Context, ps []queue.ProgressReq) ([]struct{}, error) {
		return make([]struct{}, len(ps)), st.Progress(ctx, ps)
	}, func(request[queue.ProgressReq], struct{}, error) {})
	w.end = newBatcher(g, "end", true, st.End, func(request[queue.EndReq], queue.EndResult, error) {})
	w.receive = newBatcher(g, "receive", false, st.Receive, func(r request[queue.Incoming], res queue.ReceiveResult, err error) {
		if err == nil {
			err = res.Err
		}
		code := byte(0)
		if res.Dup {
			code = 1
		}
		r.s.shard.box.put(item{kind: itemReceived, s: r.s, n: r.tag, code: code, data: err})
	})
	w.peek = newBatcher(g, "peek", false, func(ctx context.Context, ls []queue.Lease) ([]queue.PeekResult, error) {
		return peekAll(ctx, st, ls)
	}, func(r request[queue.Lease], res queue.PeekResult, err error) {
		if err == nil && (res.Fenced || res.Pending > 0) {
			r.s.shard.box.put(item{kind: itemPeeked, s: r.s, data: &res})
		}
	})
	w.claim.after = func() { // a text whose ack is on its way to the store is not pending any more
		w.ack.settle()
		w.progress.settle()
		w.end.settle()
	}
	w.late = newBatcher(g, "late", false, g.matchLate, g.lateMatched)
	return w
}

// peekAll gives every lease its result; those that the store does not mention are zero.
func peekAll(ctx context.Context, st queue.Delivery, ls []queue.Lease) ([]queue.PeekResult, error) {
	found, err := st.Peek(ctx, ls)
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

func (w *storeWork) start(group *sync.WaitGroup) {
	group.Go(w.acquire.run)
	group.Go(w.release.run)
	group.Go(w.claim.run)
	group.Go(w.ack.run)
	group.Go(w.progress.run)
	group.Go(w.end.run)
	group.Go(w.receive.run)
	group.Go(w.peek.run)
	group.Go(w.late.run)
}

func (w *storeWork) stop() {
	for _, quit := range []chan struct{}{
		w.acquire.quit, w.release.quit, w.claim.quit, w.ack.quit, w.progress.quit, w.end.quit, w.receive.quit, w.peek.quit, w.late.quit,
	} {
		close(quit)
	}
}

func (w *storeWork) idle() bool {
	return w.acquire.busy.Load()+w.release.busy.Load()+w.claim.busy.Load()+w.ack.busy.Load()+w.progress.busy.Load()+
		w.end.busy.Load()+w.receive.busy.Load()+w.peek.busy.Load()+w.late.busy.Load() == 0
}
