package main

import (
	"context"
	"fmt"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	beatEvery  = queue.NodeLife / 5
	beatWithin = 2 * time.Second
)

// startReporting tells the store from now on that this node lives, and at the end that it does not.
// It comes before the first device is let in: the trackers of an unknown node count as offline.
func (a *App) startReporting(ctx context.Context) error {
	started := time.Now().UnixMilli()
	beat := func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, beatWithin)
		defer cancel()
		return a.store.Heartbeat(bounded, queue.Node{
			ID: a.gateway.Node(), StartedMs: started,
			Sessions: a.gateway.Sessions(), Draining: a.gateway.Draining(),
		})
	}
	if err := beat(ctx); err != nil {
		return fmt.Errorf("reporting the node: %w", err)
	}
	a.onStop(func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, beatWithin)
		defer cancel()
		if err := a.store.Leave(bounded, a.gateway.Node()); err != nil {
			a.log.Warn("the end of this node is known to others only after a while",
				zap.Duration("after", queue.NodeLife), zap.Error(err))
		}
		return nil
	})
	a.meanwhile(ctx, func(ctx context.Context) { a.report(ctx, beat) })
	return nil
}

// report calls beat again and again until ctx ends.
func (a *App) report(ctx context.Context, beat func(context.Context) error) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := beat(ctx)
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failed {
				a.log.Warn("this node cannot report itself; its trackers count as offline meanwhile", zap.Error(err))
			} else {
				a.log.Info("this node reports itself again")
			}
		}
	}
}
