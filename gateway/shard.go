package gateway

import (
	"sync/atomic"

	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/queue"
)

// shard owns the sessions of one event loop, which alone reads and changes them: in the calls of
// the engine, and in the orders that others give it.
type shard struct {
	g       *Gateway
	loop    engine.Loop
	wheel   wheel
	live    []*session            // every open session
	out     []byte                // what the session at work is about to write
	emit    func(*protocol.Event) // one closure for all frames
	peeks   []*session            // to be looked after in the store at the end of this tick
	wakes   *queue.Buffer[sessionWake]
	order   func()      // tick
	ticking atomic.Bool // the loop has the order to tick

	// Of the frame at work.
	cur     *session
	frame   int64           // its number
	rest    []byte          // what was read, from it on
	taken   int64           // number of the newest frame whose texts are taken
	worst   protocol.Result // among its events so far
	verdict protocol.Result // of the event at work

	// Of relayed sessions.
	ways protocol.Ways
	up   []byte // what the session at work is about to send its tracking server
}

// sessionWake is what the store tells a session; without one, all have to look.
type sessionWake struct {
	s *session
	w *queue.Wake
}

// wakesWaiting bounds the wakes that wait for a loop; beyond it, its sessions are told to look.
const wakesWaiting = 16_384

func newShard(g *Gateway, loop engine.Loop) *shard {
	sh := &shard{g: g, loop: loop}
	take := sh.takeWakes
	sh.wakes = queue.NewBuffer(wakesWaiting, sessionWake{}, func() { loop.Execute(take) })
	sh.wheel.shard = sh
	sh.wheel.start(g.ms(g.o.Now()))
	sh.emit = func(e *protocol.Event) { sh.cur.event(e) }
	sh.order = sh.tick
	return sh
}

// post has the loop deal with something that concerns the session, unless it has ended by then, or
// the loop has.
func (s *session) post(f func()) {
	s.shard.loop.Execute(func() { s.run(f) })
}

// run deals with something on the session's loop, unless it has ended. A panic on the way ends that
// session alone.
func (s *session) run(f func()) {
	defer s.recovered()
	if s.dead || s.broken() {
		return
	}
	f()
	s.flush()
}

// each has the loop do something for every open session.
func (sh *shard) each(f func(*session)) {
	sh.loop.Execute(func() { sh.every(f) })
}

// every does something for every open session.
func (sh *shard) every(f func(*session)) {
	for _, s := range sh.live {
		func() {
			defer s.recovered()
			f(s)
			s.flush()
		}()
	}
}

// told has the loop deal with what the store tells.
func (sh *shard) told(w sessionWake) {
	if !sh.wakes.Add(w) {
		sh.g.m.wakesOverflowed.Inc()
	}
}

// takeWakes deals with what the store has told.
func (sh *shard) takeWakes() {
	for _, e := range sh.wakes.Take() {
		if e.s == nil {
			sh.every((*session).resync)
			continue
		}
		e.s.run(func() { e.s.wake(e.w) })
	}
}

// mark returns what reports whether everything that the loop has to do now is done.
func (sh *shard) mark() func() bool {
	done := new(atomic.Bool)
	if !sh.loop.Execute(func() { done.Store(true) }) {
		done.Store(true)
	}
	return done.Load
}

// enter puts a session on the list of open ones.
func (sh *shard) enter(s *session) {
	s.place = int32(len(sh.live))
	sh.live = append(sh.live, s)
}

// leave takes it off, and out of the wheel.
func (sh *shard) leave(s *session) {
	last := len(sh.live) - 1
	sh.wheel.remove(s)
	moved := sh.live[last]
	sh.live[s.place] = moved
	moved.place = s.place
	sh.wheel.link(moved)
	sh.live[last] = nil
	sh.live = sh.live[:last]
}

// tick runs what is due and asks the store about quiet sessions.
func (sh *shard) tick() {
	sh.ticking.Store(false)
	now := sh.g.o.Now()
	sh.wheel.advance(sh.g.ms(now), func(s *session) {
		defer s.recovered()
		if s.broken() {
			return
		}
		s.due(now)
		s.flush()
	})
	for _, s := range sh.peeks {
		if !s.dead && !s.peeking {
			s.peeking = true
			sh.g.store.peek.add(s, 0, s.lease())
		}
	}
	clear(sh.peeks)
	sh.peeks = sh.peeks[:0]
}

const wheelSlots = 1200 // at tickEvery each: a minute

// wheel is a shard's timers: a session has at most one place in it. What is due later than a turn
// comes round and is put in again. A slot is a list through the sessions themselves, by their
// places among the shard's open ones, so that the wheel of any number of them takes no memory of
// its own. Owned by the shard.
type wheel struct {
	shard *shard
	first [wheelSlots]int32 // place of a slot's first session, from 1; 0 none
	at    int64             // ticks of clock.ms that have been run
}

func ticks(ms int64) int64 { return ms / tickEvery.Milliseconds() }

func (w *wheel) start(ms int64) { w.at = ticks(ms) }

// arm has s fire in the first tick at or after ms, a tick from now at the earliest, unless it fires
// earlier anyhow.
func (w *wheel) arm(s *session, ms int64) {
	tick := min(max(ticks(ms+tickEvery.Milliseconds()-1), w.at+1), w.at+wheelSlots-1)
	if s.wheelSlot != 0 {
		if w.at+(int64(s.wheelSlot-1)-w.at%wheelSlots+wheelSlots)%wheelSlots <= tick {
			return
		}
		w.remove(s)
	}
	slot := tick % wheelSlots
	s.wheelSlot, s.wheelPrev, s.wheelNext = int16(slot)+1, 0, w.first[slot]
	w.link(s)
}

// link makes the neighbours of s know where it is.
func (w *wheel) link(s *session) {
	if s.wheelSlot == 0 {
		return
	}
	place := s.place + 1
	if s.wheelPrev == 0 {
		w.first[s.wheelSlot-1] = place
	} else {
		w.shard.live[s.wheelPrev-1].wheelNext = place
	}
	if s.wheelNext != 0 {
		w.shard.live[s.wheelNext-1].wheelPrev = place
	}
}

// remove takes s out; it does nothing if s is not in.
func (w *wheel) remove(s *session) {
	if s.wheelSlot == 0 {
		return
	}
	if s.wheelPrev == 0 {
		w.first[s.wheelSlot-1] = s.wheelNext
	} else {
		w.shard.live[s.wheelPrev-1].wheelNext = s.wheelNext
	}
	if s.wheelNext != 0 {
		w.shard.live[s.wheelNext-1].wheelPrev = s.wheelPrev
	}
	s.wheelSlot, s.wheelPrev, s.wheelNext = 0, 0, 0
}

// advance takes out what is due up to ms and calls fire for each. After a pause it runs at most one
// turn.
func (w *wheel) advance(ms int64, fire func(*session)) {
	to := ticks(ms)
	if to-w.at > wheelSlots {
		w.at = to - wheelSlots
	}
	for w.at < to {
		w.at++
		for first := &w.first[w.at%wheelSlots]; *first != 0; {
			s := w.shard.live[*first-1]
			w.remove(s)
			fire(s) // never puts it in here again
		}
	}
}
