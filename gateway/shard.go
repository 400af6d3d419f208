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
