//go:build !linux

package engine

import (
	"syscall"
	"time"
)

// loop is of the reactor, which there is none of here.
type loop struct{}

// New returns the best engine for this system: the std engine.
func New(o Options) Engine { return NewStd(o) }

func bindLate(_, _ string, _ syscall.RawConn) error { return nil }

func setUserTimeout(int, time.Duration) {}
