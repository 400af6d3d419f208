package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"trackchat/queue"
	"trackchat/queue/batch"

	"go.uber.org/zap"
)

// database is the file: calls read it through a pool of connections, and change it through the
// writer's queue.
type database struct {
	now     func() time.Time
	log     *zap.Logger
	metrics *queue.StoreMetrics
	readers *readers

	room   *batch.Room
	writes *batch.Lane[*operation]
	queued chan struct{} // something is, for the writer
}

func newDatabase(opts *Options) *database {
	db := &database{
		now: opts.Now, log: opts.Logger, metrics: queue.NewStoreMetrics(opts.Registerer),
		room: batch.NewRoom(opts.QueueOps, opts.QueueBytes), queued: make(chan struct{}, 1),
	}
	db.metrics.OnFailure(opts.OnFailure)
	db.writes = batch.NewLane[*operation](db.room, func() {
		select {
		case db.queued <- struct{}{}:
		default: // the loop looks before it ends
		}
	})
	return db
}

// read runs f on a connection of the pool, on one state of the file.
func (db *database) read(ctx context.Context, op string, f func(c *conn) error) error {
	start := db.now()
	err := db.readOnce(ctx, f)
	db.observe(op, start, err)
	return err
}

func (db *database) readOnce(ctx context.Context, f func(c *conn) error) error {
	c, err := db.readers.take(ctx)
	if err != nil {
		return err
	}
	defer db.readers.put(c)
	return translate(c.view(func() error { return f(c) }))
}

// write has run executed by the writer and waits until that is durable.
func (db *database) write(ctx context.Context, o *operation) error {
	start := db.now()
	err := db.submit(ctx, o)
	db.observe(o.name, start, err)
	return err
}

// changeRow runs a statement that changes one row or none, and reports which.
func (db *database) changeRow(ctx context.Context, name string, bytes int,
	run func(w *writer) (int64, error),
) (bool, error) {
	var n int64
	err := db.write(ctx, &operation{
		name: name, items: 1, bytes: bytes,
		run: func(w *writer) (err error) {
			n, err = run(w)
			return err
		},
	})
	return err == nil && n > 0, err
}

// observe notes a call; a clock that was set back counts as no time.
func (db *database) observe(op string, start time.Time, err error) {
	db.metrics.Observe(op, max(0, db.now().Sub(start)), err)
}

// submit queues an operation and waits for its outcome, or until ctx is done.
func (db *database) submit(ctx context.Context, o *operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	call, err := batch.NewCall(db.room, o)
	if err != nil {
		return err
	}
	if err := db.writes.Put(o); err != nil {
		return err
	}
	if err := call.Wait(ctx); err != nil {
		return err
	}
	return o.Err
}

// readers is a small pool of connections that only read.
type readers struct {
	turns  chan struct{} // one for each free connection
	closed chan struct{}
	count  int // connections in all

	mu   sync.Mutex
	uses int64 // so far
	// the last one is the next: where one at a time is enough, one cache is filled and not all of
	// them.
	free []*conn
}

func newReaders(file string, n int, cache string) (*readers, error) {
	r := &readers{turns: make(chan struct{}, n), closed: make(chan struct{})}
	for range n {
		c, err := openConn(file, "ro", "busy_timeout = 10000", "query_only = 1", cache)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.count++
		r.put(c)
	}
	return r, nil
}

// close waits for the readers under way. It must be called once.
func (r *readers) close() error {
	close(r.closed)
	errs := make([]error, 0, r.count)
	for range r.count {
		<-r.turns
		errs = append(errs, r.pop().close())
	}
	return errors.Join(errs...)
}

func (r *readers) take(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-r.closed:
		return nil, fmt.Errorf("%w: closed", queue.ErrUnavailable)
	default:
	}
	select {
	case <-r.turns:
		return r.pop(), nil
	case <-r.closed:
		return nil, fmt.Errorf("%w: closed", queue.ErrUnavailable)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *readers) pop() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses++
	last := len(r.free) - 1
	c := r.free[last]
	r.free = r.free[:last]
	return c
}

// taken is how often a connection was taken.
func (r *readers) taken() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uses
}

// cached is how much memory the pages of the connections take that nobody uses now.
func (r *readers) cached() (bytes int64) {
	var idle []*conn
	for range r.count {
		select {
		case <-r.turns:
			c := r.pop()
			bytes += c.cached()
			idle = append(idle, c)
		default:
		}
	}
	for _, c := range slices.Backward(idle) {
		r.put(c)
	}
	return bytes
}

func (r *readers) put(c *conn) {
	r.mu.Lock()
	r.free = append(r.free, c)
	r.mu.Unlock()
	r.turns <- struct{}{} // has room for every connection
}

// chunks are the numbers of ids that a query may be asked about; shorter lists are filled up with
// NULL, so that a few prepared statements serve all.
func chunks() []int { return []int{1, 8, 64} }

// inQueries returns prefix followed by a list of parameters for each of chunks.
func inQueries(prefix string) map[int]string {
	m := make(map[int]string)
	for _, n := range chunks() {
		m[n] = prefix + " (" + strings.TrimSuffix(strings.Repeat("?, ", n), ", ") + ")"
	}
	return m
}

// askQueries returns query for each of chunks, which finds the ids in asked.id, NULL among them;
// with is what comes before them among the parameters, as other tables of the WITH.
func askQueries(with, query string) map[int]string {
	m := make(map[int]string)
	for _, n := range chunks() {
		m[n] = "WITH " + with + "asked (id) AS (VALUES " +
			strings.TrimSuffix(strings.Repeat("(?), ", n), ", ") + ") " + query
	}
	return m
}

// eachChunk runs one of queries for all n ids, some at a time, each with first before the ids.
func (c *conn) eachChunk(queries map[int]string, n int, id func(i int) int64,
	each func(row []driver.Value) error, first ...driver.Value,
) error {
	sizes := chunks()
	for from := 0; from < n; {
		size := sizes[len(sizes)-1]
		for _, s := range sizes {
			if s >= n-from {
				size = s
				break
			}
		}
		args := make([]driver.Value, len(first)+size)
		copy(args, first)
		for i := range min(size, n-from) {
			args[len(first)+i] = id(from + i)
		}
		if err := c.query(queries[size], each, args...); err != nil {
			return err
		}
		from += size
	}
	return nil
}
