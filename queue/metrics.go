package queue

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// StoreMetrics are the figures that every store keeps about itself.
type StoreMetrics struct {
	seconds *prometheus.HistogramVec
	batch   *prometheus.HistogramVec
	errors  *prometheus.CounterVec
	corrupt *prometheus.CounterVec
	failure func(error) // nil: nobody asks
	lost    prometheus.Gauge

	ops     atomic.Pointer[map[string]*opMetrics] // of those seen so far; replaced as a whole
	opsLock sync.Mutex                            // serialises replacing ops
}

// opMetrics are the figures of one operation, so that a call need not look for them by their
// labels.
type opMetrics struct {
	seconds prometheus.Observer
	errors  prometheus.Counter
}

// NewStoreMetrics registers the figures; a nil reg keeps them unregistered.
func NewStoreMetrics(reg prometheus.Registerer) *StoreMetrics {
	f := promauto.With(reg)
	return &StoreMetrics{
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "trackchat_store_seconds",
			Help:    "Time of a store operation from call to durable answer.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}, []string{"op"}),
		batch: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "trackchat_batch_size", Help: "Items that one durable store batch held.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}, []string{"op"}),
		errors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_store_errors_total", Help: "Store calls that failed as a whole.",
		}, []string{"op"}),
		corrupt: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_store_corrupt_total",
			Help: "Requests that met stored data which cannot be read; the log says which.",
		}, []string{"op"}),
		lost: f.NewGauge(prometheus.GaugeOpts{
			Name: "trackchat_store_lost",
			Help: "1 while the store has lost its data or is another one than this process knows, so that nothing is taken or given out.",
		}),
	}
}

// OnFailure has f told the error of each call that fails as a whole. f must not block, and is set
// before the first call.
func (m *StoreMetrics) OnFailure(f func(error)) { m.failure = f }

// Lost notes whether the store is another one than this process knows.
func (m *StoreMetrics) Lost(lost bool) {
	v := 0.0
	if lost {
		v = 1
	}
	m.lost.Set(v)
}

// Observe notes one call of op that took d.
func (m *StoreMetrics) Observe(op string, d time.Duration, err error) {
	o := m.op(op)
	o.seconds.Observe(d.Seconds())
	if err == nil {
		return
	}
	o.errors.Inc()
	if errors.Is(err, ErrCorrupt) {
		m.Corrupt(op)
	}
	if m.failure != nil {
		m.failure(err)
	}
}

// op finds the figures of an operation; its errors begin at zero, so that the first one shows as a
// rise.
func (m *StoreMetrics) op(name string) *opMetrics {
	if ops := m.ops.Load(); ops != nil {
		if o := (*ops)[name]; o != nil {
			return o
		}
	}
	m.opsLock.Lock()
	defer m.opsLock.Unlock()
	ops := make(map[string]*opMetrics)
	if old := m.ops.Load(); old != nil {
		maps.Copy(ops, *old)
	}
	m.corrupt.WithLabelValues(name)
	o := &opMetrics{m.seconds.WithLabelValues(name), m.errors.WithLabelValues(name)}
	ops[name] = o
	m.ops.Store(&ops)
	return o
}

// Corrupt notes that one request of a call met data that cannot be read; Observe notes it of a
// whole call.
func (m *StoreMetrics) Corrupt(op string) { m.corrupt.WithLabelValues(op).Inc() }

// Batch notes that one durable step carried n items.
func (m *StoreMetrics) Batch(op string, n int) { m.batch.WithLabelValues(op).Observe(float64(n)) }
