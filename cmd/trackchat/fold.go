package main

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

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
