package gateway

import (
	"context"
	"errors"
	"math"
	"time"

	"trackchat/gateway/engine"
	"trackchat/protocol"

	"go.uber.org/zap"
)

var (
	_ engine.Handler = (*serverLink)(nil)
	_ engine.Drainer = (*serverLink)(nil)
	_ engine.Rester  = (*serverLink)(nil)
	_ engine.Drainer = (*Listener)(nil)
	_ engine.Rester  = (*Listener)(nil)
)

// serverLink is one connection to a tracking server. A relay has one at a time; what comes of an
// older one is of no interest.
type serverLink struct {
	r      *relay
	cancel context.CancelFunc // of the dial
	conn   engine.Conn        // since OnOpen
}

// current reports whether the session still goes by this connection.
func (k *serverLink) current() bool {
	return k.r.link == k && !k.r.s.dead && !k.r.s.broken()
}

// dial connects to the tracking server. Devices that stay without it wait for their turn, the
// others were let in by it.
func (r *relay) dial() {
	s, g := r.s, r.s.l.g
	if r.to.StayWhenDown && !r.to.dials.AllowN(g.o.Now(), 1) {
		r.stage = stageDown
		r.at(&r.redialMs, time.Duration(g.jitter(time.Second))*time.Millisecond)
		return
	}
	ctx, cancel := g.dialling(r.to.DialTimeout)
	link := &serverLink{r: r, cancel: cancel}
	r.link, r.stage = link, stageDialling
	r.server = g.servers.get(r.to.Address, g.ms(g.o.Now()))
	o := engine.DialOptions{
		Beside: s.conn, Header: r.to.header(s.conn), Timeout: r.to.DialTimeout,
	}
	if r.to.TLS != nil {
		o.TLS = r.to.TLS(r.to.Address)
	}
	g.group.Go(func() {
		defer cancel()
		if _, err := g.o.Engine.Dial(ctx, r.to.Address, o, link); err != nil {
			s.post(func() { link.failed(err) })
		}
	})
}

// failed is told that there is no connection.
func (k *serverLink) failed(err error) {
	if k.r.s.l.g.halt.Load() {
		return // the dial was given up
	}
	k.told(err)
	if k.current() {
		k.r.unlinked()
	}
}

// told notes that the tracking server cannot be reached.
func (k *serverLink) told(err error) {
	g := k.r.s.l.g
	g.m.relayDialErrors.Inc()
	k.r.server.failed(g.ms(g.o.Now()), err)
	if unsaid, ok := g.dialWarnings.take(g.o.Now()); ok {
		g.log.Warn("tracking server cannot be reached", zap.String("upstream", k.r.to.Address),
			zap.String("protocol", k.r.s.l.protocol.Name), zap.Error(err), unsaid)
	}
}

func (k *serverLink) OnOpen(c engine.Conn) {
	r, s := k.r, k.r.s
	k.conn, k.cancel = c, nil // the dial's context is not kept
	g := s.l.g
	g.m.relaySessions.Inc()
	r.server.sessions.Add(1)
	s.l.conns.Add(1)
	g.admission.more(s.conn.RemoteAddr().Addr())
	if !k.current() || s.closing {
		if s.dead && !r.is(relayAnswered) { // what it said before goes out all the same
			r.write(r.held)
		}
		r.hangUp(c)
		return
	}
	defer s.recovered()
	c.Trust(2 * mostServerPart)
	c.LimitUnsent(math.MaxInt) // room bounds it
	s.conn.Trust(r.limit() + trustSlack)
	s.conn.LimitUnsent(r.to.Buffer + 2*mostServerPart)
	r.opened()
	s.flush()
}

// opened begins with a new connection to the server.
func (r *relay) opened() {
	if r.to.TLS == nil {
		r.server.reached()
	}
	if !r.is(relayAnswered) {
		r.stage, r.redials = stageOpen, 0
		r.goOn()
		return
	}
	sh := r.s.shard
	w := &sh.ways
	w.Device, w.Server = w.Device[:0], w.Server[:0]
	if !r.codec.Replay(w) {
		r.end()
		return
	}
	if len(w.Server) == 0 { // what it sends next says who it is
		r.stage, r.redials = stageOpen, 0
		r.goOn()
		return
	}
	r.stage = stageReplaying
	r.at(&r.replayMs, protocol.RelayWait)
	r.write(w.Server)
}

func (k *serverLink) OnData(_ engine.Conn, buf []byte) (used int) {
	s := k.r.s
	if !k.current() || s.closing {
		return len(buf)
	}
	defer s.recovered()
	if k.r.to.TLS != nil {
		k.r.server.reached()
	}
	used = k.r.fromServer(buf)
	s.flush()
	return used
}

// OnRest is what the server began and did not finish. A device that stays gets whole frames only.
func (k *serverLink) OnRest(_ engine.Conn, buf []byte) {
	s := k.r.s
	if !k.current() || s.closing || k.r.stays() {
		return
	}
	defer s.recovered()
	s.shard.out = append(s.shard.out, buf...)
	k.r.countDown(len(buf))
	s.flush()
}

// OnDrained: the server has caught up.
func (k *serverLink) OnDrained(c engine.Conn) {
	s := k.r.s
	k.r.mark(relayUnsent, false)
	switch {
	case k.r.link != k || s.dead:
		_ = c.Close() // always nil; the device has gone before
	case s.closing || s.broken():
	default:
		defer s.recovered()
		k.r.ease()
		s.flush()
	}
}

func (k *serverLink) OnClose(_ engine.Conn, err error) {
	r, s := k.r, k.r.s
	g := s.l.g
	g.m.relaySessions.Dec()
	r.server.sessions.Add(-1)
	s.l.conns.Add(-1)
	g.admission.leave(s.conn.RemoteAddr().Addr())
	if errors.Is(err, engine.ErrHandshake) || errors.Is(err, engine.ErrHandshakeLate) {
		k.told(err)
	}
	if !k.current() || s.closing {
		return
	}
	defer s.recovered()
	if ce := g.log.Check(zap.DebugLevel, "tracking server has ended the connection"); ce != nil {
		ce.Write(s.field(), zap.String("upstream", r.to.Address), zap.NamedError("cause", err))
	}
	s.pollCodec(g.o.Now()) // what the codec has kept back of the server
	r.unlinked()
	if r.stage == stageDown {
		s.poll(g.o.Now()) // texts need not wait for that one any more
	}
	s.flush()
}

// unlinked is the end of a connection to the server, or of the attempt to have one. The device
// stays where it was let in before, and nothing of it is lost that it does not hold itself.
func (r *relay) unlinked() {
	s, stays := r.s, r.stays()
	r.link, r.replayMs, r.down = nil, 0, unfinished{}
	if !stays {
		r.end()
		return
	}
	r.stage, r.scanned = stageDown, 0
	r.mark(relayServerFull|relayUnsent, false)
	wait := min(time.Second<<min(r.redials, 10), mostRedial)
	r.redials = min(r.redials+1, 10)
	r.at(&r.redialMs, time.Duration(s.l.g.jitter(wait))*time.Millisecond)
	if r.is(relayAnswered) {
		r.ease()
	}
}

// stays reports whether the device may stay without the connection to the server that there is.
// What has been written of a replay is nothing that the device would miss.
func (r *relay) stays() bool {
	unanswered := !r.is(relayAnswered) && r.is(relayPassed)
	unsent := r.is(relayUnsent) && r.stage != stageReplaying
	return r.to.StayWhenDown && !unanswered && !unsent && !r.is(relayLostDown) &&
		!r.s.l.g.admission.draining.Load()
}

// deviceClosed passes the end of the device's connection on.
func (r *relay) deviceClosed(err error) {
	link := r.link
	switch {
	case link == nil:
	case link.conn == nil && (isReset(err) || r.is(relayAnswered) || len(r.held) == 0):
		link.cancel()
	case link.conn == nil: // OnOpen goes on
	case isReset(err):
		_ = link.conn.Reset() // always nil
	default:
		r.hangUp(link.conn)
	}
}

// hangUp ends a connection to the server when that has what was written.
func (r *relay) hangUp(c engine.Conn) {
	switch {
	case !r.is(relayUnsent):
		_ = c.Close() // always nil
	default: // OnDrained closes it, or time does
		time.AfterFunc(lastBytesWait, func() { _ = c.Close() })
	}
}

// OnDrained: the device has caught up.
func (l *Listener) OnDrained(c engine.Conn) {
	s, ok := c.Session().(*session)
	if !ok || s.dead || s.closing || s.relay == nil {
		return
	}
	defer s.recovered()
	s.relay.deviceDrained()
	s.flush()
}

// OnRest is what a device began and did not finish.
func (l *Listener) OnRest(c engine.Conn, buf []byte) {
	s, ok := c.Session().(*session)
	if !ok || s.dead || s.closing || s.relay == nil {
		return
	}
	switch r := s.relay; {
	case r.stage == stageOpen && r.waits == 0 && r.conn() != nil:
		r.write(buf)
	case r.stage == stageDialling && !r.is(relayAnswered):
		r.held = append(r.held, buf...)
	}
}
