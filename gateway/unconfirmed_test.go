package gateway

import (
	"testing"
	"time"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Devices that never come back do not fill the memory: the count of some tracker gives way, and
// that is counted.
func TestRoundsAreBounded(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	r := newUnconfirmed(newAdmission(Limits{}, time.Now, m))
	const more = 10
	for i := range queue.TrackerID(maxRounds + more) {
		if n := r.add(i, 1); n != 1 {
			t.Fatalf("round %d of %d", n, i)
		}
	}
	last := queue.TrackerID(maxRounds + more - 1)
	if n := r.add(last, 1); n != 2 || len(r.of) != maxRounds {
		t.Errorf("round %d, %d entries", n, len(r.of))
	}
	if n := testutil.ToFloat64(m.refused.WithLabelValues("rounds")); n != more {
		t.Errorf("%v counted", n)
	}
	r.clear(last, 2) // of another message
	if n := r.add(last, 1); n != 3 {
		t.Errorf("round %d after another message was cleared", n)
	}
	r.clear(last, 1)
	if n := r.add(last, 1); n != 1 {
		t.Errorf("round %d after it was cleared", n)
	}
}
