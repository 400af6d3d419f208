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
	name  string
	bulk  bool  // only adds load: refused first
	fixed []any // ARGV before the items, after number and clock; partitionArg and the like are filled in per lane
}

// item is what one request adds to a batch.
type item struct {
	args   []any
	weight int // requests in it
	width  int // bytes of result it gets
	bytes  int
	state  atomic.Int32
	call   *call
	reply  string // valid after the call is done
	err    error
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

// lane is the queue of one transition of one partition. One batch of it is on its way at any time; what is queued meanwhile is the next one, so requests are executed in
// the order they came.
type lane struct {
	s         *Store
	kind      *kind
	partition int
	memo      string // key of the last batch's results

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

// send makes one script call of a batch.
func (l *lane) send(batch []*item, number int64) {
	s := l.s
	sc := s.scripts[l.kind.name]
	size, bytes, weight := 7+len(l.kind.fixed), 200, 0
	for _, it := range batch {
		size += len(it.args)
		bytes += it.bytes
		weight += it.weight
	}
	args := make([]any, 0, size)
	args = append(args, "evalsha", sc.sha, 2, s.keys[l.partition], l.memo, number, s.scriptClock())
	for _, a := range l.kind.fixed {
		if a == partitionArg {
			a = l.partition
		}
		args = append(args, a)
	}
	for _, it := range batch {
		args = append(args, it.args...)
	}
	s.metrics.Batch(l.kind.name, weight)
	s.submit(&job{
		slot: s.slots[l.partition], args: args, script: sc, writes: true, bytes: bytes, deadline: s.now().Add(s.opts.RetryFor),
		finish: func(reply any, err error) {
			l.settle(batch, reply, err)
			l.next()
		},
	})
}

// partitionArg stands for the number of the partition in kind.fixed.
const partitionArg = "\x00partition"

// settle answers the items of a batch.
func (l *lane) settle(batch []*item, reply any, err error) {
	text, ok := reply.(string)
	total := 0
	for _, it := range batch {
		total += it.width
	}
	if err == nil && (!ok || len(text) != total) {
		err = fmt.Errorf("%w: script %s answered %d bytes for %d", queue.ErrCorrupt, l.kind.name, len(text), total)
	}
	for _, it := range batch {
		if err != nil {
			it.finish("", err)
			continue
		}
		it.finish(text[:it.width], nil)
		text = text[it.width:]
	}
}

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
		return fmt.Errorf("%w: %d requests of %d bytes wait for Redis", queue.ErrOverloaded, n-1, bytes)
	}
	return nil
}

func (w *waiting) leave(it *item) {
	w.items.Add(-1)
	w.bytes.Add(-int64(it.bytes))
}

// grace is how long a caller whose context ended while its request was on its way waits for the outcome.
const grace = time.Second

// transit has items executed, each in the lane of its partition, and waits for their results. An error means that nothing of them is known to be done, except
// queue.ErrUnknownOutcome; where only some failed, each has its own.
func (s *Store) transit(ctx context.Context, op string, items []*item, places []int) error {
	start := s.now()
	err := s.run(ctx, op, items, places)
	s.metrics.Observe(op, s.now().Sub(start), err)
	return err
}

func (s *Store) run(ctx context.Context, op string, items []*item, places []int) error {
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
	for p, list := range byPartition(items, places) {
		s.lane(op, p).put(list)
	}
	if err := c.wait(ctx, items); err != nil {
		return err
	}
	return commonError(items)
}

// byPartition groups items in their order.
func byPartition(items []*item, places []int) map[int][]*item {
	groups := make(map[int][]*item)
	for i, it := range items {
		groups[places[i]] = append(groups[places[i]], it)
	}
	return groups
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

// anyError is for transitions whose results have no place for an error: what is done and what is not is then unknown.
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

// lane returns the queue of a transition and partition.
func (s *Store) lane(op string, partition int) *lane {
	s.lanesMu.Lock()
	defer s.lanesMu.Unlock()
	table := s.lanes[op]
	if table == nil {
		table = new([partitions]*lane)
		s.lanes[op] = table
	}
	l := table[partition]
	if l == nil {
		l = &lane{s: s, kind: s.kinds[op], partition: partition, memo: s.keys[partition] + ":m:" + op + ":" + s.instance}
		table[partition] = l
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
