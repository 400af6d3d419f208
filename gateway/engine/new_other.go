//go:build !linux

package engine

import (
	"syscall"
	"time"
)

// New returns the best engine for this system: the std engine.
func New(o Options) Engine { return NewStd(o) }

func bindLate(_, _ string, _ syscall.RawConn) error { return nil }

func setUserTimeout(int, time.Duration) {}
