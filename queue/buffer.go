package queue

import "sync"

// Buffer holds what is to be told to one reader, in order, and never makes its writers wait.
type Buffer[T any] struct {
	limit  int
	all    T                        // stands for everything that did not fit
	isAll  func(*T) bool            // nothing need be added to it
	covers func(last, next *T) bool // next makes last needless; nil: never
	ready  chan struct{}            // holds a token while waiting is not empty

	mu      sync.Mutex
	waiting []T // guarded by mu
}

func newBuffer[T any](limit int, all T, isAll func(*T) bool) *Buffer[T] {
	return &Buffer[T]{limit: limit, all: all, isAll: isAll, ready: make(chan struct{}, 1)}
}

// NewWakeBuffer returns a buffer for up to limit wakes of one reader of Wakes; WakeResync stands
// for what does not fit.
func NewWakeBuffer(limit int) *Buffer[Wake] {
	return newBuffer(limit, Wake{Kind: WakeResync},
		func(w *Wake) bool { return w.Kind == WakeResync && w.Partitions == nil })
}

// Add appends list and never waits. What would exceed the limit is replaced by what stands for all
// of it. It reports whether there was room.
func (b *Buffer[T]) Add(list ...T) bool {
	if len(list) == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 1 && b.isAll(&b.waiting[0]) {
		return true
	}
	if n := len(b.waiting); n > 0 && b.covers != nil &&
		b.covers(&b.waiting[n-1], &list[len(list)-1]) {
		b.waiting = b.waiting[:n-1]
	}
	room := len(b.waiting)+len(list) <= b.limit
	if room {
		b.waiting = append(b.waiting, list...)
	} else {
		b.waiting = []T{b.all}
	}
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return room
}

// Pump hands over everything that waits at once until done.
func (b *Buffer[T]) Pump(done <-chan struct{}, out chan<- []T) {
	for {
		select {
		case <-b.ready:
		case <-done:
			return
		}
		b.mu.Lock()
		batch := b.waiting
		b.waiting = nil
		b.mu.Unlock()
		if len(batch) == 0 { // the token came after the last hand-over had already taken everything
			continue
		}
		select {
		case out <- batch:
		case <-done:
			return
		}
	}
}
