package main

import (
	"context"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

// endMovedEvery is how often it is looked for texts to trackers that have moved, besides each
// change of the directory: who did not know of the move yet may have sent one after it.
const endMovedEvery = time.Minute

// startEndingMoved ends what waits for trackers in the accounts that they have left.
func (a *App) startEndingMoved(ctx context.Context) error {
	a.meanwhile(ctx, func(ctx context.Context) {
		tick := time.NewTicker(endMovedEvery)
		defer tick.Stop()
		for {
			a.endMoved(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-a.moved:
			}
		}
	})
	return nil
}

func (a *App) endMoved(ctx context.Context) {
	ended, err := queue.EndKept(ctx, a.store, a.directory.Current().Kept())
	if err != nil && ctx.Err() == nil {
		a.log.Warn("texts to trackers that have moved to another account are not ended yet, will be repeated", zap.Error(err))
	}
	if ended > 0 {
		a.log.Info("texts to trackers that have moved to another account have ended",
			zap.Int("texts", ended))
	}
}
