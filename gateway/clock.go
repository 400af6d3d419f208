package gateway

import (
	"time"

	"trackchat/protocol"
)

// clock tells the time: the system's, which may be set at any moment, for what is recorded and
// compared with a message's expiry; and ms for every deadline, so that nothing becomes due early or
// late because the clock was set.
type clock struct {
	now    func() time.Time
	steady protocol.Clock
}

// ms is a reading of now as deadlines are kept, see protocol.Clock.
func (c *clock) ms(t time.Time) int64 { return c.steady.Ms(t) }

// wall turns what ms returned into Unix milliseconds by the system's clock as it is now.
func (c *clock) wall(ms int64) int64 {
	now := c.now()
	return ms + now.UnixMilli() - c.ms(now)
}
