package app

import (
	"context"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	expireEvery = 2 * time.Second
	trimEvery   = 10 * time.Minute
	trimStep    = 1000 // messages removed at a time, so that nobody waits for it
	trimPause   = 50 * time.Millisecond
)

// startMaintenance looks after the store: its health, the messages whose time has run out, and
// those that are older than the retention.
func (a *App) startMaintenance(ctx context.Context) error {
	// Each apart from the others, which may take their time.
	a.meanwhile(ctx, a.trimOld)
	a.meanwhile(ctx, a.expireOverdue)
	a.meanwhile(ctx, a.watchStore)
	a.meanwhile(ctx, a.pingStore)
	return nil
}

func (a *App) trimOld(ctx context.Context) {
	a.trim(ctx)
	every(ctx, trimEvery, a.trim)
}

// expireOverdue ends messages whose time has run out, also of trackers that are not connected
// anywhere. Every process does: whichever comes first ends a message, once.
func (a *App) expireOverdue(ctx context.Context) {
	failing := false
	every(ctx, expireEvery, func(ctx context.Context) {
		for more := true; more; {
			stats, err := a.store.Expire(ctx)
			if err != nil && ctx.Err() == nil && !failing {
				a.log.Error("messages whose time has run out not ended, will be repeated",
					zap.Error(err))
			}
			failing = err != nil
			a.expired.Add(float64(stats.Ended))
			more = stats.More && err == nil
		}
	})
}

// trim removes what is older than the retention, in small steps.
func (a *App) trim(ctx context.Context) {
	keep := a.cfg.Store.Retention.D()
	if keep <= 0 {
		return
	}
	removed := 0
	pause := time.NewTicker(trimPause)
	defer pause.Stop()
	for p := range a.store.Partitions() {
		for more := true; more; {
			stats, err := a.store.Trim(ctx, queue.Partition(p),
				queue.Retention{CutoffMs: time.Now().Add(-keep).UnixMilli(), Max: trimStep})
			if err != nil {
				if ctx.Err() == nil {
					a.log.Error("old messages not removed", zap.Error(err))
				}
				return
			}
			removed += stats.Removed
			if more = stats.More; more || stats.Removed > 0 {
				select {
				case <-ctx.Done():
					return
				case <-pause.C:
				}
			}
		}
	}
	if removed > 0 {
		a.log.Info("old messages removed", zap.Int("messages", removed))
	}
}
