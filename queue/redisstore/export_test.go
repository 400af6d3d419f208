package redisstore

import "time"

// WithClock makes the scripts take their time from now instead of from Redis.
func (o Options) WithClock(now func() time.Time) Options {
	o.clock = now
	return o
}
