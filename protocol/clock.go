package protocol

import (
	"sync"
	"time"
)

// Clock turns readings of time.Now into numbers, where many are kept, without losing what the
// monotonic clock in them says: a system's clock that is set makes nothing due. The zero value is
// ready.
type Clock struct {
	once  sync.Once
	start time.Time // the first reading
}

// Ms is a reading in Unix milliseconds by the system's clock as it was at the first one, and what
// has passed since by the monotonic one.
func (c *Clock) Ms(t time.Time) int64 {
	c.once.Do(func() { c.start = t })
	return c.start.Add(t.Sub(c.start)).UnixMilli()
}

// Time is the reverse of Ms.
func (c *Clock) Time(ms int64) time.Time {
	return c.start.Add(time.Duration(ms-c.start.UnixMilli()) * time.Millisecond)
}
