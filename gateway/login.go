package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"hash/fnv"
	"io"
	"strconv"
	"time"

	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap"
)

// find looks a device up and says why it is refused, if it is.
func (s *session) find(e *protocol.Event) (*queue.Tracker, string) {
	directory := s.l.g.o.Directory.Current()
	t, ok := directory.Device(s.l.protocol.Name, e.DeviceID)
	if !ok && e.Alias != "" {
		t, ok = directory.Device(s.l.protocol.Name, e.Alias)
	}
	switch {
	case !ok:
		return nil, "unknown_device"
	case t.Blocked:
		return nil, "blocked"
	case s.tracker != 0 && s.tracker != t.Key():
		return nil, "other_device"
	}
	return t, ""
}

// login binds the session to its tracker or refuses it.
func (s *session) login(e *protocol.Event) protocol.Result {
	t, why := s.find(e)
	if why != "" {
		return s.refuse(protocol.UnknownDevice, why, e.DeviceID)
	}
	switch {
	case t.Password == "":
	case e.Secret == "": // no guess
		return s.refuse(protocol.BadCredentials, "bad_credentials", e.DeviceID)
	default:
		if r := s.proves(t, e, "bad_credentials", func() bool {
			return s.l.opens(t,
				e.Secret)
		}); r != protocol.OK {
			return r
		}
	}
	if s.tracker == 0 && s.contested(t) {
		return protocol.Later
	}
	s.l.g.m.logins.WithLabelValues("ok").Inc()
	if s.tracker == 0 {
		s.bind(t)
	}
	return protocol.OK
}

// contested refuses another login of a tracker whose sessions keep taking over each other, as those
// of two devices with one id do: each takeover costs the store a lease and both devices what was in
// flight.
func (s *session) contested(t *queue.Tracker) bool {
	g := s.l.g
	if !s.mustYield(t) {
		return false
	}
	g.history.takeover(t.Key(), s.from(), g.minute()) // he goes on
	if g.history.alarm(t.Key(), g.minute()) {
		g.log.Warn("sessions of one tracker keep taking over each other; do two devices have its id? Its logins are refused for a while",
			zap.Int64("tracker", int64(t.ID)), zap.String("protocol", s.l.protocol.Name),
			zap.Stringer("remote", s.conn.RemoteAddr()))
	}
	g.m.logins.WithLabelValues("later").Inc()
	g.admission.refuse("takeovers")
	s.noteRefused("takeovers", t.DeviceID, "")
	s.close(reasonRefused)
	return true
}

func (s *session) refuse(r protocol.Result, why, deviceID string) protocol.Result {
	g := s.l.g
	g.m.logins.WithLabelValues(why).Inc()
	g.admission.refuse(why)
	s.noteRefused(why, deviceID, "")
	if s.tracker != 0 || s.l.protocol.RefuseDelay <= 0 {
		s.close(reasonRefused)
		return r
	}
	s.state = stateRefused
	linger := g.ms(g.o.Now().Add(s.l.protocol.RefuseDelay))
	s.nextMs = min(s.nextMs, linger)
	s.arm(s.nextMs)
	return r
}

// printable keeps what a stranger sent from garbling the log.
func printable(said string, most int) string {
	b := []byte(said[:min(len(said), most)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// bind makes s the tracker's session: an older one is closed, and the store makes this node the
// owner under a new epoch.
func (s *session) bind(t *queue.Tracker) {
	g := s.l.g
	now := g.ms(g.o.Now())
	s.codec.Bind(s.l.settingsOf(t)) // first: it is the protocol's code
	s.tracker, s.device, s.since = t.Key(), credentialsOf(t), now
	s.recall()
	s.state = stateLeasing
	s.marks |= markFresh
	s.minute, s.texts = uint16(g.minute()), g.history.texts(s.tracker, g.minute())
	g.admission.crowd.leave(s)
	s.releaseActivity(now)
	s.l.c.sessions.Inc()
	s.conn.Trust(s.l.protocol.MaxFrame + trustSlack)
	s.life.end(lifeFrame)
	if old := g.reg.swap(s.tracker, s); old != nil {
		s.takeOver(old)
	} else {
		g.store.acquire.add(s, 0, s.tracker)
	}
	s.nextMs = g.nextLook(s.tracker, now)
	s.arm(s.nextMs)
	if ce := g.log.Check(zap.DebugLevel, "device logged in"); ce != nil {
		ce.Write(s.field(), zap.String("protocol", s.l.protocol.Name), zap.Stringer("remote",
			s.conn.RemoteAddr()))
	}
}

// settingsOf lays a tracker's own settings over the listener's; wrong ones are ignored and logged
// (an import refuses them).
func (l *Listener) settingsOf(t *queue.Tracker) protocol.Settings {
	if len(t.Settings) == 0 {
		return l.settings
	}
	s, err := l.protocol.NewSettings(l.layer, t.Settings)
	if err != nil {
		l.g.log.Warn("tracker's settings ignored", zap.Int64("tracker", int64(t.ID)),
			zap.Error(err))
		return l.settings
	}
	return s
}

// takeOver closes the tracker's older session. The store makes this node the owner anew when that
// one has counted what it leaves without an answer: the next claim would not know of it.
func (s *session) takeOver(old *session) {
	g, key := s.l.g, s.tracker
	g.overtaken(old, s)
	old.post(func() {
		g.m.takeovers.Inc()
		old.close(reasonTakeover)
		old.hungUp(reasonTakeover)
		old.leftWithoutVerdict(reasonTakeover)
	})
	acquire := func() {
		s.post(func() {
			if s.tracker == key {
				g.store.acquire.add(s, 0, key)
			}
		})
	}
	if !old.shard.loop.Execute(acquire) {
		acquire()
	}
}

// acquired is told by the store's worker that the node owns the tracker. When the session has ended
// meanwhile, the lease is given back.
func (s *session) acquired(l queue.Lease) {
	owned := s.shard.loop.Execute(func() {
		defer s.recovered()
		s.epoch = l.Epoch
		switch {
		case s.dead:
			s.l.g.store.release.add(s, 0, s.lease())
		case !s.broken():
			s.leased(&l)
			s.flush()
		}
	})
	if !owned { // the loop has ended, and nobody else has the session
		s.epoch = l.Epoch
		s.l.g.store.release.add(s, 0, s.lease())
	}
}

// leased starts delivery.
func (s *session) leased(l *queue.Lease) {
	s.state = stateReady
	s.lastKnown = max(s.lastKnown, l.LastOut)
	s.arm(s.nextMs)
	if l.Pending > 0 || s.dirty {
		s.dirty = false
		s.claim()
		return
	}
	s.lastQueued = l.LastOut
	s.marks &^= markFresh // nothing was waiting
	s.lookUpEarly(s.box)
	s.pump(s.l.g.o.Now())
}

// recheck closes the session if the directory no longer knows its tracker as it logged in; in
// another account it begins another conversation.
func (s *session) recheck() {
	if s.tracker == 0 {
		return
	}
	t, _, present, ok := s.l.g.o.Directory.Current().Conversation(s.tracker)
	if !ok || !present || t.Blocked || t.Protocol != s.l.protocol.Name ||
		credentialsOf(t) != s.device {
		s.close(reasonDirectory)
	}
}

func hashOf(s string) uint32 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, s) // never fails
	return h.Sum32()
}

// looksAPeriod is how many times in Repoll the store is asked about sessions of one partition.
const looksAPeriod = 6

// nextLook is when the store is asked about a session that it was asked about at ms: about Repoll
// later, at a time that all sessions of the partition have in common, each partition its own, so
// that one call asks for many. Where no partition can fail alone, calls are for all of them anyhow.
func (g *Gateway) nextLook(t queue.TrackerID, ms int64) int64 {
	next := ms + g.jitter(g.o.Repoll)
	grid := g.o.Repoll.Milliseconds() / looksAPeriod
	if !g.divided || grid <= 0 {
		return next
	}
	const partitions = 256
	phase := grid * int64(g.partition(t)) / partitions
	next -= grid / 2
	return next + (phase-next%grid+grid)%grid
}

// jitter spreads a period over ± 20 %, so that sessions that logged in together do not stay
// together.
func (g *Gateway) jitter(d time.Duration) int64 {
	ms := d.Milliseconds()
	return ms*4/5 + int64(g.next.Add(1)*0x9E3779B97F4A7C15>>33)%max(ms*2/5, 1)
}

// codeLength is that of the codes that devices get by registering: 60 bits.
const codeLength = 12

// register answers a device that asks for its credentials. Where its tracker has a password the
// protocol says whether it gets a code; it is never the password, which may be that of other things
// too. A device that is logged in has presented one of both.
func (s *session) register(e *protocol.Event) protocol.Result {
	t, why := s.find(e)
	switch {
	case why != "":
		return s.refuse(protocol.UnknownDevice, why, e.DeviceID)
	case t.Password == "":
		e.Secret = rand.Text()[:codeLength]
	case s.tracker != 0:
		e.Secret = registrationCode(t)
	default:
		return s.registered(t, e)
	}
	return protocol.OK
}

// registrationCode is the code that a device of a tracker with a password gets, the same on every
// node and as long as the password is.
func registrationCode(t *queue.Tracker) string {
	h := hmac.New(sha256.New, []byte(t.Password))
	h.Write([]byte("registration of tracker " + strconv.FormatInt(int64(t.ID), 10)))
	return base32.StdEncoding.EncodeToString(h.Sum(nil))[:codeLength]
}

// registered answers a device of a tracker with a password. Where it gets its code for something
// that it presents, that is a credential as any other.
func (s *session) registered(t *queue.Tracker, e *protocol.Event) protocol.Result {
	if s.l.protocol.Registers != nil {
		granted, presented := s.l.protocol.Registers(s.l.settingsOf(t), e)
		if presented {
			if r := s.proves(t, e, "registration", func() bool { return granted }); r !=
				protocol.OK {
				return r
			}
		}
		if granted {
			e.Secret = registrationCode(t)
			return protocol.OK
		}
	}
	return s.refuse(protocol.BadCredentials, "registration", e.DeviceID)
}

// opens reports whether a secret is one that lets a device of the tracker in.
func (l *Listener) opens(t *queue.Tracker, secret string) bool {
	if t.Password == "" || sameSecret(t.Password, secret) {
		return true
	}
	return l.protocol.Registers != nil && sameSecret(registrationCode(t), secret)
}

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
