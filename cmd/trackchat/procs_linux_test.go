package main

import (
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSyncsLeaveProcessors runs the service on one core: with the embedded store Go has processors for those who sync, unless the operator said how many there are.
func TestSyncsLeaveProcessors(t *testing.T) {
	for variable, want := range map[string]float64{"": 1 + syncing, "1": 1, strconv.Itoa(manyProcs): manyProcs} {
		t.Run("GOMAXPROCS="+variable, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", variable)
			c := newChild(t, childOptions{trackers: 1})
			onOneCore(t, c.launch)
			c.awaitReady()
			if n := c.metric("go_sched_gomaxprocs_threads"); n != want {
				t.Errorf("%v processors, want %v", n, want)
			}
		})
	}
}

// onOneCore has f start processes that may use a single core.
func onOneCore(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &all))
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	f()
	must(t, unix.SchedSetaffinity(0, &all))
}
