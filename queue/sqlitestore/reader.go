package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"trackchat/queue"
)

// readers is a small pool of connections that only read.
type readers struct {
	free   chan *conn
	closed chan struct{}
	count  int // connections in all
}

func newReaders(file string, n int) (*readers, error) {
	r := &readers{free: make(chan *conn, n), closed: make(chan struct{})}
	for range n {
		c, err := openConn(file, "ro", "busy_timeout = 10000", "query_only = 1", "cache_size = -8192")
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.free <- c
		r.count++
	}
	return r, nil
}

// close waits for the readers under way. It must be called once.
func (r *readers) close() error {
	close(r.closed)
	errs := make([]error, 0, r.count)
	for range r.count {
		errs = append(errs, (<-r.free).close())
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
	case c := <-r.free:
		return c, nil
	case <-r.closed:
		return nil, fmt.Errorf("%w: closed", queue.ErrUnavailable)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
	defer func() { s.readers.free <- c }()
	return translate(c.view(func() error { return f(c) }))
}

// chunks are the numbers of ids that an IN list may have; shorter ones are filled up by repeating the last id, so that a few prepared statements serve all.
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
func (c *conn) eachChunk(queries map[int]string, n int, id func(i int) int64, each func(row []driver.Value) error) error {
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

// readTrackers calls each with (id, last_ms, unread, epoch, pending, last_out, change_ms) of every tracker that has a state.
func (s *Store) readTrackers(ctx context.Context, op string, ts []queue.TrackerID, each func(row []driver.Value)) error {
	return s.read(ctx, op, func(c *conn) error {
		return c.eachChunk(s.trackersIn, len(ts), func(i int) int64 { return int64(ts[i]) }, func(row []driver.Value) error { each(row); return nil })
	})
}
