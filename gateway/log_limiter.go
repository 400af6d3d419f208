package gateway

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// logLimiter keeps strangers from filling the log: what comes faster than its rate is counted and
// told with the next line.
type logLimiter struct {
	limiter *rate.Limiter
	unsaid  atomic.Int64
}

// newQuota allows a line each period, and burst at once after a pause.
func newLogLimiter(each time.Duration, burst int) *logLimiter {
	return &logLimiter{limiter: rate.NewLimiter(rate.Every(each), burst)}
}

// take reports whether a line may be written; the field says how many were not before it.
func (q *logLimiter) take(now time.Time) (unsaid zap.Field, ok bool) {
	if !q.limiter.AllowN(now, 1) {
		q.unsaid.Add(1)
		return zap.Skip(), false
	}
	if n := q.unsaid.Swap(0); n > 0 {
		return zap.Int64("more_like_this", n), true
	}
	return zap.Skip(), true
}
