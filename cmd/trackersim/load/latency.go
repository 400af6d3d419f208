package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is what a latency is counted as at most.
const longest = 10 * time.Minute

// latency counts durations to a tenth of a percent; any number of goroutines may add.
type latency struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func newLatency() *latency {
	return &latency{h: hdrhistogram.New(1, longest.Microseconds(), 3)}
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.h.RecordValue(min(max(d, 0), longest).Microseconds()) // within its range by the bounds
}

// Quantiles is a distribution of times in milliseconds.
type Quantiles struct {
	Count int64   `json:"n"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	Max   float64 `json:"max"`
}

// at returns the milliseconds that a share (0 to 100) does not exceed.
func (l *latency) at(percent float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return float64(l.h.ValueAtQuantile(percent)) / 1000
}

func (l *latency) quantiles() Quantiles {
	q := Quantiles{P50: l.at(50), P90: l.at(90), P99: l.at(99), P999: l.at(99.9)}
	l.mu.Lock()
	defer l.mu.Unlock()
	q.Count, q.Mean, q.Max = l.h.TotalCount(), l.h.Mean()/1000, float64(l.h.Max())/1000
	if q.Count == 0 {
		return Quantiles{}
	}
	return q
}
