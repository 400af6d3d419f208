package api

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"trackchat/api/auth"
	"trackchat/api/navixy"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the API's figures about itself. Labels are closed sets: an unknown route is
// routeOther.
type metrics struct {
	seconds         *prometheus.HistogramVec
	refused         *prometheus.CounterVec
	panics          prometheus.Counter
	presenceUnknown prometheus.Counter
}

// routeOther labels every path that is no operation.
const routeOther = "other"

// Reasons of refused.
const (
	reasonRateLimit  = "rate_limit"
	reasonLogins     = "login_attempts"
	reasonTooLarge   = "too_large"
	reasonHash       = "hash"
	reasonQueueFull  = "queue_full"
	reasonFeed       = "feed"
	reasonExports    = "exports"
	reasonSearches   = "searches"
	reasonBroadcasts = "broadcasts"
	reasonMemory     = "memory"
	reasonBodies     = "bodies"
	reasonPlaces     = "places"
	reasonWaiting    = "login_queue"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "trackchat_http_seconds",
			Help:    "Time from a request's header to the last byte of its answer; code is the API's error code, 0 for success.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}, []string{"route", "code"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_http_refused_total",
			Help: "Requests, and trackers of a broadcast, refused at a bound.",
		}, []string{"reason"}),
		presenceUnknown: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_http_presence_unknown_total",
			Help: "Requests whose trackers were answered without presence, because the store did not say it.",
		}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_http_panics_total",
			Help: "Requests that ended in a panic of their handler.",
		}),
	}
	// From zero, so that the first refusal shows as a rise.
	for _, reason := range [...]string{
		reasonRateLimit, reasonLogins, reasonTooLarge, reasonHash, reasonQueueFull, reasonFeed,
		reasonExports, reasonSearches, reasonBroadcasts, reasonBodies, reasonPlaces, reasonWaiting,
	} {
		m.refused.WithLabelValues(reason)
	}
	return m
}

// registerRoom tells how much of the room for requests is in use, and how much there is.
func registerRoom(reg prometheus.Registerer, room *auth.FairShare) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_http_request_bytes",
		Help: "Memory of requests that arrive or are answered, but for the first 8 KiB of each.",
	}, func() float64 { return float64(room.Held()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_http_request_limit_bytes",
		Help: "What trackchat_http_request_bytes may be; strangers may have half of it.",
	}, func() float64 { return float64(room.Limit()) })
}

// registerExports tells how many exports run.
func registerExports(reg prometheus.Registerer, e *heavy) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_http_exports",
		Help: "Exports of messages that run.",
	}, func() float64 { return float64(e.count()) })
}

// succeeded returns what counts the successes of a route; it shows from the first one on.
func (m *metrics) succeeded(route string) func() prometheus.Observer {
	return sync.OnceValue(func() prometheus.Observer {
		return m.seconds.WithLabelValues(route,
			strconv.Itoa(int(navixy.CodeOK)))
	})
}

// observe notes an answer other than a success; err is what it came from.
func (m *metrics) observe(route string, c navixy.Code, err error, d time.Duration) {
	m.seconds.WithLabelValues(route, strconv.Itoa(int(c))).Observe(d.Seconds())
	switch c {
	case navixy.CodeTooMany:
		reason := reasonRateLimit
		if r, ok := errors.AsType[*navixy.Refusal](err); ok && r.Reason != "" {
			reason = r.Reason
		}
		m.refuse(reason)
	case navixy.CodeLoginAttempts:
		m.refuse(reasonLogins)
	case navixy.CodeTooLarge:
		m.refuse(reasonTooLarge)
	case navixy.CodeWrongHash, navixy.CodeUnknownHash:
		m.refuse(reasonHash)
	case navixy.CodeTooManyEntries:
		m.refuse(reasonQueueFull)
	default:
	}
}

func (m *metrics) refuse(reason string) { m.refused.WithLabelValues(reason).Inc() }
