//go:build !linux

package load

import (
	"errors"
	"time"
)

// usage is what a process has used.
type usage struct {
	cpu         time.Duration
	rss, anon   int64
	descriptors int
}

// usageOf is not to be had without /proc.
func usageOf(int) (usage, error) {
	return usage{}, errors.New("figures of a process can be read on Linux only")
}

func nameOf(int) string { return "" }
