package batch

import (
	"fmt"
	"sync"

	"trackchat/queue"
)

// keptRoom is for how many items an empty lane keeps its memory.
const keptRoom = 256

// Lane is a queue that is worked on by one batch at a time: what comes meanwhile is in the next
// one, so that items of one kind are carried out in their order.
type Lane[T Item] struct {
	room  *Room
	start func()

	mu     sync.Mutex // guards what follows
	first  []T        // go before bulk
	bulk   []T
	busy   bool
	closed bool
}

// NewLane returns a lane. start is called when something is put into it while it is at rest: Take
// is then to be called until it returns nothing.
func NewLane[T Item](room *Room, start func()) *Lane[T] {
	return &Lane[T]{room: room, start: start}
}

// Put queues items of a call; queue.ErrUnavailable after Close.
func (l *Lane[T]) Put(items ...T) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		for _, it := range items {
			l.room.leave(it.Load())
		}
		return fmt.Errorf("%w: closed", queue.ErrUnavailable)
	}
	for _, it := range items {
		if it.Load().Bulk {
			l.bulk = append(l.bulk, it)
		} else {
			l.first = append(l.first, it)
		}
	}
	start := !l.busy
	l.busy = true
	l.mu.Unlock()
	if start {
		l.start()
	}
	return nil
}

// Take appends the next batch to buf: items of up to the weight and bytes together, or a single one
// that has more. What takes load away goes first; of the rest at least one is among them if any
// waits. Without a batch the lane is at rest.
func (l *Lane[T]) Take(buf []T, weight, bytes int) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := taking[T]{room: l.room, list: buf, weight: weight, bytes: bytes}
	l.first = b.from(l.first, false)
	l.bulk = b.from(l.bulk, true)
	l.busy = len(b.list) > 0
	return b.list
}

// taking is a batch that grows.
type taking[T Item] struct {
	room          *Room
	list          []T
	weight, bytes int // that are left
}

// from takes items off the beginning of a queue, and returns the rest. Those whose callers have
// left are dropped.
func (b *taking[T]) from(q []T, atLeastOne bool) []T {
	n := 0
	for _, it := range q {
		load := it.Load()
		full := load.Weight > b.weight || load.Bytes > b.bytes
		if full && !atLeastOne && len(b.list) > 0 {
			break
		}
		n++
		b.room.leave(load)
		if !it.Self().state.CompareAndSwap(queued, taken) {
			continue
		}
		b.list, atLeastOne = append(b.list, it), false
		b.weight, b.bytes = b.weight-load.Weight, b.bytes-load.Bytes
	}
	clear(q[:n])
	switch {
	case n < len(q):
		return q[n:]
	case cap(q) <= keptRoom:
		return q[:0]
	default:
		return nil
	}
}

// Close refuses what is put from now on; what is queued can still be taken.
func (l *Lane[T]) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}
