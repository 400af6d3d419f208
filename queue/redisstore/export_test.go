package redisstore

import (
	"time"

	"trackchat/queue"
)

// WithClock makes the scripts take their time from now instead of from Redis.
func (o Options) WithClock(now func() time.Time) Options {
	o.clock = now
	return o
}

// PartitionOf places a tracker.
func PartitionOf(t queue.TrackerID) queue.Partition { return queue.Partition(partitionOf(t)) }
