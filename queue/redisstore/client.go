package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
	"trackchat/queue/batch"

	"go.uber.org/zap"
)

// client executes commands: it knows which master serves which slot, repeats what may be repeated,
// and takes no answer from a Redis that does not hold its store.
type client struct {
	opts    Options
	now     func() time.Time
	log     *zap.Logger
	metrics *queue.StoreMetrics
	scripts scripts
	kinds   map[string]*kind

	keys     [partitions]string // hash tags in braces: the beginning of all keys of a partition
	tags     [partitions]any    // keys, as arguments of a command
	slots    [partitions]int
	instance string // of this run, part of the names of its memos
	publish  string // PUBLISH or SPUBLISH

	identity identity
	guards   map[int]string // keys of the copies of the identity, by their slots

	cluster *cluster
	room    *batch.Room

	working sync.WaitGroup // workers of pipelines
	closeMu sync.RWMutex   // guards closed against a call that is just entering
	closed  atomic.Bool
	over    chan struct{} // closed with it
	calls   sync.WaitGroup

	// a living node is of a version that takes an author for a part of the text, and knows neither
	// users nor rights of keys.
	older atomic.Bool
}

// newClient returns a client that has no masters yet, and neither scripts nor metrics.
func newClient(opts Options) *client {
	c := &client{
		opts: opts, now: opts.Now, log: opts.Logger, instance: rand.Text()[:12], publish: "PUBLISH",
		guards: make(map[int]string), over: make(chan struct{}),
	}
	for p, tag := range tags() {
		c.keys[p], c.slots[p] = "{"+tag+"}", slotOf(tag)
		c.tags[p] = c.keys[p]
	}
	for _, tag := range c.parts() {
		c.guards[slotOf(strings.Trim(tag, "{}"))] = tag + ":id"
	}
	c.identity.doubted = make(chan struct{}, 1)
	c.cluster = &cluster{
		client: c, many: len(opts.Addrs) > 1 && opts.Master == "",
		changed: make(chan struct{}, 1), masters: make(map[string]*master),
	}
	if c.cluster.many {
		c.publish = "SPUBLISH"
	}
	return c
}

// query is one command that changes nothing, or may be repeated.
type query struct {
	slot   int
	args   []any
	sc     *script
	writes bool
	bare   bool // not guarded by the store's identity
	reply  any  // valid after ask
	err    error
}

// evalsha is a query that runs a script on a key.
func (c *client) evalsha(slot int, key, name string, args ...any) *query {
	sc := c.scripts[name]
	return &query{slot: slot, sc: sc, args: append([]any{"evalsha", sc.sha, 1, key}, args...)}
}

// ask runs queries side by side and waits for their answers, or until ctx is done. The first error
// is the error of all; of those that write some may be executed then.
func (c *client) ask(ctx context.Context, op string, qs []*query) error {
	start := c.now()
	err := c.askAll(ctx, qs)
	c.metrics.Observe(op, c.now().Sub(start), err)
	return err
}

func (c *client) askAll(ctx context.Context, qs []*query) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.Done()
	if len(qs) == 0 {
		return nil
	}
	done := make(chan struct{})
	var left atomic.Int32
	left.Store(int32(len(qs)))
	jobs := make([]*job, len(qs))
	// not the queries': after ctx's end they are the caller's alone, and answers still come.
	answers := make([]answer, len(qs))
	deadline := c.now().Add(c.opts.RetryFor)
	for i, q := range qs {
		jobs[i] = &job{
			slot: q.slot, args: q.args, script: q.sc, writes: q.writes, bare: q.bare,
			bytes: 64, deadline: deadline, finish: func(reply any, err error) {
				answers[i] = answer{reply, err}
				if left.Add(-1) == 0 {
					close(done)
				}
			},
		}
	}
	for _, j := range jobs {
		c.submit(j)
	}
	select {
	case <-done:
	case <-ctx.Done():
		return abandon(ctx, jobs)
	}
	var first error
	for i, q := range qs {
		q.reply, q.err = answers[i].reply, answers[i].err
		first = cmp.Or(first, q.err)
	}
	return first
}

// answer is what came to a query.
type answer struct {
	reply any
	err   error
}

// abandon gives up waiting for jobs.
func abandon(ctx context.Context, jobs []*job) error {
	err := ctx.Err()
	for _, j := range jobs {
		if j.writes {
			err = fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, ctx.Err())
		} else {
			j.left.Store(true)
		}
	}
	return err
}

// parts are the hash tags of everything that has a copy of the identity.
func (c *client) parts() []string {
	return append(c.keys[:len(c.keys):len(c.keys)], dirTag, hookTag, rosterTag)
}

// guardOf is the copy of the identity that stands for a slot; where one master holds everything,
// one copy stands for all.
func (c *client) guardOf(slot int) string {
	if !c.IndependentPartitions() {
		return dirTag + ":id"
	}
	return c.guards[slot]
}

var errClosed = fmt.Errorf("%w: closed", queue.ErrUnavailable)

// enter lets a call in unless the store is closed; it ends with calls.Done.
func (c *client) enter() error {
	c.closeMu.RLock()
	defer c.closeMu.RUnlock()
	if c.closed.Load() {
		return errClosed
	}
	c.calls.Add(1)
	return nil
}

// shut refuses all further calls.
func (c *client) shut() {
	c.closeMu.Lock()
	defer c.closeMu.Unlock()
	c.closed.Store(true)
	close(c.over)
}

// transitions are the scripts that change something, with what their arguments begin with.
func (c *client) transitions() map[string]*kind {
	kinds := make(map[string]*kind)
	for _, k := range []*kind{
		{name: opSend, bulk: true, fixed: []any{c.opts.MaxPending, c.opts.WakeText}},
		{name: opReceive, bulk: true},
		{name: opAck},
		{name: opFinish},
		{name: opProgress},
		{name: opMark, bulk: true},
		{name: opMarkAll, bulk: true},
		{name: opAcquire},
		{name: opRelease},
		{name: opTouch, bulk: true},
		{name: opKick},
		{name: opExpire},
		{name: opTrim, bulk: true},
	} {
		k.script = c.scripts[k.name]
		kinds[k.name] = k
	}
	return kinds
}

// scriptClock is what scripts take the time from: 0 is Redis's own.
func (c *client) scriptClock() string {
	if c.opts.clock == nil {
		return "0"
	}
	return strconv.FormatInt(c.opts.clock().UnixMilli(), 10)
}

// roomIn refuses to store anything where memory is nearly used up: what is left is for acks.
func (c *client) roomIn(slot int) error {
	if m := c.cluster.serving(slot); m != nil && m.full.Load() {
		return fmt.Errorf("%w: Redis at %s uses more than %d %% of its memory", queue.ErrOverloaded,
			m.addr, memoryLimit)
	}
	return nil
}
