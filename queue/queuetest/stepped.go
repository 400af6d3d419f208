package queuetest

import (
	"time"
	"unsafe"
)

// Stepped returns a reading of time.Now as it would be had the system's clock been set forward or
// back by whole seconds: its monotonic clock is as it was. Package time has no way to make one, so
// this writes to its seconds, and panics should they ever be kept elsewhere.
func Stepped(t time.Time, by time.Duration) time.Time {
	const fraction = 30 // bits of the nanoseconds, below those of the seconds
	stepped := t
	wall := (*uint64)(unsafe.Pointer(&stepped))
	*wall += uint64(by/time.Second) << fraction
	if stepped.Sub(t) != 0 || stepped.UnixMilli()-t.UnixMilli() != by.Milliseconds() {
		panic("time.Time keeps its clocks otherwise")
	}
	return stepped
}
