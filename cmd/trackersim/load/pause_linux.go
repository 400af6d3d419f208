package load

import (
	"syscall"
	"time"
)

// pause sleeps at least d. Go's own timers are up to a millisecond late in a process that is idle
// otherwise, which would be seen in every latency.
func pause(d time.Duration) {
	if d > 2*time.Millisecond {
		time.Sleep(d - time.Millisecond)
		return
	}
	ts := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&ts, nil) // an early return only means another look at the clock
}
