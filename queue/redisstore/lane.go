package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
)

// Names of the transitions: of scripts, of metrics.
const (
	opSend     = "send"
	opReceive  = "receive"
	opAck      = "ack"
	opFinish   = "finish"
	opProgress = "progress"
	opMark     = "mark"
	opMarkAll  = "markall"
	opAcquire  = "acquire"
	opRelease  = "release"
	opTouch    = "touch"
	opKick     = "kick"
	opExpire   = "expire"
	opTrim     = "trim"
)

const (
	batchItems = 64
	batchBytes = 256 << 10
)

// kind is one transition.
type kind struct {
	name   string
	script *script
	bulk   bool  // only adds load: refused first
	fixed  []any // ARGV before the items, after what all scripts get

	mu    sync.Mutex // guards what follows
	lanes [partitions]*lane
}

// item is what one request adds to a batch.
type item struct {
	partition int
	args      []any
	weight    int // requests in it
	width     int // bytes of result it gets
	bytes     int
	state     atomic.Int32
	call      *call
	reply     string // valid after the call is done
	err       error
}

// States of an item; who moves it from queued decides.
const (
	itemQueued int32 = iota
	itemTaken
	itemAbandoned
)

// call waits for its items.
type call struct {
	left atomic.Int32
	done chan struct{}
}

func (it *item) finish(reply string, err error) {
	it.reply, it.err = reply, err
	if it.call.left.Add(-1) == 0 {
		close(it.call.done)
	}
}

// lane is the queue of one transition: of everything where one master holds all partitions, else of
// one partition, whose master may fail by itself and whose keys are the only ones that a script may
// touch. One batch of it is on its way at any time; what is queued meanwhile is the next one, so
// requests are executed in the order they came.
type lane struct {
	s         *Store
	kind      *kind
	lastBatch string // key of the last batch's results

	mu     sync.Mutex // guards what follows
	queue  []*item
	busy   bool
	number int64 // of the last batch
}

func (l *lane) put(items []*item) {
	l.mu.Lock()
	l.queue = append(l.queue, items...)
	start := !l.busy
	l.busy = true
	l.mu.Unlock()
	if start {
		l.next()
	}
}

// next sends the next batch, if there is one.
func (l *lane) next() {
	l.mu.Lock()
	batch := l.take()
	if len(batch) == 0 {
		l.busy = false
		l.mu.Unlock()
		return
	}
	l.number++
	number := l.number
	l.mu.Unlock()
	l.send(batch, number)
}

// take removes a batch from the queue. The lock is held.
func (l *lane) take() []*item {
	var batch []*item
	n, weight, bytes := 0, 0, 0
	for _, it := range l.queue {
		if len(batch) > 0 && (weight+it.weight > batchItems || bytes+it.bytes > batchBytes) {
			break
		}
		n++
		l.s.waiting.leave(it)
		if !it.state.CompareAndSwap(itemQueued, itemTaken) {
			continue // its caller has left
		}
		batch = append(batch, it)
		weight += it.weight
		bytes += it.bytes
	}
	clear(l.queue[:n])
	l.queue = l.queue[n:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	return batch
}

// send makes one script call of a batch. once.inc.lua says what its arguments are.
func (l *lane) send(batch []*item, number int64) {
	s := l.s
	size, bytes, weight := 0, 200, 0
	// the partitions that occur, in the order of their first items.
	tags := make([]any, 0, len(batch))
	places := make([]byte, 0, len(batch)) // of the items
	var known [partitions]bool
	for _, it := range batch {
		size += len(it.args)
		bytes += it.bytes
		weight += it.weight
		places = append(places, byte(it.partition))
		if !known[it.partition] {
			known[it.partition] = true
			tags = append(tags, s.tags[it.partition])
		}
	}
	args := make([]any, 0, 9+len(tags)+len(l.kind.fixed)+size) // one for the identity
	args = append(args, "evalsha", l.kind.script.sha, 1+len(tags), l.lastBatch)
	args = append(args, tags...)
	args = append(args, number, s.scriptClock(), places, s.publish)
	args = append(args, l.kind.fixed...)
	for _, it := range batch {
		args = append(args, it.args...)
	}
	s.metrics.Batch(l.kind.name, weight)
	s.submit(&job{
		slot: s.slots[batch[0].partition], args: args, script: l.kind.script, writes: true,
		bytes: bytes, deadline: s.now().Add(s.opts.RetryFor),
		finish: func(reply any, err error) {
			l.settle(batch, reply, err)
			l.next()
		},
	})
}

// settle answers the items of a batch.
func (l *lane) settle(batch []*item, reply any, err error) {
	if err != nil {
		for _, it := range batch {
			it.finish("", err)
		}
		return
	}
	text, _ := reply.(string)
	for _, it := range batch {
		var result string
		if result, text, err = it.cut(text); err != nil {
			_, err = classify(err)
		}
		it.finish(result, err)
	}
}

// cut takes what a script says of the item off the beginning of its answer.
func (it *item) cut(text string) (result, rest string, err error) {
	switch {
	case len(text) > it.width && text[0] == 0:
		return text[1 : 1+it.width], text[1+it.width:], nil
	case len(text) > 1 && text[0] == 1 && len(text) >= 2+int(text[1]):
		end := 2 + int(text[1])
		return "", text[end:], scriptError(text[2:end])
	default: // so is what follows
		return "", "", scriptError("ERR torn answer")
	}
}

// scriptError is what Redis would have answered if the item had been the only one.
type scriptError string

func (e scriptError) Error() string { return string(e) }

func (scriptError) RedisError() {}

// waiting counts what is queued in front of Redis.
type waiting struct {
	items, bytes       atomic.Int64
	maxItems, maxBytes int64
}

func (w *waiting) enter(it *item, bulk bool) error {
	n, bytes := w.items.Add(1), w.bytes.Add(int64(it.bytes))
	limit := w.maxItems
	if bulk {
		limit = limit * 3 / 4
	}
	if n > limit || bytes > w.maxBytes && bytes > int64(it.bytes) {
		w.leave(it)
		return fmt.Errorf("%w: %d requests of %d bytes wait for Redis", queue.ErrOverloaded, n-1,
			bytes)
	}
	return nil
}

func (w *waiting) leave(it *item) {
	w.items.Add(-1)
	w.bytes.Add(-int64(it.bytes))
}

// grace is how long a caller whose context ended while its request was on its way waits for the
// outcome.
const grace = time.Second

// execute has items executed, each in the lane of its partition, and waits for their results. An
// error means that nothing of them is known to be done, except queue.ErrUnknownOutcome; where only
// some failed, each has its own.
func (s *Store) execute(ctx context.Context, op string, items []*item) error {
	start := s.now()
	err := s.run(ctx, op, items)
	s.metrics.Observe(op, s.now().Sub(start), err)
	return err
}

func (s *Store) run(ctx context.Context, op string, items []*item) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.calls.Done()
	if len(items) == 0 {
		return nil
	}
	c := &call{done: make(chan struct{})}
	c.left.Store(int32(len(items)))
	k := s.kinds[op]
	for i, it := range items {
		it.call = c
		if err := s.waiting.enter(it, k.bulk); err != nil {
			for _, entered := range items[:i] {
				s.waiting.leave(entered)
			}
			return err
		}
	}
	s.put(k, items)
	if err := c.wait(ctx, items); err != nil {
		return err
	}
	return commonError(items)
}

// put queues items in their lanes, in their order.
func (s *Store) put(k *kind, items []*item) {
	if !s.IndependentPartitions() {
		s.lane(k, 0).put(items)
		return
	}
	groups := make(map[int][]*item)
	for _, it := range items {
		groups[it.partition] = append(groups[it.partition], it)
	}
	for p, list := range groups {
		s.lane(k, p).put(list)
	}
}

// wait returns when all items are answered, or soon after ctx is done.
func (c *call) wait(ctx context.Context, items []*item) error {
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	withdrawn := 0
	for _, it := range items {
		if it.state.CompareAndSwap(itemQueued, itemAbandoned) {
			withdrawn++
			it.finish("", ctx.Err())
		}
	}
	if withdrawn == len(items) {
		return ctx.Err()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // the caller has promised an answer by now
		return fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, ctx.Err())
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-c.done:
		return nil
	case <-t.C:
		return fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, ctx.Err())
	}
}

// commonError is the error of a whole call: nil as soon as one item succeeded.
func commonError(items []*item) error {
	for _, it := range items {
		if it.err == nil {
			return nil
		}
	}
	return items[0].err
}

// anyError is for transitions whose results have no place for an error: what is done and what is
// not is then unknown.
func anyError(items []*item) error {
	var failed error
	done := false
	for _, it := range items {
		if it.err != nil {
			failed = it.err
		} else {
			done = true
		}
	}
	if failed != nil && done {
		return fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, failed)
	}
	return failed
}

// lane returns the queue of a transition, with the memo in a partition.
func (s *Store) lane(k *kind, partition int) *lane {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lanes[partition]
	if l == nil {
		l = &lane{s: s, kind: k, lastBatch: s.keys[partition] + ":m:" + k.name + ":" + s.instance}
		k.lanes[partition] = l
	}
	return l
}

// scriptClock is what scripts take the time from: 0 is Redis's own.
func (s *Store) scriptClock() string {
	if s.opts.clock == nil {
		return "0"
	}
	return strconv.FormatInt(s.opts.clock().UnixMilli(), 10)
}
