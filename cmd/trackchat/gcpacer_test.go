package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// seconds has p look at as many seconds with collections that cost so much each.
func (p *pace) seconds(n int, cycles uint64, each float64) {
	for range n {
		p.look(cycles, each)
		for range gcLooks - 1 {
			p.look(0, 0)
		}
	}
}

func TestPercentageFollowsCollections(t *testing.T) {
	p := pace{percent: gcPercent}
	expect := func(what string, percent int) {
		t.Helper()
		if p.percent != percent {
			t.Errorf("%s: %d %%, expected %d %%", what, p.percent, percent)
		}
	}
	p.seconds(3, 0, 0)
	expect("nothing happens", gcPercentLeast)
	p.seconds(60, 1, 0.002)
	expect("a small heap is collected now and then", gcPercentLeast)
	p.look(20, 0.005)
	expect("a load begins", gcPercent)
	p.seconds(5, gcOften+1, 0.005)
	expect("under load", gcPercentMost)
	p.seconds(10, gcSeldom, 0.005)
	expect("as often as it may be", gcPercentMost)
	p.seconds(3, 0, 0)
	expect("the load is over", gcPercent)
	p.seconds(120, 0, 0)
	expect("long after the load", gcPercentLeast)

	p.look(2, 0.08) // of a middling heap
	expect("many devices go", gcPercent)
	p.seconds(60, 0, 0)
	expect("long after that", gcPercentLeast)

	p.seconds(1, 1, 3) // of a large heap
	expect("a dear collection", 2*gcPercentLeast)
	p.seconds(40, 0, 0)
	expect("a while later", 2*gcPercentLeast)
	p.seconds(1, 1, 3)
	p.seconds(1, 1, 3)
	p.seconds(1, 1, 3)
	expect("dear ones in a row", gcPercent)
	p.seconds(10, 1, 3)
	expect("cost alone", gcPercent)
}

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
	await("quiet again", false, func(p int) bool { return p <= gcPercent })
	stop()
	<-done
}
