package gateway

import (
	"container/heap"
	"errors"
	"hash/fnv"
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
	limits          Limits
	rate            *rate.Limiter // nil: off
	now             func() time.Time
	m               *metrics
	unauthenticated *unauthenticated

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
		limits: l, now: now, m: m, unauthenticated: newUnauthenticated(l.Unauthenticated),
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
	case d.unauthenticated.swamped():
		full = "unauthenticated"
	case !l.mayDial():
		full = "dial_rate"
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

// more counts another connection on behalf of a peer that is there.
func (d *admission) more(ip netip.Addr) {
	if !d.counts(ip) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byIP[placeOf(ip)]++
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

// leavesMost bounds the connections that are being closed for newcomers, where
// Limits.Unauthenticated is lower.
const leavesMost = 1024

// unauthenticated are the connections that have not logged in. Where there is no room for another
// one, the oldest of the place that has most of them gives way, so that nobody who connects in
// numbers, or says nothing, keeps others out.
type unauthenticated struct {
	most int // 0: no bound

	mu     sync.Mutex
	at     map[place]*origin
	order  origins
	n      int
	leaves int // are being closed for newcomers
}

// origin are those of one place, the oldest first.
type origin struct {
	at          place
	first, last *stranger
	n           int
	index       int // in unauthenticated.order
}

// stranger is a session's place among them.
type stranger struct {
	s          *session
	of         *origin // nil: it had to give way
	prev, next *stranger
}

func newUnauthenticated(most int) *unauthenticated {
	return &unauthenticated{most: most, at: make(map[place]*origin)}
}

// swamped reports whether as many are being closed as there may be: the loops cannot follow.
func (c *unauthenticated) swamped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most > 0 && c.leaves >= max(c.most, leavesMost)
}

// enter puts a session in, and returns the one that has to give way for it and is to be closed, nil
// if there is room.
func (c *unauthenticated) enter(s *session) (out *session) {
	at := placeOf(s.conn.RemoteAddr().Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.at[at]
	if t == nil {
		t = &origin{at: at}
		c.at[at] = t
		heap.Push(&c.order, t)
	}
	in := &stranger{s: s, of: t, prev: t.last}
	if t.last == nil {
		t.first = in
	} else {
		t.last.next = in
	}
	t.last = in
	t.n++
	c.n++
	heap.Fix(&c.order, t.index)
	s.ensureActivity(s.l.g).stranger = in
	if c.most <= 0 || c.n <= c.most {
		return nil
	}
	oldest := c.order[0].first
	c.leaves++
	c.takeOut(oldest)
	return oldest.s
}

// leave takes a session out that has logged in or ended.
func (c *unauthenticated) leave(s *session) {
	in := s.stranger
	if in == nil {
		return
	}
	s.ensureActivity(s.l.g).stranger = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.of == nil {
		c.leaves--
		return
	}
	c.takeOut(in)
}

func (c *unauthenticated) takeOut(in *stranger) {
	t := in.of
	if in.prev == nil {
		t.first = in.next
	} else {
		in.prev.next = in.next
	}
	if in.next == nil {
		t.last = in.prev
	} else {
		in.next.prev = in.prev
	}
	in.of, in.prev, in.next = nil, nil, nil
	c.n--
	if t.n--; t.n == 0 {
		heap.Remove(&c.order, t.index)
		delete(c.at, t.at)
		return
	}
	heap.Fix(&c.order, t.index)
}

// origins are a heap, the fullest first.
type origins []*origin

func (h origins) Len() int           { return len(h) }
func (h origins) Less(i, j int) bool { return h[i].n > h[j].n }

func (h origins) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *origins) Push(x any) {
	t, _ := x.(*origin) // it is one
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *origins) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return t
}

// arrives has a new connection wait for its login among the others.
func (d *admission) arrives(s *session) {
	out := d.unauthenticated.enter(s)
	if out == nil {
		return
	}
	out.l.turnAway("unauthenticated", out.conn.RemoteAddr())
	out.post(func() {
		if out.tracker == 0 { // else it has just logged in, and stays
			out.close(reasonCrowded)
		}
	})
}

// place is where a peer comes from, see engine.Network.
type place netip.Addr

func placeOf(a netip.Addr) place {
	return place(engine.Network(a))
}

// short is a hash, for what remembers many places and may take one for another once in a while; it
// is never one of otherwise and nowhereWrong.
func (p place) short() uint32 {
	h := fnv.New32a()
	b := netip.Addr(p).As16()
	_, _ = h.Write(b[:]) // never fails
	return max(h.Sum32(), nowhereWrong+1)
}
