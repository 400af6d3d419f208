package gateway

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/gateway/engine"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// admission decides which connections come in, before anything is allocated for them.
type admission struct {
	limits Limits
	rate   *rate.Limiter // nil: off
	now    func() time.Time
	m      *metrics
	crowd  *crowd

	draining atomic.Bool // nobody is let in any more

	mu     sync.Mutex
	byIP   map[place]int32
	alarms map[string]time.Time // when a reason was warned of last
	second int64                // of came
	came   map[place]int        // connections
}

const alarmEvery = time.Minute

func newAdmission(l Limits, now func() time.Time, m *metrics) *admission {
	d := &admission{
		limits: l, now: now, m: m, crowd: newCrowd(l.Unauthenticated),
		byIP: make(map[place]int32), alarms: make(map[string]time.Time), came: make(map[place]int),
	}
	if l.AcceptRate > 0 {
		d.rate = rate.NewLimiter(rate.Limit(l.AcceptRate), max(int(l.AcceptRate), 1))
	}
	return d
}

// Admit: after true, OnClose gives back what is counted here.
func (l *Listener) Admit(remote netip.AddrPort) bool {
	d := l.g.admission
	switch {
	case l.g.halt.Load(), d.draining.Load():
		return d.refuse("shutdown")
	case l.g.full():
		return l.turnAway("memory", remote)
	case !d.enter(remote.Addr()):
		return l.turnAway("per_ip", remote)
	}
	full := ""
	switch {
	case !d.inTime(placeOf(remote.Addr())):
		full = "accept_rate"
	case l.maxConns > 0 && l.conns.Load() >= int64(l.maxConns):
		full = "max_conns"
	case d.crowd.swamped():
		full = "unauthenticated"
	}
	if full != "" {
		d.leave(remote.Addr())
		return l.turnAway(full, remote)
	}
	l.conns.Add(1)
	return true
}

// turnAway refuses a connection and warns of it now and then: a limit that is reached is news for
// an operator, each connection that meets it is not.
func (l *Listener) turnAway(reason string, remote netip.AddrPort) bool {
	d := l.g.admission
	if d.alarm(reason) {
		l.g.log.Warn("connections are refused; trackchat_refused_total counts them",
			zap.String("reason", reason), zap.String("protocol", l.protocol.Name),
			zap.Stringer("remote", remote))
	}
	return d.refuse(reason)
}

func (l *Listener) Refused(remote netip.AddrPort, cause error) {
	l.turnAway(engineRefusal(cause), remote)
}

// engineRefusal is the label for what the engine turned away by itself.
func engineRefusal(cause error) string {
	switch {
	case errors.Is(cause, engine.ErrDescriptors):
		return "descriptors"
	case errors.Is(cause, engine.ErrProxyLate):
		return "proxy_timeout"
	case errors.Is(cause, engine.ErrProxyFull):
		return "proxy_pending"
	case errors.Is(cause, engine.ErrBudget):
		return "budget"
	default:
		return "proxy_header"
	}
}

// alarm says whether a reason is to be warned of, which it is once a minute.
func (d *admission) alarm(reason string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if last, ok := d.alarms[reason]; ok && now.Sub(last) < alarmEvery {
		return false
	}
	d.alarms[reason] = now
	return true
}

func (d *admission) refuse(reason string) bool {
	d.m.refused.WithLabelValues(reason).Inc()
	return false
}

// oneOfFive: a place may take four times what is left of this second's connections for the others,
// so that it never takes the last fifth.
const oneOfFive = 4

// inTime reports whether another connection may come now.
func (d *admission) inTime(from place) bool {
	if d.rate == nil {
		return true
	}
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if second := now.Unix(); second != d.second {
		d.second = second
		clear(d.came)
	}
	if float64(d.came[from]) > oneOfFive*d.rate.TokensAt(now) || !d.rate.AllowN(now, 1) {
		return false
	}
	d.came[from]++
	return true
}

func (d *admission) counts(ip netip.Addr) bool {
	return d.limits.PerIP > 0 && ip.IsValid() && !ip.IsLoopback()
}

func (d *admission) enter(ip netip.Addr) bool {
	if !d.counts(ip) {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := placeOf(ip)
	if d.byIP[at] >= int32(d.limits.PerIP) {
		return false
	}
	d.byIP[at]++
	return true
}

func (d *admission) leave(ip netip.Addr) {
	if !d.counts(ip) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := placeOf(ip)
	if d.byIP[at]--; d.byIP[at] <= 0 {
		delete(d.byIP, at)
	}
}
