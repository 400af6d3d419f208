package redisstore

import (
	"context"
	"fmt"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	memoryEvery = time.Second
	memoryLimit = 85 // percent of maxmemory above which nothing new is stored
	reloadPause = 100 * time.Millisecond
)

// watch keeps an eye on the memory of the masters and the identity of what they hold, and follows
// changes of the cluster until ctx ends.
func (s *Store) watch(ctx context.Context) {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.watchMemory(ctx)
			s.reverify(ctx, false)
		case <-s.identity.doubted:
			s.reverify(ctx, true)
		case <-s.cluster.changed:
			if err := s.cluster.reload(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("reading the map of the cluster failed", zap.Error(err))
			}
			s.wakes.remap()
			select {
			case <-ctx.Done():
				return
			case <-time.After(reloadPause):
			}
		}
	}
}

func (s *Store) watchMemory(ctx context.Context) {
	for _, m := range s.cluster.all() {
		if info, err := m.client.Info(ctx, "memory").Result(); err == nil {
			m.full.Store(nearlyFull(parseInfo(info)))
		}
	}
}

func (m *master) errFull() error {
	return fmt.Errorf("%w: Redis at %s uses more than %d %% of its memory", queue.ErrOverloaded,
		m.addr, memoryLimit)
}

// nearlyFull reports whether INFO memory shows less room than is kept for acks.
func nearlyFull(memory map[string]string) bool {
	limit := number(memory, "maxmemory")
	return limit > 0 && number(memory, "used_memory") > limit/100*memoryLimit
}
