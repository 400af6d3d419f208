package app

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"trackchat/api/admin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Bounds of what is remembered of the log.
const (
	recentEntries = 100
	recentFields  = 16
	recentText    = 300 // bytes of a message or a field
)

// recentLog remembers the last warnings and errors of the log, for the operations view, and counts
// them.
type recentLog struct {
	entries *prometheus.CounterVec // level
	folds   *folds

	mu   sync.Mutex
	ring []admin.Trouble // guarded by mu; oldest first
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
		return newFoldCore(zapcore.NewTee(c, &recentCore{recent: t}), t.folds)
	}), zap.Hooks(func(e zapcore.Entry) error {
		if e.Level >= zapcore.WarnLevel {
			t.entries.WithLabelValues(e.Level.String()).Inc()
		}
		return nil
	}))
}

// recent returns what is remembered, newest first.
func (t *recentLog) recent() []admin.Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]admin.Trouble, 0, len(t.ring))
	for _, e := range slices.Backward(t.ring) {
		list = append(list, e)
	}
	return list
}

func (t *recentLog) add(e admin.Trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ring) == recentEntries {
		copy(t.ring, t.ring[1:])
		t.ring = t.ring[:recentEntries-1]
	}
	t.ring = append(t.ring, e)
}

// recentCore is the side of a logger that remembers; fields are those that the logger has of its
// own.
type recentCore struct {
	recent *recentLog
	fields []zapcore.Field
}

var _ zapcore.Core = (*recentCore)(nil)

// Enabled takes warnings and what is worse, whatever level the log is set to.
func (c *recentCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With keeps the fields of a logger that is made from another one.
func (c *recentCore) With(fields []zapcore.Field) zapcore.Core {
	return &recentCore{c.recent, append(slices.Clip(c.fields), fields...)}
}

// Check adds itself to who is to write an entry.
func (c *recentCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write remembers an entry, cut to what is shown; stacks are left to the log.
func (c *recentCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	texts := map[string]string{}
	for _, list := range [...][]zapcore.Field{c.fields, fields} {
		for _, f := range list {
			if f.Key == "stack" || len(texts) == recentFields {
				continue
			}
			f.AddTo(enc)
			if v, ok := enc.Fields[f.Key]; ok {
				texts[f.Key] = shortened(fmt.Sprint(v))
			}
		}
	}
	c.recent.add(admin.Trouble{
		Time: e.Time, Level: e.Level.String(), Message: shortened(e.Message),
		Fields: texts,
	})
	return nil
}

// Sync has nothing to wait for.
func (c *recentCore) Sync() error { return nil }

func shortened(s string) string {
	if len(s) <= recentText {
		return s
	}
	return strings.ToValidUTF8(s[:recentText], "") + "…"
}

// Repeated warnings and errors are folded: of one message so many lines are written in a period,
// the others are counted, and the last of them is written at its end with their number.
const (
	foldAfter  = 5
	foldPeriod = time.Minute
	foldKinds  = 1000 // messages that are told apart; of more, each line is written
)

// folds are the messages that were written lately.
type folds struct {
	mu sync.Mutex
	of map[foldKey]*fold // guarded by mu
}

type foldKey struct {
	level   zapcore.Level
	message string
}

// fold is one message within its period; folds.mu guards it.
type fold struct {
	key    foldKey
	lines  int       // written in this period
	more   int       // and folded
	since  time.Time // when the first of those came
	last   zapcore.Entry
	core   zapcore.Core // of last
	fields []zapcore.Field
	end    *time.Timer // of the period
}

// foldCore writes to another core what is not folded.
type foldCore struct {
	zapcore.Core
	folds *folds
}

func newFoldCore(next zapcore.Core, f *folds) zapcore.Core { return &foldCore{next, f} }

// With keeps what is folded together, whatever fields a logger has of its own.
func (c *foldCore) With(fields []zapcore.Field) zapcore.Core {
	return &foldCore{c.Core.With(fields), c.folds}
}

// Check adds itself to who is to write an entry.
func (c *foldCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Level < zapcore.WarnLevel || e.Level > zapcore.ErrorLevel {
		return c.Core.Check(e, ce) // what each user did, and why the process ends
	}
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write writes an entry, or counts it until the period of its message ends.
func (c *foldCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if !c.folds.take(e, c.Core, fields) {
		return nil
	}
	return forward(c.Core, e, fields)
}

// Sync writes what is folded and not told yet.
func (c *foldCore) Sync() error {
	c.folds.flush()
	return c.Core.Sync() //nolint:wrapcheck // it is a part of this
}

// forward writes an entry to those parts of a core that take its level.
func forward(core zapcore.Core, e zapcore.Entry, fields []zapcore.Field) error {
	if ce := core.Check(e, nil); ce != nil {
		ce.Write(fields...)
	}
	return nil
}

// take reports whether an entry is to be written now.
func (f *folds) take(e zapcore.Entry, core zapcore.Core, fields []zapcore.Field) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := foldKey{e.Level, e.Message}
	one := f.of[key]
	if one == nil {
		if len(f.of) >= foldKinds {
			return true
		}
		one = &fold{key: key}
		one.end = time.AfterFunc(foldPeriod, func() { f.over(one) })
		f.of[key] = one
	}
	if one.lines < foldAfter {
		one.lines++
		return true
	}
	if one.more++; one.more == 1 {
		one.since = e.Time
	}
	one.last, one.core, one.fields = e, core, fields
	return false
}

// over ends the period of a message. While it goes on being repeated it has one line a period.
func (f *folds) over(one *fold) {
	f.mu.Lock()
	if f.of[one.key] != one {
		f.mu.Unlock()
		return
	}
	if one.more == 0 {
		delete(f.of, one.key)
	} else {
		one.end.Reset(foldPeriod)
	}
	tell := one.told()
	f.mu.Unlock()
	tell()
}

// told returns what writes the line for all that was folded. The lock is held.
func (o *fold) told() func() {
	if o.more == 0 {
		return func() {}
	}
	core, last := o.core, o.last
	fields := append(slices.Clip(o.fields), zap.Int("repeated", o.more), zap.Time("since", o.since))
	o.more, o.fields, o.core = 0, nil, nil
	return func() { _ = forward(core, last, fields) }
}

// flush tells what is folded and begins anew.
func (f *folds) flush() {
	f.mu.Lock()
	tells := make([]func(), 0, len(f.of))
	for key, one := range f.of {
		one.end.Stop()
		tells = append(tells, one.told())
		delete(f.of, key)
	}
	f.mu.Unlock()
	for _, tell := range tells {
		tell()
	}
}
