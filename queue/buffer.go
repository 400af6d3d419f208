package queue

import "sync"

// Buffer holds what is to be told to one listener, in order, and never makes its writers wait.
type Buffer[T any] struct {
	limit  int
	all    T                        // stands for everything that did not fit
	covers func(last, next *T) bool // next makes last needless; nil: never
	filled func()

	mu       sync.Mutex // guards what follows
	waiting  []T
	overflow bool // waiting is all
}

// NewBuffer returns a buffer for up to limit entries; all stands for what does not fit. filled is
// called, beside a writer, when something waits that Take has to be called for.
func NewBuffer[T any](limit int, all T, filled func()) *Buffer[T] {
	return &Buffer[T]{limit: limit, all: all, filled: filled}
}

// Add appends list and never waits. What would exceed the limit is replaced by what stands for all
// of it. It reports whether there was room.
func (b *Buffer[T]) Add(list ...T) bool {
	if len(list) == 0 {
		return true
	}
	room, first := b.add(list)
	if first {
		b.filled()
	}
	return room
}

// add reports whether there was room, and whether nothing waited before.
func (b *Buffer[T]) add(list []T) (room, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.overflow {
		return true, false
	}
	first = len(b.waiting) == 0
	if n := len(b.waiting); n > 0 && b.covers != nil &&
		b.covers(&b.waiting[n-1], &list[len(list)-1]) {
		b.waiting = b.waiting[:n-1]
	}
	if len(b.waiting)+len(list) > b.limit {
		b.waiting, b.overflow = []T{b.all}, true
		return false, first
	}
	b.waiting = append(b.waiting, list...)
	return true, first
}

// Take returns all that waits, nil for nothing.
func (b *Buffer[T]) Take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.waiting
	b.waiting, b.overflow = nil, false
	return list
}
