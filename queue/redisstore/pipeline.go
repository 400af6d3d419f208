package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
)

const (
	pipelineJobs  = 64      // commands of one pipeline
	pipelineBytes = 1 << 20 // and about as many bytes
	firstBackoff  = 10 * time.Millisecond
	lastBackoff   = 500 * time.Millisecond
)

// job is one command on its way to the master that serves its slot. It is repeated until it is
// answered for good or its time is up, so a command that changes something must be harmless to
// repeat.
type job struct {
	slot   int
	args   []any
	script *script // not nil: args are those of EVALSHA and hold its name
	writes bool
	bare   bool // not guarded by the store's identity
	bytes  int
	finish func(reply any, err error) // called once, by a worker
	// nobody waits for it any more: only of jobs that change nothing.
	left     atomic.Bool
	deadline time.Time
	backoff  time.Duration
	maybe    bool // some attempt may have been executed
}

// command is what is sent: a script gets the identity of the store as its last argument.
func (j *job) command(identity string) []any {
	if j.bare || j.args[0] != "evalsha" && j.args[0] != "eval" {
		return j.args
	}
	return append(j.args, identity)
}

// plain reports whether nothing in Redis compares the identity: what such commands answer counts
// only if it is still there afterwards.
func (j *job) plain() bool { return !j.bare && j.args[0] != "evalsha" && j.args[0] != "eval" }

// command never lets the client repeat it by itself: only a repetition that this package knows
// about is counted.
type command struct{ *redis.Cmd }

func (command) NoRetry() bool { return true }

// pipeline takes jobs to one master: what is queued while the pipelines before are on their way is
// the next pipeline.
type pipeline struct {
	client *client
	m      *master
	mu     sync.Mutex // guards what follows
	ready  []*job
	wake   *sync.Cond
	closed bool
}

func newPipeline(c *client, m *master, workers int) *pipeline {
	w := &pipeline{client: c, m: m}
	w.wake = sync.NewCond(&w.mu)
	for range workers {
		c.working.Go(w.work)
	}
	return w
}

func (w *pipeline) put(j *job) {
	w.mu.Lock()
	closed := w.closed
	if !closed {
		w.ready = append(w.ready, j)
		w.wake.Signal()
	}
	w.mu.Unlock()
	if closed {
		w.client.again(j, errMoved)
	}
}

// close lets the workers end after what is queued.
func (w *pipeline) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake.Broadcast()
}

func (w *pipeline) work() {
	jobs := make([]*job, 0, pipelineJobs)
	for {
		if jobs = w.take(jobs[:0]); len(jobs) == 0 {
			return
		}
		w.exec(jobs)
		clear(jobs)
	}
}

// take waits for jobs and returns a pipeline of them, none when the pipeline is closed.
func (w *pipeline) take(jobs []*job) []*job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(jobs) == 0 {
		for len(w.ready) == 0 {
			if w.closed {
				return jobs
			}
			w.wake.Wait()
		}
		jobs = w.gather(jobs)
	}
	return jobs
}

// gather takes a pipeline of jobs off the queue; it may find none whose callers still wait.
func (w *pipeline) gather(jobs []*job) []*job {
	n, bytes := 0, 0
	for n < len(w.ready) && len(jobs) < pipelineJobs && bytes < pipelineBytes {
		j := w.ready[n]
		w.ready[n] = nil
		n++
		if j.left.Load() {
			continue
		}
		jobs = append(jobs, j)
		bytes += j.bytes
	}
	w.ready = w.ready[n:]
	if len(w.ready) == 0 {
		w.ready = nil
	}
	return jobs
}

// exec sends one pipeline and settles its jobs.
func (w *pipeline) exec(jobs []*job) {
	ctx := context.Background()
	pipe := w.m.redis.Pipeline()
	cmds := make([]command, len(jobs))
	identity := w.client.identity.expected()
	for i, j := range jobs {
		cmds[i] = command{redis.NewCmd(ctx, j.command(identity)...)}
		_ = pipe.Process(ctx, cmds[i])
	}
	guards := w.guard(ctx, pipe, jobs)
	_, broken := pipe.Exec(ctx)
	for i, j := range jobs {
		reply, err := result(cmds[i], broken)
		if err == nil && j.plain() {
			var id any
			guard := guards[w.client.guardOf(j.slot)]
			if id, err = result(guard, broken); err == nil && id != identity {
				err = errLost
			}
		}
		w.settle(ctx, j, reply, err)
	}
}

// result is what a command of a pipeline was answered; broken is the pipeline's error.
func result(c command, broken error) (any, error) {
	reply, err := c.Result()
	switch {
	case errors.Is(err, redis.Nil):
		err = nil
	case err == nil && reply == nil:
		// the pipeline failed and the client did not say so of this command
		err = fmt.Errorf("%w: %w", errNoAnswer, broken)
	}
	return reply, err
}

// guard has the identity read after the plain commands of a pipeline, for each slot where masters
// lose them one by one.
func (w *pipeline) guard(ctx context.Context, pipe redis.Pipeliner,
	jobs []*job,
) map[string]command {
	guards := make(map[string]command, 1)
	for _, j := range jobs {
		key := w.client.guardOf(j.slot)
		if _, ok := guards[key]; ok || !j.plain() {
			continue
		}
		c := command{redis.NewCmd(ctx, "get", key)}
		guards[key] = c
		_ = pipe.Process(ctx, c)
	}
	return guards
}

var errNoAnswer = errors.New("no answer")

// settle finishes a job or has it repeated.
func (w *pipeline) settle(ctx context.Context, j *job, reply any, err error) {
	if err == nil {
		j.finish(reply, nil)
		return
	}
	what, err := classify(err)
	switch what {
	case outcomeFinal:
		if errors.Is(err, queue.ErrLost) {
			w.client.identity.doubt()
		}
		j.finish(nil, err)
		return
	case outcomeScript:
		if e := w.m.loadScripts(ctx, w.m.redis); e != nil {
			w.client.log.Warn("loading scripts again failed", zapError(e))
		}
	case outcomeMoved:
		w.client.cluster.stale()
	case outcomeUnknown:
		j.maybe = j.maybe || j.writes
		w.client.cluster.stale() // a replica may have taken over
	case outcomeRetry:
		w.client.cluster.stale()
	}
	w.client.again(j, err)
}

var errMoved = fmt.Errorf("%w: the node left the cluster", queue.ErrUnavailable)

// again sends a job another time after a pause, unless its time is up.
func (c *client) again(j *job, err error) {
	j.backoff = min(max(2*j.backoff, firstBackoff), lastBackoff)
	if c.now().Add(j.backoff).After(j.deadline) || c.closed.Load() || j.left.Load() {
		if j.maybe {
			err = fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, err)
		}
		j.finish(nil, err)
		return
	}
	time.AfterFunc(j.backoff, func() { c.submit(j) })
}

// submit hands a job to the master that serves its slot now.
func (c *client) submit(j *job) {
	m := c.cluster.serving(j.slot)
	switch {
	case m == nil:
		c.cluster.stale()
		c.again(j, fmt.Errorf("%w: no master serves slot %d", queue.ErrUnavailable, j.slot))
	case j.writes:
		m.writes.put(j)
	default:
		m.reads.put(j)
	}
}
