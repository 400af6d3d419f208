package gateway

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Bounds of what is remembered of devices in trouble.
const (
	// devices of each kind; of more the ones longest not heard of are forgotten.
	maxTroubled   = 4096
	listTroubled  = 100 // of them are told to an operator
	troubleAge    = 24 * time.Hour
	troubleLogged = time.Hour // between two lines of the log about one device
	maxDeviceID   = 40        // characters of what a stranger calls itself
)

// reasonWrongProtocol is the Reason of a connection that speaks what its port does not.
const reasonWrongProtocol = "wrong_protocol"

// RefusedDevice is a device that the gateway did not let in.
type RefusedDevice struct {
	Protocol string         // of the port it came to
	Device   string         // what it calls itself, else its address
	Reason   string         // label of trackchat_refused_total
	Speaks   string         // with wrong_protocol: what it seems to speak
	Remote   netip.AddrPort // the last time
	FirstMs  int64
	LastMs   int64
	Times    int
}

// SilentDevice is a device that gets texts and acknowledges none.
type SilentDevice struct {
	Tracker  queue.TrackerID
	Protocol string
	Message  int64 // the text that it was sent last
	SinceMs  int64 // when the first part was written that it left unacknowledged
	LastMs   int64 // when one was given up waiting for last
	Times    int   // parts that were written and not acknowledged in time
}

type refusedKey struct{ protocol, device, reason string }

// troubles are the devices that an operator has to look after. Each node knows its own, from its
// start on.
type troubles struct {
	refused *latest[refusedKey, refusedEntry]
	silent  *latest[queue.TrackerID, silentEntry]
	quiet   *logLimiter // of log lines about devices that do not acknowledge
}

type refusedEntry struct {
	RefusedDevice
	logged time.Time
}

type silentEntry struct {
	SilentDevice
	weight int // of Times: one without references has waited for all repetitions at once
	logged time.Time
}

func newTroubles(d *admission) *troubles {
	dropped := func() { d.refuse("troubles") }
	return &troubles{
		refused: newLatest[refusedKey, refusedEntry](maxTroubled, dropped),
		silent:  newLatest[queue.TrackerID, silentEntry](maxTroubled, dropped),
		quiet:   newLogLimiter(time.Second, 20),
	}
}

// RefusedDevices returns the devices that were refused within a day, the last one first.
func (g *Gateway) RefusedDevices() []RefusedDevice {
	since := g.o.Now().Add(-troubleAge).UnixMilli()
	recent := func(e *refusedEntry) bool { return e.LastMs >= since }
	entries := g.troubles.refused.list(listTroubled, recent)
	devices := make([]RefusedDevice, len(entries))
	for i := range entries {
		devices[i] = entries[i].RefusedDevice
	}
	return devices
}

// SilentDevices returns the devices that have left the last texts unacknowledged, as often as one
// is repeated or more. Whoever acknowledges again is none.
func (g *Gateway) SilentDevices() []SilentDevice {
	since := g.o.Now().Add(-troubleAge).UnixMilli()
	entries := g.troubles.silent.list(listTroubled, func(e *silentEntry) bool {
		return e.LastMs >= since && g.silent(e)
	})
	devices := make([]SilentDevice, len(entries))
	for i := range entries {
		devices[i] = entries[i].SilentDevice
	}
	return devices
}

func (g *Gateway) silent(e *silentEntry) bool { return e.weight >= len(g.o.AckTimeout) }

// noteRefused counts a device that was not let in, and logs it once an hour as far as strangers may
// fill the log.
func (l *Listener) noteRefused(remote netip.AddrPort, why, device, speaks string) {
	g, now := l.g, l.g.o.Now()
	device = printable(device, maxDeviceID)
	name := l.protocol.Name
	unsaid, tell, times := zap.Skip(), false, 0
	g.troubles.refused.touch(refusedKey{name, device, why}, func(e *refusedEntry) {
		if e.Times == 0 {
			e.Protocol, e.Device, e.Reason, e.FirstMs = name, device, why, now.UnixMilli()
		}
		e.Times++
		e.Speaks, e.Remote, e.LastMs = speaks, remote, now.UnixMilli()
		times = e.Times
		unsaid, tell = g.refusals.onceAnHour(&e.logged, now)
	})
	if !tell {
		return
	}
	fields := []zap.Field{
		zap.String("protocol", name), zap.String("device", device), zap.String("why", why),
		zap.Stringer("remote", remote), zap.Int("times", times), unsaid,
	}
	if speaks != "" {
		fields = append(fields, zap.String("looks_like", speaks))
	}
	g.log.Info("device refused", fields...)
}

// onceAnHour reports whether a line that was written at last may be written again, and notes that
// it is; else it counts as one of those that were left out.
func (q *logLimiter) onceAnHour(last *time.Time, now time.Time) (unsaid zap.Field, ok bool) {
	if !last.IsZero() && now.Sub(*last) < troubleLogged {
		return zap.Skip(), false
	}
	if unsaid, ok = q.take(now); ok {
		*last = now
	}
	return unsaid, ok
}

// unacknowledged notes that the device was sent a part whose ack did not come in time. weight is
// how many of the waits in AckTimeout that were.
func (o outbox) unacknowledged(weight int, now time.Time) {
	b, g := o.backlog, o.gateway()
	o.tried()
	var told SilentDevice
	unsaid, tell := zap.Skip(), false
	g.troubles.silent.touch(o.tracker, func(e *silentEntry) {
		if e.Times == 0 {
			e.Tracker, e.Protocol, e.SinceMs = o.tracker, o.host.listener().protocol.Name, b.written
		}
		e.Times++
		e.weight += weight
		e.Message, e.LastMs = b.msgs[0].ID, now.UnixMilli()
		if g.silent(e) {
			unsaid, tell = g.troubles.quiet.onceAnHour(&e.logged, now)
		}
		told = e.SilentDevice
	})
	if tell {
		g.log.Warn("device does not acknowledge its texts", o.field(), zap.String("protocol",
			told.Protocol),
			zap.Int64("message", told.Message), zap.Int("times", told.Times),
			zap.Time("since", time.UnixMilli(told.SinceMs)),
			zap.Stringer("remote", o.host.remote()), unsaid)
	}
}

// tried notes with the message that the part at hand was written and got no answer, once for each
// time that it was written.
func (o outbox) tried() {
	b := o.backlog
	if !b.unheard || b.ended {
		return
	}
	b.unheard = false
	m := &b.msgs[0]
	if m.Tries == queue.MaxTries {
		return
	}
	if m.Tries++; m.Tries == 1 {
		m.TriedMs = o.gateway().wall(b.written)
	}
	o.host.storeProgress(queue.ProgressReq{
		Tracker: o.tracker, ID: m.ID, Parts: len(b.parts), Acked: b.part, Tries: m.Tries,
		TriedMs: m.TriedMs,
	})
}

// acknowledges notes that the device has said what became of a text.
func (o outbox) acknowledges() { o.gateway().troubles.silent.remove(o.tracker) }

// latest keeps what is known by a key, at most so much: what was not touched for longest gives way.
type latest[K comparable, V any] struct {
	most    int
	dropped func() // told of each entry that gave way
	n       atomic.Int64

	mu    sync.Mutex // guards what follows
	of    map[K]*list.Element
	order list.List // of latestEntry; newest first
}

type latestEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLatest[K comparable, V any](most int, dropped func()) *latest[K, V] {
	return &latest[K, V]{most: most, dropped: dropped, of: make(map[K]*list.Element)}
}

// touch has f change the value of a key, which begins as the zero one.
func (l *latest[K, V]) touch(key K, f func(*V)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.of[key]
	if e == nil {
		if len(l.of) >= l.most {
			l.removeLocked(l.order.Back())
			l.dropped()
		}
		e = l.order.PushFront(&latestEntry[K, V]{key: key})
		l.of[key] = e
		l.n.Add(1)
	}
	l.order.MoveToFront(e)
	f(&e.Value.(*latestEntry[K, V]).value)
}

// remove forgets a key; where there are none it costs next to nothing.
func (l *latest[K, V]) remove(key K) {
	if l.n.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.of[key]; e != nil {
		l.removeLocked(e)
	}
}

func (l *latest[K, V]) removeLocked(e *list.Element) {
	delete(l.of, l.order.Remove(e).(*latestEntry[K, V]).key)
	l.n.Add(-1)
}

// list returns up to limit values that ok lets pass, newest first.
func (l *latest[K, V]) list(limit int, ok func(*V) bool) []V {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []V
	for e := l.order.Front(); e != nil && len(found) < limit; e = e.Next() {
		if v := &e.Value.(*latestEntry[K, V]).value; ok(v) {
			found = append(found, *v)
		}
	}
	return found
}

// logLimiter keeps strangers from filling the log: what comes faster than its rate is counted and
// told with the next line.
type logLimiter struct {
	limiter *rate.Limiter
	unsaid  atomic.Int64
}

// newLogLimiter allows a line each period, and burst at once after a pause.
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
