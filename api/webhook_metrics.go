package api

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// hookMetrics are the webhooks' figures about themselves.
type hookMetrics struct {
	calls    *prometheus.CounterVec
	seconds  prometheus.Histogram
	dropped  prometheus.Counter
	accounts prometheus.Gauge
	lag      prometheus.Gauge
	waiting  prometheus.Gauge
}

func newHookMetrics(reg prometheus.Registerer) *hookMetrics {
	f := promauto.With(reg)
	return &hookMetrics{
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_webhook_calls_total",
			Help: "Calls of webhooks; address: refused because it is not public.",
		},
			[]string{"result"}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_webhook_dropped_total",
			Help: "Events that were given up because no call succeeded for too long.",
		}),
		accounts: f.NewGauge(prometheus.GaugeOpts{
			Name: "trackchat_webhook_accounts",
			Help: "Accounts whose events this node delivers.",
		}),
		lag: f.NewGauge(prometheus.GaugeOpts{
			Name: "trackchat_webhook_lag_seconds",
			Help: "Age of the oldest event that waits for its delivery by this node.",
		}),
		waiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "trackchat_webhook_waiting",
			Help: "Calls of webhooks that wait until fewer are under way.",
		}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "trackchat_webhook_seconds", Help: "Time of a call of a webhook.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
		}),
	}
}

func (m *hookMetrics) observe(d time.Duration, err error) {
	m.seconds.Observe(d.Seconds())
	result := "delivered"
	switch {
	case errors.Is(err, errAddress):
		result = "address"
	case err != nil:
		result = "failed"
	}
	m.calls.WithLabelValues(result).Inc()
}
