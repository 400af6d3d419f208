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

// SlotOf is the cluster's hash slot of a tracker's keys.
func SlotOf(t queue.TrackerID) int { return slotOf(tags()[partitionOf(t)]) }

// Tags is the table of hash tags.
func Tags() [256]string { return tags() }

// TagSlot is the hash slot of a tag.
func TagSlot(tag string) int { return slotOf(tag) }

// ScriptSHA is the name that Redis gives a script.
func (s *Store) ScriptSHA(name string) string { return s.scripts[name].sha }
