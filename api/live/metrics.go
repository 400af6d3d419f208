package live

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// feedMetrics are the live feed's figures about itself.
type feedMetrics struct {
	subscribers prometheus.Gauge
	events      prometheus.Counter
	dropped     prometheus.Counter
	resets      prometheus.Counter
	resyncs     prometheus.Counter
	overflowed  prometheus.Counter
	lag         prometheus.Histogram
}

func newFeedMetrics(reg prometheus.Registerer) *feedMetrics {
	f := promauto.With(reg)
	return &feedMetrics{
		subscribers: f.NewGauge(prometheus.GaugeOpts{
			Name: "trackchat_feed_subscribers",
			Help: "Readers of the live feed, webhooks included.",
		}),
		events: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_feed_events_total",
			Help: "Events written to clients of the live feed.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_feed_dropped_total",
			Help: "Clients of the live feed dropped because they were too slow.",
		}),
		resets: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_feed_resets_total",
			Help: "Clients of the live feed that had been away for too long to be told what they missed.",
		}),
		resyncs: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_feed_resyncs_total",
			Help: "Times that changes may have been missed and were read from the store instead.",
		}),
		overflowed: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_store_changes_overflowed_total",
			Help: "Times that the feed was too slow for the changes of messages and was told to look at everything instead.",
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "trackchat_feed_lag_seconds",
			Help:    "Time from a change to its writing to a client of the live feed; what a client had missed before it came is not counted.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
}

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
