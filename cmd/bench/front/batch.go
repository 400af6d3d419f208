package front

import (
	"context"
	"sync"
)

// batcher gathers what concurrent callers want to write into one call.
type batcher[T any] struct {
	most  int // items of a call
	write func([]T) error

	mu    sync.Mutex
	items []T
	waits []chan<- error
	busy  bool
}

// add queues an item; the channel, where there is one, gets the outcome and must have room for it.
func (b *batcher[T]) add(item T, wait chan<- error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items, b.waits = append(b.items, item), append(b.waits, wait)
	if !b.busy {
		b.busy = true
		go b.run()
	}
}

// do queues an item and waits for the outcome.
func (b *batcher[T]) do(ctx context.Context, item T) error {
	wait := make(chan error, 1)
	b.add(item, wait)
	return outcome(ctx, wait)
}

func outcome(ctx context.Context, wait <-chan error) error {
	select {
	case err := <-wait:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run writes until there is nothing left.
func (b *batcher[T]) run() {
	for {
		items, waits := b.take()
		if len(items) == 0 {
			return
		}
		err := b.write(items)
		for _, w := range waits {
			if w != nil {
				w <- err
			}
		}
	}
}

func (b *batcher[T]) take() (items []T, waits []chan<- error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.items), b.most)
	items, waits = b.items[:n:n], b.waits[:n:n]
	b.items, b.waits = b.items[n:], b.waits[n:]
	if len(b.items) == 0 {
		b.items, b.waits = nil, nil
	}
	b.busy = n > 0
	return items, waits
}
