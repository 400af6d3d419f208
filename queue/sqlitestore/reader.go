package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"trackchat/queue"
)

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

// read runs f on a connection of the pool, on one state of the file.
func (s *Store) read(ctx context.Context, op string, f func(c *conn) error) error {
	start := s.now()
	err := s.readOnce(ctx, f)
	s.observe(op, start, err)
	return err
}

func (s *Store) readOnce(ctx context.Context, f func(c *conn) error) error {
	c, err := s.readers.take(ctx)
	if err != nil {
		return err
	}
	defer s.readers.put(c)
	return translate(c.view(func() error { return f(c) }))
}

// chunks are the numbers of ids that an IN list may have; shorter ones are filled up by repeating
// the last id, so that a few prepared statements serve all.
func chunks() []int { return []int{1, 8, 64} }

// inQueries returns prefix followed by a list of parameters for each of chunks.
func inQueries(prefix string) map[int]string {
	m := make(map[int]string)
	for _, n := range chunks() {
		m[n] = prefix + " (" + strings.TrimSuffix(strings.Repeat("?, ", n), ", ") + ")"
	}
	return m
}

// eachChunk runs one of queries for all n ids, some at a time.
func (c *conn) eachChunk(queries map[int]string, n int, id func(i int) int64,
	each func(row []driver.Value) error,
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
		args := make([]driver.Value, size)
		for i := range args {
			args[i] = id(min(from+i, n-1))
		}
		if err := c.query(queries[size], each, args...); err != nil {
			return err
		}
		from += size
	}
	return nil
}

// readTrackers calls each with (id, last_ms, unread, epoch, pending, last_out, change_ms) of every
// tracker that has a state.
func (s *Store) readTrackers(ctx context.Context, op string, ts []queue.TrackerID,
	each func(row []driver.Value),
) error {
	return s.read(ctx, op, func(c *conn) error {
		return c.eachChunk(s.trackersIn, len(ts), func(i int) int64 { return int64(ts[i]) },
			func(row []driver.Value) error { each(row); return nil })
	})
}
