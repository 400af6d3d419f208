package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector's percentage. A small one keeps the heap of many quiet sessions close to what they need. Under load on a small heap it would collect dozens of times a
// second, which costs a tenth of the processor and more, so it rises then, and falls again when it is quiet.
const (
	gcPercent     = 50
	gcPercentMost = 400
	gcOften       = 4 // collections a second that are too many
	gcSeldom      = 1 // and so few that a step down may be tried
	gcLook        = time.Second
)

// paceCollections sets the collector's percentage until ctx ends.
func paceCollections(ctx context.Context) {
	percent := gcPercent
	debug.SetGCPercent(percent)
	every := time.NewTicker(gcLook)
	defer every.Stop()
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if next := nextPercent(percent, now-before); next != percent { // setting it stops everything for a moment
			percent = next
			debug.SetGCPercent(percent)
		}
		before = now
	}
}

// nextPercent decides from the collections of the last second.
func nextPercent(percent int, collections uint64) int {
	switch {
	case collections > gcOften:
		return min(2*percent, gcPercentMost)
	case collections < gcSeldom:
		return max(percent/2, gcPercent)
	default:
		return percent
	}
}
