package queuetest

import (
	"context"
	"math"

	"trackchat/queue"
)

// Wakes returns a channel of what a store tells a node from now on, until ctx ends.
func Wakes(ctx context.Context, s queue.Delivery, node queue.NodeID) (<-chan []queue.Wake, error) {
	return channel(ctx, func(tell func([]queue.Wake)) error { return s.Listen(ctx, node, tell) })
}

// Changes returns a channel of the changes that a store tells from now on, until ctx ends.
func Changes(ctx context.Context, s queue.Feed) (<-chan []queue.Change, error) {
	return channel(ctx, func(tell func([]queue.Change)) error { return s.Watch(ctx, tell) })
}

func channel[T any](ctx context.Context, listen func(tell func([]T)) error) (<-chan []T, error) {
	ready, out := make(chan struct{}, 1), make(chan []T)
	var none T
	buffer := queue.NewBuffer(math.MaxInt, none, func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	})
	if err := listen(func(list []T) { buffer.Add(list...) }); err != nil {
		return nil, err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-ready:
			}
			batch := buffer.Take()
			if len(batch) == 0 {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case out <- batch:
			}
		}
	}()
	return out, nil
}
