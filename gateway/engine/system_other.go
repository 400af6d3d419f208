//go:build !linux

package engine

import (
	"syscall"
	"time"
)

func setUserTimeout(int, time.Duration) {}

func bindLate(_, _ string, _ syscall.RawConn) error { return nil }

func traffic(int) (in, out int64) { return 0, 0 }
