package gateway

import (
	"testing"

	"trackchat/queue"
)

// What codecs learn does not fill the memory, and what is no longer so is forgotten.
func TestLearntIsBounded(t *testing.T) {
	l := newLearnt()
	for i := range queue.TrackerID(maxLearnt + 10) {
		if l.set(i, 1); l.get(i) != 1 {
			t.Fatalf("tracker %d is forgotten at once", i)
		}
	}
	if len(l.of) != maxLearnt {
		t.Errorf("%d trackers are remembered", len(l.of))
	}
	last := queue.TrackerID(maxLearnt + 9)
	if l.set(last, 0); l.get(last) != 0 || len(l.of) != maxLearnt-1 {
		t.Errorf("%d after it was forgotten, %d trackers", l.get(last), len(l.of))
	}
}
