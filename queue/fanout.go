package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Fanout tells what happens in this process to those who listen to a key. The zero value is ready
// for use.
type Fanout[K comparable, T any] struct {
	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[K][]*fanoutListener[T]
}

type fanoutListener[T any] struct {
	tell func([]T)
	stop func() bool // has ctx keep it no longer
}

// Listen has tell called with what is told to key, in order and one call at a time, until ctx ends
// or Close. tell must not wait, nor change the list.
func (f *Fanout[K, T]) Listen(ctx context.Context, key K, tell func([]T)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	if f.listeners == nil {
		f.listeners = make(map[K][]*fanoutListener[T])
	}
	l := &fanoutListener[T]{tell: tell}
	l.stop = context.AfterFunc(ctx, func() { f.remove(key, l) })
	f.listeners[key] = append(f.listeners[key], l)
	return nil
}

func (f *Fanout[K, T]) remove(key K, l *fanoutListener[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := slices.DeleteFunc(f.listeners[key], func(o *fanoutListener[T]) bool { return o == l })
	if len(left) == 0 {
		delete(f.listeners, key)
		return
	}
	f.listeners[key] = left
}

// Tell tells list to those who listen to key.
func (f *Fanout[K, T]) Tell(key K, list []T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners[key] {
		l.tell(list)
	}
}

// Close ends all listening; Listen fails from then on.
func (f *Fanout[K, T]) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, list := range f.listeners {
		for _, l := range list {
			l.stop()
		}
	}
	f.listeners = nil
}
