package gateway

import (
	"errors"
	"math"
	"syscall"
	"time"

	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/queue"
)

// A relayed session has a tracking server behind it, which answers the device: the session passes
// what both say, and adds its texts between the server's frames. All of it belongs to the device's
// event loop, where the connection to the server is, too.

type relayStage uint8

const (
	stageNaming   relayStage = iota // the device has not said who it is; nothing is taken from it
	stageDialling                   // nothing is taken from it
	stageOpen
	stageReplaying // a new connection to the server, which is told the login once more
	stageDown      // no connection; it is tried again at redialMs
)

// relay is what a session needs for its tracking server.
type relay struct {
	s      *session
	codec  protocol.Relay // the session's; nil in stageNaming
	to     *upstream
	server *trackingServer
	link   *serverLink // to the server, or about to be; nil: none
	who    *presented  // as what the device has logged in last
	held   []byte      // whole frames for the server that cannot go yet

	// Deadlines, clock.ms; 0 none.
	redialMs int64 // in stageDown
	replayMs int64 // the server's answer to the login has to be there
	endMs    int64 // the device's connection ends, whatever is unsent

	up, down unfinished // frames of the device and of the server

	waits   int64 // number of the frame that waits for the store to have its text; 0 none
	scanned int32 // bytes of the server's unfinished frame that CutDown has looked at
	stage   relayStage
	redials uint8
	relayMarks
}

// unfinished is a frame that has begun.
type unfinished struct {
	untilMs int64 // then it passes as it is, clock.ms; 0: there is none
	bytes   int32
}

// relayMarks are what a relay knows in a bit each.
type relayMarks uint16

const (
	relayHeard      relayMarks = 1 << iota // the device has sent something
	relayAnswered                          // the server has answered a login
	relayPassed                            // bytes of the device went to the server
	relayUnsent                            // bytes wait in the connection to the server
	relayLostUp                            // what the device sends is no frames
	relayLostDown                          // what the server sends is no frames
	relayDeviceFull                        // the device is not read: the server is behind
	relayServerFull                        // the server is not read: the device is behind
	relayRefused                           // the store did not take a text of the frame that waits
)

func (m *relayMarks) is(of relayMarks) bool { return *m&of != 0 }

func (m *relayMarks) mark(of relayMarks, on bool) {
	if *m &^= of; on {
		*m |= of
	}
}

// presented is what a device has logged in with.
type presented struct{ device, alias, secret string }

const (
	namingWait     = time.Second     // for the frame that names a device, once it has begun
	unfinishedWait = 5 * time.Second // for the rest of a frame
	endWait        = 900 * time.Millisecond
	lastBytesWait  = 30 * time.Second // for a server to take what a device sent before it went
	mostRedial     = time.Minute
	mostNaming     = 4 << 10   // bytes before the frame that names a device
	mostServerPart = 128 << 10 // bytes of a frame of the server
	dialledRead    = 2 << 10   // bytes of the device beyond which it is not read before the dial
)

// relayed begins a session that may have a tracking server.
func (s *session) relayed() {
	s.ensureActivity(s.l.g).relay = &relay{s: s}
}

// lost reports whether chat pauses because it is not known where frames begin.
func (r *relay) lost() bool { return r.is(relayLostUp) || r.silent() }

// silent reports whether nothing may go between the frames of the server, which are not known.
func (r *relay) silent() bool { return r.is(relayLostDown) || r.stage == stageReplaying }

// conn is the connection to the server, nil if there is none.
func (r *relay) conn() engine.Conn {
	if r.link == nil {
		return nil
	}
	return r.link.conn
}

// name looks who a device is before anything of it is taken, because that decides where it goes.
func (r *relay) name(buf []byte) (used int) {
	s := r.s
	l := s.l
	who, framed := l.namesItself(buf)
	switch {
	case who != nil:
		t, known := l.tracker(who)
		if !known {
			t = nil
		}
		return r.decided(t, who, buf)
	case !framed, len(buf) >= mostNaming:
		return r.decided(nil, nil, buf)
	}
	r.mark(relayHeard, true)
	if u := l.upstream.Load(); u == nil || !u.RefuseUnknown { // else it is refused without a name
		g := l.g
		s.nextMs = min(s.nextMs, g.ms(g.o.Now().Add(namingWait)))
		s.arm(s.nextMs)
	}
	return 0
}

// namesItself looks for the first frame that names its device. framed is false where the bytes
// begin no frame.
func (l *Listener) namesItself(buf []byte) (who *presented, framed bool) {
	codec := l.protocol.NewCodec(l.settings)
	for at := 0; at < len(buf) && who == nil; {
		n, _, err := l.protocol.Frame(buf[at:], 0)
		if err != nil {
			return nil, false
		}
		if n <= 0 {
			break
		}
		// what is wrong with a frame is the server's business.
		_ = codec.Decode(buf[at:at+n], func(e *protocol.Event) {
			if who == nil && (e.Kind == protocol.KindLogin || e.Kind == protocol.KindRegister) {
				who = &presented{device: e.DeviceID, alias: e.Alias}
			}
		})
		at += n
	}
	return who, true
}

// tracker finds the tracker of a device.
func (l *Listener) tracker(who *presented) (*queue.Tracker, bool) {
	directory := l.g.o.Directory.Current()
	t, ok := directory.Device(l.protocol.Name, who.device)
	if !ok && who.alias != "" {
		t, ok = directory.Device(l.protocol.Name, who.alias)
	}
	return t, ok
}

// decided goes on as the device's tracker wants it: with the tracking server, or without.
func (r *relay) decided(t *queue.Tracker, who *presented, buf []byte) (used int) {
	s := r.s
	u := s.l.upstreamFor(t)
	switch {
	case u == nil: // the gateway is the server
		s.relay = nil
		s.nextMs = s.l.g.ms(s.l.g.o.Now().Add(s.l.login))
		return s.read(buf)
	case u.RefuseUnknown && (t == nil || t.Blocked):
		device := ""
		if who != nil {
			device = who.device
		}
		s.l.g.admission.refuse("unknown_device")
		s.l.g.m.logins.WithLabelValues("unknown_device").Inc()
		s.l.noteRefused(s.remote(), "unknown_device", device, "")
		s.close(reasonRefused)
		return len(buf)
	}
	r.to = u
	r.codec = s.l.protocol.NewRelay(s.l.settings, protocol.RelayOptions{
		PassAcks: u.PassAcks, OnlyChat: u.OnlyChat, Replay: u.StayWhenDown,
	})
	s.codec, s.nextMs = r.codec, math.MaxInt64
	s.l.g.admission.unauthenticated.leave(s)
	r.dial()
	r.awaitServer(len(buf))
	return 0
}

// awaitServer leaves with the connection what a device sends before its server is there.
func (r *relay) awaitServer(bytes int) {
	if bytes > dialledRead {
		r.s.conn.Pause()
	}
}

// event deals with what a frame of either side means, and reports whether that is all there is to
// it.
func (r *relay) event(e *protocol.Event) (done bool) {
	s := r.s
	result := protocol.OK
	switch e.Kind {
	case protocol.KindRegister:
	case protocol.KindLogin:
		r.who = &presented{e.DeviceID, e.Alias, e.Secret}
	case protocol.KindDenied:
		r.mark(relayAnswered, true)
		if r.stage == stageReplaying { // it had been let in before
			r.end()
		}
		r.who = nil
	case protocol.KindAdmitted:
		r.mark(relayAnswered, true)
		result = r.admitted()
	case protocol.KindPosition:
		if !e.Passed {
			return false
		}
	default:
		if s.tracker != 0 {
			return false
		}
		result = protocol.NoLogin
	}
	s.answer(e, result)
	return true
}

// admitted binds the session to the tracker of the device that the server has let in, if the
// directory knows it.
func (r *relay) admitted() protocol.Result {
	s := r.s
	if r.stage == stageReplaying {
		r.replayMs, r.redials, r.stage = 0, 0, stageOpen // downFrame goes on
	}
	if r.who == nil {
		return protocol.UnknownDevice
	}
	t, ok := s.l.tracker(r.who)
	switch {
	case ok && s.tracker != 0 && s.tracker != t.Key(), !ok && s.tracker != 0:
		s.close(reasonRefused) // another device over the same connection
		return protocol.UnknownDevice
	case !ok, t.Blocked:
		return protocol.UnknownDevice // its bytes pass
	}
	e := protocol.Event{
		Kind: protocol.KindLogin, DeviceID: r.who.device, Alias: r.who.alias, Secret: r.who.secret,
	}
	result := (&attempt{s: s, e: &e}).login()
	if result == protocol.BadCredentials {
		s.device = credentialsOf(t) // reconsider need not try the same again
	}
	return result
}

// reconsider looks once more whether the directory knows a device whose bytes pass.
func (r *relay) reconsider() {
	if r.s.tracker != 0 || !r.is(relayAnswered) || r.who == nil || r.stage != stageOpen {
		return
	}
	if t, ok := r.s.l.tracker(r.who); !ok || credentialsOf(t) == r.s.device {
		return
	}
	r.s.shard.cur, r.s.shard.worst = r.s, protocol.OK
	e := protocol.Event{Kind: protocol.KindAdmitted, Passed: true}
	if result := r.admitted(); result == protocol.OK {
		r.s.answer(&e, result)
		r.s.poll(r.s.l.g.o.Now())
	}
}

// due does what is due, and returns when there is more of it.
func (r *relay) due(now time.Time) (next int64) {
	s, ms := r.s, r.s.l.g.ms(now)
	if r.stage == stageNaming {
		r.unnamed(ms)
		return s.nextMs
	}
	past := func(deadline *int64) bool {
		over := *deadline != 0 && ms >= *deadline
		if over {
			*deadline = 0
		}
		return over
	}
	switch {
	case past(&r.endMs):
		s.close(reasonUpstream)
	case past(&r.redialMs):
		r.dial()
	case past(&r.replayMs):
		_ = r.conn().Close() // always nil; what that means is told by OnClose
	}
	if past(&r.up.untilMs) {
		r.lose(relayLostUp, nil)
		r.offerAgain(s.conn)
	}
	if past(&r.down.untilMs) && r.conn() != nil {
		r.lose(relayLostDown, nil)
		r.offerAgain(r.conn())
	}
	next = math.MaxInt64
	for _, d := range [...]int64{
		r.endMs, r.redialMs, r.replayMs, r.up.untilMs, r.down.untilMs,
	} {
		if d != 0 {
			next = min(next, d)
		}
	}
	return next
}

// unnamed goes on where a device has not said in time who it is.
func (r *relay) unnamed(ms int64) {
	s := r.s
	switch {
	case ms < s.nextMs:
	case r.is(relayHeard):
		r.decided(nil, nil, nil)
		if s.relay == nil { // nobody is behind
			r.offerAgain(s.conn)
		}
	default:
		s.l.g.admission.refuse("login_timeout")
		s.close(reasonLoginTimeout)
	}
}

// at has the session look after what is due at a moment.
func (r *relay) at(deadline *int64, d time.Duration) {
	g := r.s.l.g
	*deadline = max(g.ms(g.o.Now().Add(d)), 1)
	r.s.arm(*deadline)
}

// offerAgain has what a connection has kept be offered once more.
func (r *relay) offerAgain(c engine.Conn) {
	c.Pause()
	if c == r.s.conn {
		r.s.resume()
		return
	}
	if !r.is(relayServerFull) {
		c.Resume()
	}
}

// end ends the device's connection because the tracking server is not there; what that has sent
// goes out first if the device takes it.
func (r *relay) end() {
	if r.s.conn.Unsent() == 0 {
		r.s.close(reasonUpstream)
		return
	}
	r.at(&r.endMs, endWait)
}

// isReset reports whether a peer broke its connection off.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
