package gateway

import (
	"testing"
	"time"

	"trackchat/queue"
)

// TestLooksOfAPartitionMeet wants the store to be asked about sessions of one partition together,
// and about each once in Repoll or so.
func TestLooksOfAPartitionMeet(t *testing.T) {
	const repoll, grid = int64(60_000), int64(10_000)
	g := &Gateway{
		o: Options{Repoll: time.Minute}, divided: true,
		partition: func(t queue.TrackerID) queue.Partition { return queue.Partition(t) },
	}
	phases := map[int64]bool{}
	for partition := range queue.TrackerID(256) {
		first := g.nextLook(partition, 0) % grid
		phases[first] = true
		for ms := int64(0); ms < 3*grid; ms += 777 {
			next := g.nextLook(partition, ms)
			if next%grid != first {
				t.Fatalf("partition %d: %d and %d", partition, first, next%grid)
			}
			if wait := next - ms; wait < repoll*7/10 || wait > repoll*13/10 {
				t.Fatalf("partition %d: asked again after %d ms", partition, wait)
			}
		}
	}
	if len(phases) != 256 {
		t.Errorf("256 partitions are asked for at %d different times", len(phases))
	}
}
