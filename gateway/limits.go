package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// door decides which connections come in, before anything is allocated for them.
type door struct {
	limits  Limits
	rate    *rate.Limiter // nil: off
	now     func() time.Time
	m       *metrics
	waiting atomic.Int64 // connections that have not logged in

	draining atomic.Bool // nobody is let in any more

	mu   sync.Mutex
	byIP map[netip.Addr]int32
}

func newDoor(l Limits, now func() time.Time, m *metrics) *door {
	d := &door{limits: l, now: now, m: m, byIP: make(map[netip.Addr]int32)}
	if l.AcceptRate > 0 {
		d.rate = rate.NewLimiter(rate.Limit(l.AcceptRate), max(int(l.AcceptRate), 1))
	}
	return d
}

// Admit implements engine.Admitter: after true, OnClose gives back what is counted here.
func (l *Listener) Admit(remote netip.AddrPort) bool {
	d := l.g.door
	switch {
	case l.g.halt.Load(), d.draining.Load():
		return d.refuse("shutdown")
	case l.maxConns > 0 && l.conns.Load() >= int64(l.maxConns):
		return d.refuse("max_conns")
	case d.limits.Unauthenticated > 0 && d.waiting.Load() >= int64(d.limits.Unauthenticated):
		return d.refuse("unauthenticated")
	case !d.enter(remote.Addr()):
		return d.refuse("per_ip")
	case d.rate != nil && !d.rate.AllowN(d.now(), 1):
		d.leave(remote.Addr())
		return d.refuse("accept_rate")
	}
	d.waiting.Add(1)
	l.conns.Add(1)
	return true
}

func (d *door) refuse(reason string) bool {
	d.m.refused.WithLabelValues(reason).Inc()
	return false
}

func (d *door) counts(ip netip.Addr) bool {
	return d.limits.PerIP > 0 && ip.IsValid() && !ip.IsLoopback()
}

func (d *door) enter(ip netip.Addr) bool {
	if !d.counts(ip) {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byIP[ip] >= int32(d.limits.PerIP) {
		return false
	}
	d.byIP[ip]++
	return true
}

func (d *door) leave(ip netip.Addr) {
	if !d.counts(ip) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byIP[ip]--; d.byIP[ip] <= 0 {
		delete(d.byIP, ip)
	}
}
