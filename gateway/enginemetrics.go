package gateway

import (
	"time"

	"trackchat/gateway/engine"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ObserveEngine registers what engines count in stats, and returns what
// engine.Options.ObserveLoopLag wants.
func ObserveEngine(reg prometheus.Registerer, stats *engine.Stats) func(time.Duration) {
	f := promauto.With(reg)
	counter := func(name, help string, read func() uint64) {
		f.NewCounterFunc(prometheus.CounterOpts{Name: "trackchat_engine_" + name, Help: help},
			func() float64 { return float64(read()) })
	}
	gauge := func(name, help string, read func() int64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "trackchat_engine_" + name, Help: help},
			func() float64 { return float64(read()) })
	}
	counter("slow_writes_total", "Writes refused because the peer does not read.", stats.Slow.Load)
	counter("too_much_total", "Connections closed for too many bytes without a whole frame.",
		stats.TooMuch.Load)
	counter("budget_total",
		"Connections closed because all those without a login held too many bytes together.",
		stats.Budget.Load)
	counter("panics_total", "Handler calls that failed.", stats.Panics.Load)
	counter("accept_pauses_total",
		"Times accepting paused for lack of descriptors or kernel memory.", stats.Pauses.Load)
	gauge("partial_bytes", "Bytes of unfinished frames.", stats.Partial.Load)
	gauge("unsent_bytes", "Bytes that wait for slow peers.", stats.Unsent.Load)
	lag := f.NewHistogram(prometheus.HistogramOpts{
		Name:    "trackchat_loop_lag_seconds",
		Help:    "How long an order had to wait for its event loop, probed twice a second.",
		Buckets: prometheus.ExponentialBuckets(0.00005, 3, 12),
	})
	return func(d time.Duration) { lag.Observe(d.Seconds()) }
}
