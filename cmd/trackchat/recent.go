package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"trackchat/api"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Bounds of what is remembered of the log.
const (
	troubleEntries = 100
	troubleFields  = 16
	troubleText    = 300 // bytes of a message or a field
)

// recentLog remembers the last warnings and errors of the log, for the operations view, and counts
// them.
type recentLog struct {
	entries *prometheus.CounterVec // level
	folds   *folds

	mu   sync.Mutex
	ring []api.Trouble // guarded by mu; oldest first
}

func newRecentLog(reg prometheus.Registerer) *recentLog {
	t := &recentLog{
		folds: &folds{of: make(map[foldKey]*fold)},
		entries: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_log_entries_total",
			Help: "Warnings and errors for the log, with those that it has only as a number of repetitions.",
		}, []string{"level"}),
	}
	for _, l := range [...]zapcore.Level{zapcore.WarnLevel, zapcore.ErrorLevel} {
		t.entries.WithLabelValues(l.String())
	}
	return t
}

// watch returns a logger that writes as log does, with repeated warnings and errors folded. They
// are counted and remembered too.
func (t *recentLog) watch(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return newFoldCore(zapcore.NewTee(c, &troubleCore{recent: t}), t.folds)
	}), zap.Hooks(func(e zapcore.Entry) error {
		if e.Level >= zapcore.WarnLevel {
			t.entries.WithLabelValues(e.Level.String()).Inc()
		}
		return nil
	}))
}

// recent returns what is remembered, newest first.
func (t *recentLog) recent() []api.Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]api.Trouble, 0, len(t.ring))
	for _, e := range slices.Backward(t.ring) {
		list = append(list, e)
	}
	return list
}

func (t *recentLog) add(e api.Trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ring) == troubleEntries {
		copy(t.ring, t.ring[1:])
		t.ring = t.ring[:troubleEntries-1]
	}
	t.ring = append(t.ring, e)
}

// troubleCore is the side of a logger that remembers; fields are those that the logger has of its
// own.
type troubleCore struct {
	recent *recentLog
	fields []zapcore.Field
}

var _ zapcore.Core = (*troubleCore)(nil)

// Enabled takes warnings and what is worse, whatever level the log is set to.
func (c *troubleCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With keeps the fields of a logger that is made from another one.
func (c *troubleCore) With(fields []zapcore.Field) zapcore.Core {
	return &troubleCore{c.recent, append(slices.Clip(c.fields), fields...)}
}

// Check adds itself to who is to write an entry.
func (c *troubleCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write remembers an entry, cut to what is shown; stacks are left to the log.
func (c *troubleCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	texts := map[string]string{}
	for _, list := range [...][]zapcore.Field{c.fields, fields} {
		for _, f := range list {
			if f.Key == "stack" || len(texts) == troubleFields {
				continue
			}
			f.AddTo(enc)
			if v, ok := enc.Fields[f.Key]; ok {
				texts[f.Key] = shortened(fmt.Sprint(v))
			}
		}
	}
	c.recent.add(api.Trouble{
		Time: e.Time, Level: e.Level.String(), Message: shortened(e.Message),
		Fields: texts,
	})
	return nil
}

// Sync has nothing to wait for.
func (c *troubleCore) Sync() error { return nil }

func shortened(s string) string {
	if len(s) <= troubleText {
		return s
	}
	return strings.ToValidUTF8(s[:troubleText], "") + "…"
}
