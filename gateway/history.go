package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"
)

// trackerHistory remembers for a minute or two what trackers did that must not begin anew with each
// connection. Only those that did something have an entry, so it is bounded by what admission lets
// in within that time.
type trackerHistory struct {
	mu          sync.Mutex
	minute      int64 // of now
	now, before map[queue.TrackerID]trackerMinute
	known       known
}

// trackerMinute is what one tracker did within one minute.
type trackerMinute struct {
	texts   uint16 // of its driver, in sessions that have ended
	alarmed bool
	// place.short of a session that had acknowledged a text when it was taken over; 0 none.
	winner     uint32
	movedMs    int64 // when another node took the tracker over last, clock.ms; 0 never
	contenders []contender
}

func newTrackerHistory() *trackerHistory {
	return &trackerHistory{
		now: make(map[queue.TrackerID]trackerMinute),
	}
}

// turnLocked forgets what is over.
func (c *trackerHistory) turnLocked(minute int64) {
	if minute == c.minute {
		return
	}
	c.before = nil
	if minute == c.minute+1 {
		c.before = c.now
	}
	c.minute, c.now = minute, make(map[queue.TrackerID]trackerMinute)
}

// change lets f change what is known of a tracker in this minute.
func (c *trackerHistory) change(t queue.TrackerID, minute int64, f func(*trackerMinute)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	h := c.now[t]
	f(&h)
	c.now[t] = h
}

// look shows f what is known of a tracker from the minute before, then from this one.
func (c *trackerHistory) look(t queue.TrackerID, minute int64, f func(trackerMinute)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	f(c.before[t])
	f(c.now[t])
}

// alarm reports, once a minute, that the operator should be told of the tracker.
func (c *trackerHistory) alarm(t queue.TrackerID, minute int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	h := c.now[t]
	first := !h.alarmed
	h.alarmed = true
	c.now[t] = h
	return first
}

// spent notes how many texts a session that ends had sent in the given minute.
func (c *trackerHistory) spent(t queue.TrackerID, minute int64, texts uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(max(minute, c.minute))
	if minute != c.minute {
		return
	}
	h := c.now[t]
	h.texts = max(h.texts, texts)
	c.now[t] = h
}

// texts returns how many the tracker has sent in this minute, in sessions that have ended.
func (c *trackerHistory) texts(t queue.TrackerID, minute int64) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	return c.now[t].texts
}

// How long the session that is there is left alone by another that has had its share of takeovers.
const (
	holds     = 30 * time.Second
	ackedHold = time.Minute // one that has acknowledged a text
)

// takeoverFight is how many times as many takeovers there may be of sessions that show no life: no
// device reconnects that fast, and somebody who does costs the store no more.
const takeoverFight = 100

// mostContenders bounds the places that are told apart in a fight for a tracker.
const mostContenders = 8

// life are signs that a session's device gave.
type life struct{ atomic.Uint32 }

const (
	// a frame, since the login or since a newcomer was refused for that.
	lifeFrame uint32 = 1 << iota
	lifeAcked        // it acknowledged a text
)

func (l *life) has(sign uint32) bool { return l.Load()&sign != 0 }

func (l *life) sign(sign uint32) {
	if !l.has(sign) { // mostly it has
		l.Or(sign)
	}
}

// end forgets a sign and reports whether there was one.
func (l *life) end(sign uint32) bool { return l.And(^sign)&sign != 0 }

// contender is a place that takes over a tracker's sessions.
type contender struct {
	from   uint32 // place.short; otherwise: all that are not told apart
	n      uint16
	silent uint16 // sessions that showed no life when another node took over: mostly half-open ones
}

// mustYield reports whether another login of a tracker has to wait because the session that is
// there goes first. Everybody who knows the tracker's id has Takeovers within two minutes. From
// then on, until he has not come for so long, whoever has acknowledged a text wins: it gets in at
// once, and keeps the others out for a minute at a time; as long as nobody has, they take turns. So
// nobody is out for longer than that.
//
// Those that come from one place cannot be told apart. There a session of which nothing was heard
// since its login, or since it had a newcomer refused, is one that hangs half-open: its own device
// has come back.
func (g *Gateway) mustYield(t *queue.Tracker, from uint32) bool {
	n := g.history.takeovers(t.Key(), from, g.minute())
	if n < g.o.Takeovers {
		return false
	}
	winner, movedMs := g.history.winner(t.Key(), g.minute())
	now := g.ms(g.o.Now())
	old := g.reg.get(t.Key())
	if old == nil { // the other one may be at another node
		return winner != from && now-movedMs < holds.Milliseconds()
	}
	held := time.Duration(now-old.since) * time.Millisecond
	switch {
	case old.from() == from:
		return held < holds && (old.life.end(lifeFrame) || n >= takeoverFight*g.o.Takeovers)
	case old.life.has(lifeAcked):
		return held < ackedHold
	case winner == from:
		return false
	default:
		return held < holds
	}
}

// from is where the session's peer comes from.
func (s *session) from() uint32 { return placeOf(s.conn.RemoteAddr().Addr()).short() }

// overtaken notes that a session has lost its tracker to one that logged in on this node.
func (g *Gateway) overtaken(old, by *session) {
	g.history.takeover(by.tracker, by.from(), g.minute())
	if old.life.has(lifeAcked) {
		g.history.won(by.tracker, old.from(), g.minute())
	}
}

// moved notes that the session has lost its tracker to another node: its device's next login is a
// takeover there.
func (g *Gateway) moved(s *session) {
	acked := s.life.has(lifeAcked)
	g.history.lost(s.tracker, s.from(), acked || s.life.has(lifeFrame), g.ms(g.o.Now()), g.minute())
	if acked {
		g.history.won(s.tracker, s.from(), g.minute())
	}
}

// takeover counts one from a place.
func (c *trackerHistory) takeover(t queue.TrackerID, from uint32, minute int64) {
	c.change(t, minute, func(h *trackerMinute) {
		n := &h.contender(from).n
		*n = max(*n, *n+1) // never wraps
	})
}

// lost counts a session from a place that another node took over at ms.
func (c *trackerHistory) lost(t queue.TrackerID, from uint32, alive bool, ms, minute int64) {
	c.change(t, minute, func(h *trackerMinute) {
		n := &h.contender(from).silent
		if alive {
			n = &h.contender(from).n
		}
		*n = max(*n, *n+1)
		h.movedMs = ms
	})
}

// contender is a place's entry, or that of those that are not told apart, made where there is none.
func (h *trackerMinute) contender(from uint32) *contender {
	i := h.find(from)
	if i < 0 {
		if len(h.contenders) >= mostContenders {
			from = otherwise
		}
		i = len(h.contenders)
		h.contenders = append(h.contenders, contender{from: from})
	}
	return &h.contenders[i]
}

// find is where a place is among the contenders, or those are that are not told apart; -1 nowhere.
func (h *trackerMinute) find(from uint32) int {
	others := -1
	for i := range h.contenders {
		switch h.contenders[i].from {
		case from:
			return i
		case otherwise:
			others = i
		}
	}
	return others
}

// takeovers returns how often a place has taken over the tracker's sessions in this minute and the
// one before.
func (c *trackerHistory) takeovers(t queue.TrackerID, from uint32, minute int64) int {
	n := 0
	c.look(t, minute, func(h trackerMinute) {
		if i := h.find(from); i >= 0 {
			n += int(h.contenders[i].n) + int(h.contenders[i].silent)/takeoverFight
		}
	})
	return n
}

// won notes that a session that was taken over had acknowledged a text.
func (c *trackerHistory) won(t queue.TrackerID, from uint32, minute int64) {
	c.change(t, minute, func(h *trackerMinute) { h.winner = from })
}

// winner returns the place whose session had acknowledged a text, 0 none, and when the tracker went
// to another node last.
func (c *trackerHistory) winner(t queue.TrackerID, minute int64) (from uint32, movedMs int64) {
	c.look(t, minute, func(h trackerMinute) {
		if h.winner != 0 {
			from = h.winner
		}
		movedMs = max(movedMs, h.movedMs)
	})
	return from, movedMs
}
