package gateway

import (
	"errors"
	"io"
	"time"

	"trackchat/gateway/engine"
	"trackchat/protocol"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	sessions, connections, frames, decodeErrors *labelled
	sent, acked, refusedTexts, timedOut         *labelled
	received, repeated, positions               *labelled
	replaced, panics, unsupported, flawed       *labelled

	refused  *prometheus.CounterVec // reason
	closed   *prometheus.CounterVec // reason
	logins   *prometheus.CounterVec // result
	lateAcks *prometheus.CounterVec // result
	ended    *prometheus.CounterVec // status
	evidence *prometheus.CounterVec // level

	delivery        prometheus.Histogram
	ack             prometheus.Histogram
	repush          prometheus.Histogram
	wakeMissed      prometheus.Counter
	resyncs         prometheus.Counter
	wakesOverflowed prometheus.Counter
	takeovers       prometheus.Counter
	paused          prometheus.Counter
	storeRetry      *prometheus.CounterVec // op

	relaySessions                                prometheus.Gauge
	relayUp, relayDown                           prometheus.Counter // bytes
	relayDialErrors, relayMapped, relayConflicts prometheus.Counter
	relayTurn                                    prometheus.Histogram
}

// labelled is a vector over the protocols, whose children are looked up once per listener.
type labelled struct {
	counter *prometheus.CounterVec
	gauge   *prometheus.GaugeVec
}

// protocolMetrics are the children for one protocol.
type protocolMetrics struct {
	sessions                          prometheus.Gauge
	connections, frames, decodeErrors prometheus.Counter
	sent, acked, refused, timedOut    prometheus.Counter
	received, repeated, positions     prometheus.Counter
	replaced, panics, unsupported     prometheus.Counter
	flawed                            prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) *labelled {
		return &labelled{counter: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_" + name,
			Help: help,
		}, []string{"protocol"})}
	}
	// A value that is known beforehand starts at zero, so that the first time it happens shows as a
	// rise.
	vec := func(name, label, help string, values ...string) *prometheus.CounterVec {
		v := f.NewCounterVec(prometheus.CounterOpts{Name: "trackchat_" + name, Help: help},
			[]string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	one := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "trackchat_" + name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{
			Name: "trackchat_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001,
				2.5, 16),
		})
	}
	m := &metrics{
		sessions: &labelled{gauge: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trackchat_sessions", Help: "Trackers that are logged in.",
		}, []string{"protocol"})},
		connections: counter("connections_total", "Connections accepted from devices."),
		frames:      counter("frames_total", "Frames read from devices."),
		decodeErrors: counter("decode_errors_total",
			"Frames that were refused as damaged or unreadable."),
		flawed: counter("frames_flawed_total",
			"Frames that were served although something in them is wrong, such as their length."),
		sent: counter("texts_sent_total",
			"Parts of texts written to devices, repetitions included."),
		acked:        counter("texts_acked_total", "Parts of texts acknowledged by devices."),
		refusedTexts: counter("texts_refused_total", "Parts of texts that devices refused."),
		timedOut: counter("texts_timed_out_total",
			"Parts of texts that a device did not acknowledge in time."),
		received: counter("texts_received_total", "Texts from drivers that were stored."),
		repeated: counter("texts_repeated_total",
			"Texts from drivers that had been stored before."),
		positions: counter("positions_total", "Positions acknowledged."),
		replaced: counter("replaced_characters_total",
			"Characters of texts that the device's charset cannot carry, replaced by the nearest one or '?'; a text counts each time its delivery begins."),
		panics: counter("panics_total",
			"Panics in the code of a protocol, each of which has cost one session. Never normal: the log has the stack."),
		unsupported: counter("unsupported_total",
			"Sessions whose device said that it has no text service; its texts fail until its next login."),
		refused: vec("refused_total", "reason", "What a limit turned away.", refusals()...),
		closed:  vec("closed_total", "reason", "Device connections that ended.", reasons()...),
		logins: vec("logins_total", "result", "Logins of devices, and why they were refused.",
			loginResults()...),
		lateAcks: vec("late_acks_total", "result",
			"Acks for nothing in flight, by what the store knew of them.", "failed", "ignored",
			"limited", "matched", "none", "several", "stale"),
		ended: vec("texts_ended_total", "status", "Messages that ended without an ack.",
			"failed", "expired", "sent", "other"),
		evidence: vec("texts_evidence_total", "level",
			"Parts of texts of which something less than the device's word is known: its link has them, its command service accepted them."),
		delivery: seconds("delivery_seconds", "From submitted to acknowledged by the device."),
		ack:      seconds("ack_seconds", "From written to the device to its ack."),
		repush:   seconds("repush_seconds", "From a login to the first waiting text written."),
		wakeMissed: one("wake_missed_total",
			"Messages found by looking that no wake had announced."),
		resyncs: one("resyncs_total", "Times the store said that wakes may have been lost."),
		wakesOverflowed: one("store_wakes_overflowed_total",
			"Times that a loop was too slow for the store's wakes and was told to look at everything instead."),
		takeovers: one("takeovers_total",
			"Sessions closed because their tracker logged in again."),
		paused: one("reads_paused_total",
			"Times the reads of a connection were paused by a limit."),
		storeRetry: vec("store_retries_total", "op",
			"Store calls of the gateway that were repeated."),
		relayDialErrors: one("relay_dial_errors_total",
			"Connections to tracking servers that could not be opened."),
		relayMapped: one("relay_mapped_total",
			"Frames in which a number was replaced because both sides had given it away."),
		relayConflicts: one("relay_conflicts_total",
			"Sessions whose tracking server was seen to use the driver's terminal itself; their texts fail."),
		relayTurn: seconds("relay_turn_wait_seconds",
			"How long a text waited because one of the tracking server was outstanding."),
	}
	bytes := vec("relay_bytes_total", "direction",
		"Bytes passed between devices and tracking servers.", "up", "down")
	m.relayUp, m.relayDown = bytes.WithLabelValues("up"), bytes.WithLabelValues("down")
	m.relaySessions = f.NewGauge(prometheus.GaugeOpts{
		Name: "trackchat_relay_sessions", Help: "Connections to tracking servers.",
	})
	return m
}

// observeDown registers how long a tracking server cannot be reached already.
func (m *metrics) observeDown(reg prometheus.Registerer, longest func() time.Duration) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackchat_relay_upstream_down_seconds",
		Help: "For how long a tracking server that is dialled cannot be reached, of several the longest; 0: all can.",
	}, func() float64 { return longest().Seconds() })
}

func (m *metrics) of(p string) protocolMetrics {
	c := func(l *labelled) prometheus.Counter { return l.counter.WithLabelValues(p) }
	return protocolMetrics{
		sessions: m.sessions.gauge.WithLabelValues(p), connections: c(m.connections),
		frames: c(m.frames), decodeErrors: c(m.decodeErrors),
		sent: c(m.sent), acked: c(m.acked), refused: c(m.refusedTexts), timedOut: c(m.timedOut),
		received: c(m.received), repeated: c(m.repeated), positions: c(m.positions),
		replaced: c(m.replaced),
		panics:   c(m.panics), unsupported: c(m.unsupported), flawed: c(m.flawed),
	}
}

// refusals are the labels of refused that every gateway knows.
func refusals() []string {
	return []string{
		"max_conns", "unauthenticated", "per_ip", "accept_rate", "frames_per_second",
		"texts_per_minute",
		"garbage", "no_login", "unsent", "login_timeout", "unknown_device", "bad_credentials",
		"registration", "blocked", "other_device", "takeovers", reasonWrongProtocol, "troubles",
		"login_attempts", "memory", "shutdown",
		"descriptors", "budget", "proxy_header", "proxy_timeout", "proxy_pending", "dial_rate",
	}
}

// loginResults are the labels of logins; later: takeovers were too many.
func loginResults() []string {
	return []string{
		"ok", "unknown_device", "blocked", "other_device", "bad_credentials", "registration",
		"login_attempts", "later",
	}
}

// reasons are the labels of closed.
func reasons() []string {
	var list []string
	for r := reasonLocal; r <= reasonStore; r++ {
		list = append(list, r.String())
	}
	return list
}

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

// reason says why a connection ended: a label of trackchat_closed_total.
type reason uint8

const (
	reasonNone reason = iota
	reasonLocal
	reasonPeer
	reasonBroken
	reasonShutdown
	reasonFraming
	reasonFrameTooLong
	reasonTooMuch
	reasonGarbage
	reasonSlow
	reasonIdle
	reasonLoginTimeout
	reasonRefused
	reasonTakeover
	reasonMoved
	reasonFenced
	reasonDirectory
	reasonUnconfirmed
	reasonPanic
	reasonUnanswered
	reasonHandshake
	reasonHandshakeLate
	reasonCrowded
	reasonUpstream
	reasonStore
)

// String is the label.
func (r reason) String() string {
	return [...]string{
		"none", "local", "peer", "broken", "shutdown", "framing", "frame_too_long", "too_much",
		"garbage", "slow", "idle", "login_timeout", "refused",
		"takeover", "moved", "fenced", "directory", "unconfirmed", "panic", "unanswered",
		"tls_handshake", "tls_timeout", "crowded", "upstream", "store",
	}[r]
}

// closeReason is the reason for a connection that this side did not close, or closed for the error.
func closeReason(err error) reason {
	switch {
	case err == nil:
		return reasonLocal
	case errors.Is(err, engine.ErrHandshakeLate):
		return reasonHandshakeLate
	case errors.Is(err, engine.ErrHandshake): // before the end of the stream, which it may wrap
		return reasonHandshake
	case errors.Is(err, io.EOF):
		return reasonPeer
	case errors.Is(err, protocol.ErrTooLong):
		return reasonFrameTooLong
	case errors.Is(err, protocol.ErrFraming):
		return reasonFraming
	case errors.Is(err, engine.ErrTooMuch), errors.Is(err, engine.ErrBudget):
		return reasonTooMuch
	case errors.Is(err, engine.ErrShutdown):
		return reasonShutdown
	default:
		return reasonBroken
	}
}
