package main

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets: microseconds below 32 have one each, every doubling above has 16, so that a quantile is
// off by 6 % at most.
const (
	subBits = 4
	linear  = 2 << subBits
	buckets = linear + (64-subBits-1)<<subBits
)

// histogram counts durations; any number of goroutines may add.
type histogram struct{ counts [buckets]atomic.Uint64 }

func bucketOf(us uint64) int {
	if us < linear {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return shift<<subBits + int(us>>shift)
}

// topOf is the greatest number of microseconds in a bucket.
func topOf(bucket int) uint64 {
	if bucket < linear {
		return uint64(bucket)
	}
	shift := bucket>>subBits - 1
	return uint64(bucket-shift<<subBits+1)<<shift - 1
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(uint64(max(d.Microseconds(), 0)))].Add(1)
}

func (h *histogram) clear() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
}

// quantile returns the duration that the share q (0 to 1) of all does not exceed; ok is false for
// an empty histogram.
func (h *histogram) quantile(q float64) (d time.Duration, ok bool) {
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	rank, seen := uint64(math.Ceil(q*float64(total))), uint64(0)
	for i := range h.counts {
		seen += h.counts[i].Load()
		if seen > 0 && seen >= rank {
			return time.Duration(min(topOf(i), math.MaxInt64/uint64(time.Microsecond))) *
				time.Microsecond, true
		}
	}
	return 0, false
}
