package sqlitestore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
)

// States of an operation; the one who moves it from queued decides.
const (
	opQueued int32 = iota
	opTaken
	opAbandoned
)

// operation is one call on its way through the writer.
type operation struct {
	name  string
	items int
	bytes int
	// only adds load: refused earlier than what takes load away, such as acks.
	bulk  bool
	grows bool // makes the file larger
	// may run again after a failed transaction, so it assigns its results anew.
	run       func(w *writer) error
	outsideTx func(w *writer) error // instead of run: outside a transaction
	state     atomic.Int32
	done      chan struct{}
	err       error // valid after done
}

// finish answers the caller.
func (o *operation) finish(err error) {
	o.err = err
	close(o.done)
}

// writeQueue is the bounded queue in front of the writer. What takes load away goes before what
// adds some, so that acks keep up with whatever is sent.
type writeQueue struct {
	ops   chan *operation
	bulk  chan *operation
	limit int64 // bytes
	bytes atomic.Int64

	mu     sync.RWMutex // guards closed against a send on the closed channel
	closed bool
}

func newWriteQueue(length, bytes int) *writeQueue {
	return &writeQueue{
		ops: make(chan *operation, length), bulk: make(chan *operation, length*3/4+1),
		limit: int64(bytes),
	}
}

// put never waits.
func (q *writeQueue) put(o *operation) error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return fmt.Errorf("%w: closed", queue.ErrUnavailable)
	}
	limit := q.limit
	if o.bulk {
		limit = limit * 3 / 4
	}
	if n := q.bytes.Add(int64(o.bytes)); n > limit && n > int64(o.bytes) {
		q.bytes.Add(-int64(o.bytes))
		return fmt.Errorf("%w: %d bytes wait", queue.ErrOverloaded, n)
	}
	line := q.ops
	if o.bulk {
		line = q.bulk
	}
	select {
	case line <- o:
		return nil
	default:
		q.bytes.Add(-int64(o.bytes))
		return fmt.Errorf("%w: %d operations wait", queue.ErrOverloaded, cap(line))
	}
}

// waiting is how many operations are queued.
func (q *writeQueue) waiting() int { return len(q.ops) + len(q.bulk) }

// next waits for an operation and returns it; nil when the queue is closed and empty.
func (q *writeQueue) next() *operation {
	if o := q.more(q.ops); o != nil {
		return o
	}
	ops, bulk := q.ops, q.bulk
	for ops != nil || bulk != nil {
		select {
		case o, open := <-ops:
			if open {
				return o
			}
			ops = nil
		case o, open := <-bulk:
			if open {
				return o
			}
			bulk = nil
		}
	}
	return nil
}

// more returns an operation that is queued in a line, nil without one.
func (q *writeQueue) more(line <-chan *operation) *operation {
	select {
	case o := <-line: // nil when closed
		return o
	default:
		return nil
	}
}

// close lets what is queued be taken and refuses everything else.
func (q *writeQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.ops)
		close(q.bulk)
	}
}

// taken notes that o left the queue and reports whether its caller still waits for it.
func (q *writeQueue) taken(o *operation) bool {
	q.bytes.Add(-int64(o.bytes))
	return o.state.CompareAndSwap(opQueued, opTaken)
}

// grace is how long a caller whose context ended during the execution waits for the outcome.
const grace = time.Second

// write has run executed by the writer and waits until that is durable.
func (s *Store) write(ctx context.Context, o *operation) error {
	start := s.now()
	err := s.submit(ctx, o)
	s.observe(o.name, start, err)
	return err
}

// observe notes a call; a clock that was set back counts as no time.
func (s *Store) observe(op string, start time.Time, err error) {
	s.metrics.Observe(op, max(0, s.now().Sub(start)), err)
}

func (s *Store) submit(ctx context.Context, o *operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.done = make(chan struct{})
	if err := s.writes.put(o); err != nil {
		return err
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	if o.state.CompareAndSwap(opQueued, opAbandoned) {
		return ctx.Err()
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-o.done:
		return o.err
	case <-t.C:
		return fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, ctx.Err())
	}
}
