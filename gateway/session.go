package gateway

import (
	"errors"
	"math"
	"net/netip"
	"time"

	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap"
)

// session is one connection of a device. A quiet one is this struct, its codec and its place in
// three tables, so every field here is paid for a million times; what is needed only while
// something is in flight hangs on activity.
type session struct {
	// Static after OnOpen.
	conn engine.Conn
	*placement

	// Owned by the loop.
	delivery
	codec protocol.Codec
	// clock.ms; before the login: when the wait for it ends; then: when the store is asked what is
	// pending.
	nextMs  int64
	scanned int32  // bytes of the unfinished frame that Frame has looked at
	life    life   // signs of it; other loops look
	heard   uint32 // when the last whole frame came, as Gateway.seconds
	device  uint32 // credentialsOf its tracker at the login
	place   int32  // in the shard's list of open sessions
	// places of its neighbours in a slot of the shard's wheel, from 1; 0 none.
	wheelPrev int32
	wheelNext int32
	wheelSlot int16  // from 1; 0 not in the wheel
	frames    uint16 // in the second of heard
	minute    uint16 // of the count of texts
	texts     uint16
	garbage   uint8
	reason    reason // why this side closed
	dead      bool   // OnClose was dealt with
	marks     marks
}

// placement is where a session belongs; the sessions of a listener in a shard share one.
type placement struct {
	l     *Listener
	shard *shard
}

// activity is what a session and its outbox need while something is going on. Sessions at rest
// share the zero one of the gateway, which nobody writes to.
type activity struct {
	// Of the outbox.
	backlog  *backlog
	missedID int64 // newest message that a look found and no wake had announced
	lateMs   int64 // up to when lookups of late acks are used up
	sent     *sentTexts

	replies  *replies
	told     *told
	spaced   *spaced
	pollMs   int64     // when the codec wants to be asked, 0 never
	doubtful *doubts   // driver's texts whose answer the device did not get
	stranger *stranger // until the login
	relay    *relay    // nil: no tracking server is behind
}

// marks are what a session remembers in a bit each.
type marks uint8

const (
	markLingers   marks = 1 << iota // it was refused; it lingers so that the device can try again
	markRefused                     // a frame of it was refused and the log says so
	markLooked                      // it was looked whether it speaks another protocol
	markThrottled                   // reads are paused by the frame limit
	markCrowded                     // reads are paused because too many replies wait
)

func (l *Listener) OnOpen(c engine.Conn) {
	l.c.connections.Inc()
	s := &session{conn: c, placement: &l.placements[c.Loop()]}
	s.activity = &l.g.rest
	c.SetSession(s)
	defer s.recovered()
	s.opened(l.g.o.Now())
	s.flush()
}

func (l *Listener) OnData(c engine.Conn, buf []byte) (used int) {
	s, ok := c.Session().(*session)
	if !ok || s.dead || s.closing {
		return len(buf)
	}
	defer s.recovered()
	if s.relay != nil {
		used = s.relay.fromDevice(buf)
	} else {
		used = s.read(buf)
	}
	s.flush()
	return used
}

func (l *Listener) OnClose(c engine.Conn, err error) {
	l.conns.Add(-1)
	l.g.admission.leave(c.RemoteAddr().Addr())
	if s, ok := c.Session().(*session); ok {
		defer s.recovered()
		s.closed(err)
	}
}

// opened starts the wait for the login.
func (s *session) opened(now time.Time) {
	s.shard.enter(s)
	s.l.g.admission.arrives(s)
	s.codec = s.l.protocol.NewCodec(s.l.settings)
	if s.l.relays() {
		s.relayed()
	}
	if s.l.g.admission.draining.Load() { // it was let in a moment before
		s.close(reasonShutdown)
	}
	s.nextMs = s.l.g.ms(now.Add(s.l.login))
	s.arm(s.nextMs)
}

// poll lets the codec send what it has of its own, and goes on with the texts.
func (s *session) poll(now time.Time) {
	if s.pollMs != 0 {
		s.release(now, false)
	}
	s.pollCodec(now)
	if !s.closing {
		s.outbox().polled(now)
	}
}

func (s *session) pollCodec(now time.Time) {
	if s.relay != nil && s.relay.silent() {
		s.pollMs = 0 // it is asked again after that
		return
	}
	var next time.Time
	s.shard.out, next = s.codec.Poll(s.shard.out, now)
	s.l.g.learnt.learn(s.tracker, s.codec, now)
	switch {
	case !next.IsZero():
		s.ensureActivity(s.l.g).pollMs = s.l.g.ms(next)
		s.arm(s.pollMs)
	case s.pollMs != 0:
		s.pollMs = 0
	}
	if q, ok := s.codec.(protocol.Quitter); ok && q.Gone() {
		s.close(reasonUnanswered)
	}
}

// event deals with one event of the frame being decoded, and answers it unless the store must be
// asked first.
func (s *session) event(e *protocol.Event) {
	if s.told != nil && e.Key != 0 {
		s.told.copies(e.Key)
	}
	if e.Flawed {
		s.l.c.flawed.Inc()
	}
	if s.relay != nil && s.relay.event(e) {
		return
	}
	r := protocol.OK
	switch e.Kind {
	case protocol.KindRegister:
		r = (&attempt{s: s, e: e}).register()
	case protocol.KindLogin:
		r = (&attempt{s: s, e: e}).login()
	case protocol.KindRefused, protocol.KindUnknown:
	default:
		if s.tracker == 0 {
			r = protocol.NoLogin
			s.l.g.admission.refuse("no_login")
			break
		}
		if held := s.handleEvent(e); held {
			return
		}
		r = s.shard.verdict
		s.relay.refused(e, r)
	}
	s.answer(e, r)
}

// handleEvent deals with what a device that has logged in says, and leaves its result in the
// shard's verdict; true if the answer has to wait.
func (s *session) handleEvent(e *protocol.Event) (held bool) {
	s.shard.verdict = protocol.OK
	switch e.Kind {
	case protocol.KindAck:
		s.outbox().ack(e)
	case protocol.KindEvidence:
		s.outbox().evidence(e)
	case protocol.KindText:
		return s.text(e)
	case protocol.KindKnown:
		s.l.g.history.known.end(s.tracker, e.Key, s.l.g.minute())
	case protocol.KindAnswer:
		return s.choice(e)
	case protocol.KindPosition:
		s.l.c.positions.Add(float64(max(e.Count, 1)))
	default:
	}
	return false
}

// wake takes note of what the store announces.
func (s *session) wake(w *queue.Wake) {
	switch w.Kind {
	case queue.WakeKick:
		switch {
		case s.epoch == 0:
			// it may be this session's, whose lease is on its way: the claim will tell
			s.dirty = true
		case w.Epoch >= s.epoch:
			// meant for this lease or a later one: not for an older session of the same tracker
			s.close(reasonMoved)
		}
	case queue.WakeEnd:
		s.outbox().withdraw(w.Msg.ID)
		s.outbox().forget(w.Msg.ID)
	case queue.WakeMessage:
		s.outbox().announced(w)
	default:
	}
}

// resync looks at the store because wakes may have been lost.
func (s *session) resync() {
	if s.ready() && !s.dead && !s.closing {
		s.outbox().reread()
		s.nextMs = 0
		s.arm(s.l.g.ms(s.l.g.o.Now()))
	} else {
		s.dirty = true
	}
}

// peeked is the store's word that something is pending, or that another session owns the tracker.
func (s *session) peeked(p *queue.PeekResult) {
	if p.Fenced {
		s.close(reasonFenced)
		return
	}
	if s.outbox().found(p.LastOut) {
		s.nextMs = s.l.g.ms(s.l.g.o.Now().Add(time.Second))
		s.arm(s.nextMs)
	}
}

// flush writes what the session has appended and closes it if that was asked for.
func (s *session) flush() {
	sh := s.shard
	s.pace()
	if len(sh.out) > 0 {
		if !s.dead {
			if err := s.conn.Write(sh.out); errors.Is(err, engine.ErrSlow) {
				s.l.g.admission.refuse("unsent")
				s.close(reasonSlow)
				s.reason = reasonSlow // whatever it was about to be closed for
			}
		}
		if cap(sh.out) > maxScratch {
			sh.out = nil
		}
		sh.out = sh.out[:0]
	}
	if s.relay != nil && !s.closing && !s.dead {
		s.relay.deviceDrained()
	}
	if s.closing && !s.dead {
		_ = s.conn.Close() // always nil
	}
}

// close ends the session once what it has appended is written; OnClose follows.
func (s *session) close(why reason) {
	if !s.closing {
		s.outbox().stray()
		s.outbox().unrefused(math.MaxInt64) // before the next session asks what is pending
		s.closing, s.reason = true, why
	}
}

// closed is the end: everything the session holds is given back.
func (s *session) closed(err error) {
	g := s.l.g
	s.dead = true
	why := s.reason
	if why == reasonNone {
		why = closeReason(err)
	}
	s.lastWords(why)
	s.shard.out = s.shard.out[:0]
	if s.relay != nil {
		s.relay.deviceClosed(err)
	}
	s.shard.leave(s)
	g.m.closed.WithLabelValues(why.String()).Inc()
	if errors.Is(err, engine.ErrHandshake) || errors.Is(err, engine.ErrHandshakeLate) {
		s.l.turnAway(why.String(), s.conn.RemoteAddr())
	}
	g.admission.unauthenticated.leave(s)
	if s.tracker != 0 {
		s.remember(why)
		s.l.c.sessions.Dec()
		g.reg.remove(s.tracker, s)
		if s.epoch != 0 {
			g.store.release.add(s, 0, s.lease())
		}
	}
	if ce := g.log.Check(zap.DebugLevel, "session closed"); ce != nil {
		ce.Write(s.field(), zap.String("protocol", s.l.protocol.Name), zap.Stringer("reason", why),
			zap.NamedError("cause", err))
	}
	s.codec, s.activity = nil, &g.rest
}

// remember leaves to the tracker's next session here what must not begin anew with it.
func (s *session) remember(why reason) {
	g := s.l.g
	if why == reasonMoved || why == reasonFenced {
		g.moved(s)
	}
	if minute := g.minute(); s.texts > 0 && s.minute == uint16(minute) {
		g.history.spent(s.tracker, minute, s.texts)
	}
}

// arm makes the wheel fire no later than ms, math.MaxInt64 is never.
func (s *session) arm(ms int64) {
	if ms != math.MaxInt64 {
		s.shard.wheel.arm(s, ms)
	}
}

// due runs every deadline that has passed and arms the next one. It may be called early.
func (s *session) due(now time.Time) {
	ms := s.l.g.ms(now)
	if s.marks&markThrottled != 0 {
		s.marks &^= markThrottled
		s.resume()
	}
	if ms >= s.deadline() {
		// before the codec is asked, which may be about to repeat the same
		s.outbox().onDeadline(now, int64(s.heard)*1000)
	}
	if s.pollMs != 0 && ms >= s.pollMs {
		s.poll(now)
	}
	s.releaseActivity(s.l.g, ms)
	ends := int64(math.MaxInt64)
	if s.relay != nil {
		ends = s.relay.due(now)
	}
	if s.tracker == 0 {
		s.lingering(ms, ends)
		return
	}
	// bytes that never become a frame are no life.
	idle := max(int64(s.heard)*1000, s.since) + s.l.idle.Milliseconds()
	if s.relay != nil { // the tracking server knows how long it waits
		idle = ends
	} else if ms >= idle {
		s.close(reasonIdle)
		return
	}
	if s.ready() && ms >= s.nextMs {
		was := s.nextMs
		s.nextMs = s.l.g.nextLook(s.tracker, ms)
		s.shard.peeks = append(s.shard.peeks, s)
		s.touch(was)
	}
	next := min(idle, s.outbox().unrefused(ms))
	if s.ready() {
		next = min(next, s.nextMs)
	}
	if s.pollMs != 0 {
		next = min(next, s.pollMs)
	}
	s.arm(min(next, s.deadline()))
}

func (s *session) lingering(ms, relayMs int64) {
	switch {
	case s.closing:
		return
	case s.relay != nil:
		s.nextMs = relayMs
		if s.pollMs != 0 {
			relayMs = min(relayMs, s.pollMs)
		}
		s.arm(relayMs)
		return
	}
	if ms < s.nextMs {
		s.arm(s.nextMs) // poll has armed what the codec wants
		return
	}
	if s.marks&markLingers != 0 {
		s.close(reasonRefused)
		return
	}
	s.l.g.admission.refuse("login_timeout")
	s.close(reasonLoginTimeout)
}

// resume lets the connection read again unless there is another reason to wait.
func (s *session) resume() {
	if s.marks&(markThrottled|markCrowded) == 0 && !s.dead &&
		(s.spaced == nil || !s.spaced.full) && (s.relay == nil || !s.relay.is(relayDeviceFull)) {
		s.conn.Resume()
	}
}

// trackerField names the tracker of a conversation in the log.
func trackerField(key queue.TrackerID) zap.Field {
	id, _ := queue.TrackerOf(key)
	return zap.Int64("tracker", int64(id))
}

// outbox delivers over the session, which is its host: see there.
func (s *session) outbox() outbox { return outbox{s, &s.delivery} }

func (s *session) listener() *Listener { return s.l }

func (s *session) remote() netip.AddrPort { return s.conn.RemoteAddr() }

func (s *session) caps() protocol.TextCaps {
	caps := s.codec.Caps()
	caps.NotYet = caps.NotYet || s.relay != nil && s.relay.lost()
	return caps
}

func (s *session) appendText(t protocol.Text, now time.Time) error {
	out, err := s.codec.AppendText(s.shard.out, t)
	if err != nil {
		return err
	}
	s.shard.out = out
	s.pollCodec(now)
	return nil
}

func (s *session) appendWithdraw(ref uint64, now time.Time) {
	if w, ok := s.codec.(protocol.Withdrawer); ok && (s.relay == nil || !s.relay.silent()) {
		s.shard.out = w.AppendWithdraw(s.shard.out, ref)
		s.pollCodec(now)
	}
}

func (s *session) signAcked() { s.life.sign(lifeAcked) }

func (s *session) storeClaim(n int64, q queue.ClaimReq) {
	q.Lease = s.lease()
	s.l.g.store.claim.add(s, n, q)
}

func (s *session) storeAck(submitMs int64, q queue.AckReq) { s.l.g.store.ack.add(s, submitMs, q) }

func (s *session) storeProgress(q queue.ProgressReq) { s.l.g.store.progress.add(s, 0, q) }

func (s *session) storeEnd(q queue.EndReq) { s.l.g.store.end.add(s, 0, q) }

func (s *session) lookUpAck(ref uint64, opened bool) {
	s.l.g.store.late.add(s, -1, lateAck{
		from: s.l, tracker: s.tracker, lease: s.lease(), ref: ref,
		caps: s.codec.Caps(), opened: opened,
	})
}

// lease is the session's title to its tracker, with when the device was last heard of, to the
// second.
func (s *session) lease() queue.Lease {
	seenMs := max(s.conn.LastRead()*1000, s.l.g.wall(s.since))
	return queue.Lease{Tracker: s.tracker, Node: s.l.g.o.Node, Epoch: s.epoch, SeenMs: seenMs}
}

// touch has the store note when the device was last heard of, every touchEvery by a phase of its
// own: that is when a multiple of it lies between the look that was due at was and the next one, so
// nothing has to be remembered for it.
func (s *session) touch(was int64) {
	every := touchEvery.Milliseconds()
	if (was+s.since)/every != (s.nextMs+s.since)/every {
		s.l.g.store.touch.add(s, 0, s.lease())
	}
}
