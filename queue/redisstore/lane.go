package redisstore

import (
	"context"
	"fmt"
	"sync"

	"trackchat/queue"
	"trackchat/queue/batch"
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
	batch.Ticket

	partition int
	args      []any
	weight    int // requests in it
	width     int // bytes of result it gets
	bytes     int
	bulk      bool   // of its kind
	reply     string // valid after the call is done
}

// Load says how much room an item takes.
func (it *item) Load() batch.Load {
	return batch.Load{Weight: it.weight, Bytes: it.bytes, Bulk: it.bulk}
}

// lane is the queue of one transition: of everything where one master holds all partitions, else of
// one partition, whose master may fail by itself and whose keys are the only ones that a script may
// touch. One batch of it is on its way at any time; what is queued meanwhile is the next one, so
// requests are executed in the order they came.
type lane struct {
	client    *client
	kind      *kind
	lastBatch string // key of the last batch's results
	queue     *batch.Lane[*item]
	number    int64 // of the last batch
}

// next sends the next batch, if there is one.
func (l *lane) next() {
	if items := l.queue.Take(nil, batchItems, batchBytes); len(items) > 0 {
		l.number++ // of the one that alone is on its way
		l.send(items, l.number)
	}
}

// send makes one script call of a batch. once.inc.lua says what its arguments are.
func (l *lane) send(items []*item, number int64) {
	c := l.client
	size, bytes, weight := 0, 200, 0
	// the partitions that occur, in the order of their first items.
	tags := make([]any, 0, len(items))
	places := make([]byte, 0, len(items))
	var known [partitions]bool
	for _, it := range items {
		size += len(it.args)
		bytes += it.bytes
		weight += it.weight
		places = append(places, byte(it.partition))
		if !known[it.partition] {
			known[it.partition] = true
			tags = append(tags, c.tags[it.partition])
		}
	}
	args := make([]any, 0, 9+len(tags)+len(l.kind.fixed)+size) // one for the identity
	args = append(args, "evalsha", l.kind.script.sha, 1+len(tags), l.lastBatch)
	args = append(args, tags...)
	args = append(args, number, c.scriptClock(), places, c.publish)
	args = append(args, l.kind.fixed...)
	for _, it := range items {
		args = append(args, it.args...)
	}
	c.metrics.Batch(l.kind.name, weight)
	c.submit(&job{
		slot: c.slots[items[0].partition], args: args, script: l.kind.script, writes: true,
		bytes: bytes, deadline: c.now().Add(c.opts.RetryFor),
		finish: func(reply any, err error) {
			l.settle(items, reply, err)
			l.next()
		},
	})
}

// settle answers the items of a batch.
func (l *lane) settle(items []*item, reply any, err error) {
	if err != nil {
		for _, it := range items {
			it.Finish(err)
		}
		return
	}
	text, _ := reply.(string)
	for _, it := range items {
		if it.reply, text, err = it.cut(text); err != nil {
			_, err = classify(err)
		}
		it.Finish(err)
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

// execute has items executed, each in the lane of its partition, and waits for their results. An
// error means that nothing of them is known to be done, except queue.ErrUnknownOutcome; where only
// some failed, each has its own.
func (c *client) execute(ctx context.Context, op string, items []*item) error {
	start := c.now()
	err := c.run(ctx, op, items)
	c.metrics.Observe(op, c.now().Sub(start), err)
	return err
}

func (c *client) run(ctx context.Context, op string, items []*item) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.Done()
	if len(items) == 0 {
		return nil
	}
	k := c.kinds[op]
	for _, it := range items {
		it.bulk = k.bulk
	}
	call, err := batch.NewCall(c.room, items...)
	if err != nil {
		return err
	}
	if err := c.put(k, items); err != nil {
		return err
	}
	if err := call.Wait(ctx); err != nil {
		return err
	}
	return commonError(items)
}

// put queues items in their lanes, in their order. The lanes are open for as long as the store.
func (c *client) put(k *kind, items []*item) error {
	if !c.IndependentPartitions() {
		return c.lane(k, 0).queue.Put(items...)
	}
	groups := make(map[int][]*item)
	for _, it := range items {
		groups[it.partition] = append(groups[it.partition], it)
	}
	for p, list := range groups {
		if err := c.lane(k, p).queue.Put(list...); err != nil {
			return err
		}
	}
	return nil
}

// commonError is the error of a whole call: nil as soon as one item succeeded.
func commonError(items []*item) error {
	for _, it := range items {
		if it.Err == nil {
			return nil
		}
	}
	return items[0].Err
}

// anyError is for transitions whose results have no place for an error: what is done and what is
// not is then unknown.
func anyError(items []*item) error {
	var failed error
	done := false
	for _, it := range items {
		if it.Err != nil {
			failed = it.Err
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
func (c *client) lane(k *kind, partition int) *lane {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lanes[partition]
	if l == nil {
		l = &lane{client: c, kind: k, lastBatch: c.keys[partition] + ":m:" + k.name + ":" + c.instance}
		l.queue = batch.NewLane[*item](c.room, l.next)
		k.lanes[partition] = l
	}
	return l
}
