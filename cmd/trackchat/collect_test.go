package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestCollectionsArePaced has a small heap that is collected all the time, and then not.
func TestCollectionsArePaced(t *testing.T) {
	was := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(was) })
	percent := func() int {
		now := debug.SetGCPercent(-1)
		debug.SetGCPercent(now)
		return now
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		paceCollections(ctx)
	}()
	await := func(what string, busy bool, ok func(int) bool) {
		t.Helper()
		limit := time.NewTimer(patience)
		defer limit.Stop()
		every := time.NewTicker(10 * time.Millisecond)
		defer every.Stop()
		for !ok(percent()) {
			if busy {
				runtime.GC()
			}
			select {
			case <-every.C:
			case <-limit.C:
				t.Fatalf("%s: %d %%", what, percent())
			}
		}
	}
	await("under load", true, func(p int) bool { return p == gcPercentMost })
	await("quiet again", false, func(p int) bool { return p == gcPercent })
	stop()
	<-done
}
