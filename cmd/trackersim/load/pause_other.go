//go:build !linux

package load

import "time"

// pause sleeps at least d.
func pause(d time.Duration) { time.Sleep(d) }
