package auth

import (
	"math"
	"sync"
	"time"

	"trackchat/queue"

	"golang.org/x/time/rate"
)

const (
	maxBuckets = 65_536 // keys that are remembered at a time, about 15 MB
	scanned    = 16     // of them looked at to make room for one
)

// Limiter is a token bucket for each key.
type Limiter struct {
	rate  rate.Limit
	burst int
	most  int // buckets

	mu      sync.Mutex
	buckets map[queue.KeyHash]*rate.Limiter // guarded by mu
}

// NewLimiter returns a limiter whose buckets hold one second's worth; nil, which limits nothing,
// for a rate of 0.
func NewLimiter(perSecond float64) *Limiter {
	if perSecond <= 0 {
		return nil
	}
	return newBuckets(perSecond, max(1, int(math.Ceil(perSecond))), maxBuckets)
}

// newBuckets returns a limiter that remembers at most most buckets.
func newBuckets(perSecond float64, burst, most int) *Limiter {
	return &Limiter{
		rate: rate.Limit(perSecond), burst: burst, most: most,
		buckets: make(map[queue.KeyHash]*rate.Limiter),
	}
}

// Wait takes a token and returns 0, or takes none and returns how long the next one takes to come.
func (l *Limiter) Wait(key queue.KeyHash, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	b := l.bucket(key, now)
	if b.AllowN(now, 1) {
		return 0
	}
	r := b.ReserveN(now, 1)
	d := r.DelayFrom(now)
	if d > 0 {
		r.CancelAt(now)
	}
	return d
}

// delay returns how long the next token takes to come, and takes none.
func (l *Limiter) delay(key queue.KeyHash, now time.Time) time.Duration {
	r := l.bucket(key, now).ReserveN(now, 1)
	defer r.CancelAt(now)
	return r.DelayFrom(now)
}

func (l *Limiter) bucket(key queue.KeyHash, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	if !ok {
		if len(l.buckets) >= l.most {
			l.makeRoom(now)
		}
		b = rate.NewLimiter(l.rate, l.burst)
		l.buckets[key] = b
	}
	return b
}

// makeRoom forgets a few full buckets, which are like new ones; if it finds none, one that is not:
// its owner gets some tokens too many.
func (l *Limiter) makeRoom(now time.Time) {
	var victim queue.KeyHash
	seen, removed := 0, false
	for key, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, key)
			removed = true
		}
		victim = key
		if seen++; seen == scanned {
			break
		}
	}
	if !removed {
		delete(l.buckets, victim)
	}
}
