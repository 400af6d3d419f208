package batch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"trackchat/queue"
)

// grace is how long a caller whose context was cancelled while an item of its was being carried out
// waits for the outcome.
const grace = time.Second

// Load is how much an item is.
type Load struct {
	Weight int  // of it in a batch
	Bytes  int  // that it keeps in memory
	Bulk   bool // only adds load: refused first, and carried out after what takes load away
}

// Ticket is what a caller waits with. The item embeds it.
type Ticket struct {
	Err error // of the item, once it is answered

	state atomic.Int32
	call  *Call
}

// States of a ticket; who moves it from queued decides.
const (
	queued int32 = iota
	taken
	abandoned
)

// Item is what waits in a lane: a pointer to a struct that embeds Ticket. Its load is always the
// same.
type Item interface {
	Load() Load
	Self() *Ticket
}

// Self is what the item embeds.
func (t *Ticket) Self() *Ticket { return t }

// Finish answers the item, which was taken. Its result is what the caller finds in it.
func (t *Ticket) Finish(err error) {
	t.Err = err
	if t.call.left.Add(-1) == 0 {
		close(t.call.done)
	}
}

// Call is what one caller waits for.
type Call struct {
	left    atomic.Int32
	done    chan struct{}
	tickets []*Ticket
	single  [1]*Ticket // room for those of most calls
}

// NewCall takes all items in, or none of them: queue.ErrOverloaded. Each is to be put into a lane
// of that room.
func NewCall[T Item](room *Room, items ...T) (*Call, error) {
	c := &Call{done: make(chan struct{})}
	if c.tickets = c.single[:]; len(items) != 1 {
		c.tickets = make([]*Ticket, len(items))
	}
	c.left.Store(int32(len(items)))
	for i, it := range items {
		if err := room.enter(it.Load()); err != nil {
			for _, entered := range items[:i] {
				room.leave(entered.Load())
			}
			return nil, err
		}
		c.tickets[i] = it.Self()
		c.tickets[i].call = c
	}
	return c, nil
}

// Wait returns when all items are answered, nil, or soon after ctx is done. With the error of ctx
// nothing of the call is done; queue.ErrUnknownOutcome says that it is not known.
func (c *Call) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	withdrawn := 0
	for _, t := range c.tickets {
		if t.state.CompareAndSwap(queued, abandoned) {
			withdrawn++
			t.Finish(ctx.Err())
		}
	}
	if withdrawn == len(c.tickets) {
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
