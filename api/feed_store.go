package api

import (
	"context"
	"time"
)

// storeSilence is after how long without a sign of life the store counts as down; while it is
// listened to it gives one a second, of all its partitions.
const storeSilence = 4 * time.Second

// States of the store, as heartbeats name them.
const (
	storeOK   = "ok"
	storeDown = "down"
)

// watchStore notices that the store has gone quiet, whatever the listener waits for meanwhile.
func (f *feed) watchStore(ctx context.Context) {
	look := time.NewTicker(feedLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		f.mu.Lock()
		f.quiet++
		f.setDown(time.Duration(f.quiet)*feedLook >= storeSilence)
		f.mu.Unlock()
	}
}

// heard notes a sign of life of the store.
func (f *feed) heard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quiet = 0
	f.setDown(false)
}

// setDown has every reader told when the state has changed; mu is held.
func (f *feed) setDown(down bool) {
	if f.down == down {
		return
	}
	f.down = down
	for _, subs := range f.topics {
		for s := range subs {
			s.signal()
		}
	}
}

// pulse is the feed's position and the store's state.
func (f *feed) pulse() (position int64, store string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return f.position, storeDown
	}
	return f.position, storeOK
}
