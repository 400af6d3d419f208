package sqlitestore

import (
	"context"
	"time"

	"trackchat/queue/batch"
)

// operation is one call on its way through the writer.
type operation struct {
	batch.Ticket

	name  string
	items int
	bytes int
	// only adds load: refused earlier than what takes load away, such as acks.
	bulk  bool
	grows bool // makes the file larger
	// may run again after a failed transaction, so it assigns its results anew.
	run       func(w *writer) error
	outsideTx func(w *writer) error // instead of run: outside a transaction
}

// Load says how much of the write queue an operation takes.
func (o *operation) Load() batch.Load {
	return batch.Load{Weight: o.items, Bytes: o.bytes, Bulk: o.bulk}
}

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

// submit queues an operation and waits for its outcome, or until ctx is done.
func (s *Store) submit(ctx context.Context, o *operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	call, err := batch.NewCall(s.room, o)
	if err != nil {
		return err
	}
	if err := s.writes.Put(o); err != nil {
		return err
	}
	if err := call.Wait(ctx); err != nil {
		return err
	}
	return o.Err
}
