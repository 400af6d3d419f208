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

// attempt is a device's attempt to log in, or to get the credentials for that.
type attempt struct {
	s *session
	e *protocol.Event
	t *queue.Tracker // whose device it is
}

// find looks the device up and says why it is refused, if it is.
func (a *attempt) find() (why string) {
	directory, name := a.s.l.g.o.Directory.Current(), a.s.l.protocol.Name
	t, ok := directory.Device(name, a.e.DeviceID)
	if !ok && a.e.Alias != "" {
		t, ok = directory.Device(name, a.e.Alias)
	}
	switch {
	case !ok:
		return "unknown_device"
	case t.Blocked:
		return "blocked"
	case a.s.tracker != 0 && a.s.tracker != t.Key():
		return "other_device"
	}
	a.t = t
	return ""
}

// login binds the session to its tracker or refuses it.
func (a *attempt) login() protocol.Result {
	if why := a.find(); why != "" {
		return a.refuse(protocol.UnknownDevice, why)
	}
	switch {
	case a.t.Password == "":
	case a.e.Secret == "": // no guess
		return a.refuse(protocol.BadCredentials, "bad_credentials")
	default:
		opens := func() bool { return a.s.l.opens(a.t, a.e.Secret) }
		if r := a.proves("bad_credentials", opens); r != protocol.OK {
			return r
		}
	}
	if a.s.tracker == 0 && a.contested() {
		return protocol.Later
	}
	a.s.l.g.m.logins.WithLabelValues("ok").Inc()
	if a.s.tracker == 0 {
		a.s.bind(a.t)
	}
	return protocol.OK
}

// register answers a device that asks for its credentials. Where its tracker has a password the
// protocol says whether it gets a code; it is never the password, which may be that of other things
// too. A device that is logged in has presented one of both.
func (a *attempt) register() protocol.Result {
	switch why := a.find(); {
	case why != "":
		return a.refuse(protocol.UnknownDevice, why)
	case a.t.Password == "":
		a.e.Secret = rand.Text()[:codeLength]
	case a.s.tracker != 0:
		a.e.Secret = registrationCode(a.t)
	default:
		return a.registered()
	}
	return protocol.OK
}

// registered answers a device of a tracker with a password. Where it gets its code for something
// that it presents, that is a credential as any other.
func (a *attempt) registered() protocol.Result {
	l := a.s.l
	if l.protocol.Registers != nil {
		granted, presented := l.protocol.Registers(l.settingsOf(a.t), a.e)
		if presented {
			if r := a.proves("registration", func() bool { return granted }); r != protocol.OK {
				return r
			}
		}
		if granted {
			a.e.Secret = registrationCode(a.t)
			return protocol.OK
		}
	}
	return a.refuse(protocol.BadCredentials, "registration")
}

// proves lets a login or a registration pass whose credentials are right.
func (a *attempt) proves(why string, compare func() bool) protocol.Result {
	g := a.s.l.g
	now, remote := g.o.Now(), a.s.conn.RemoteAddr()
	tried := g.loginLimiter.try(a.t, placeOf(remote.Addr()), g.ms(now), compare)
	switch {
	case tried.right:
		return protocol.OK
	case tried.refused:
		r := a.refuse(protocol.Later, "login_attempts")
		a.hangUp()
		return r
	}
	if tried.pause > 0 {
		if unsaid, ok := g.loginLimiter.warnings.take(now); ok {
			g.log.Warn("wrong credentials for a device again and again: is somebody guessing? Its logins from there are refused for a while, whatever they present",
				zap.Int64("tracker", int64(a.t.ID)), zap.String("protocol", a.s.l.protocol.Name),
				zap.String("device", a.t.DeviceID),
				zap.Stringer("remote", remote), zap.Duration("for", tried.pause), unsaid)
		}
	}
	return a.refuse(protocol.BadCredentials, why)
}

// contested refuses another login of a tracker whose sessions keep taking over each other, as those
// of two devices with one id do: each takeover costs the store a lease and both devices what was in
// flight.
func (a *attempt) contested() bool {
	g := a.s.l.g
	if !g.mustYield(a.t, a.s.from()) {
		return false
	}
	g.history.takeover(a.t.Key(), a.s.from(), g.minute()) // he goes on
	if g.history.alarm(a.t.Key(), g.minute()) {
		g.log.Warn("sessions of one tracker keep taking over each other; do two devices have its id? Its logins are refused for a while",
			zap.Int64("tracker", int64(a.t.ID)), zap.String("protocol", a.s.l.protocol.Name),
			zap.Stringer("remote", a.s.conn.RemoteAddr()))
	}
	g.m.logins.WithLabelValues("later").Inc()
	g.admission.refuse("takeovers")
	a.s.l.noteRefused(a.s.remote(), "takeovers", a.t.DeviceID, "")
	a.hangUp()
	return true
}

func (a *attempt) refuse(r protocol.Result, why string) protocol.Result {
	g := a.s.l.g
	g.m.logins.WithLabelValues(why).Inc()
	g.admission.refuse(why)
	a.s.l.noteRefused(a.s.remote(), why, a.e.DeviceID, "")
	if a.s.relay != nil { // its bytes pass all the same
		return r
	}
	if a.s.tracker != 0 || a.s.l.protocol.RefuseDelay <= 0 {
		a.s.close(reasonRefused)
		return r
	}
	a.s.marks |= markLingers
	linger := g.ms(g.o.Now().Add(a.s.l.protocol.RefuseDelay))
	a.s.nextMs = min(a.s.nextMs, linger)
	a.s.arm(a.s.nextMs)
	return r
}

// hangUp ends the connection of a device that is refused, unless a tracking server has let it in:
// then it has no chat.
func (a *attempt) hangUp() {
	if a.s.relay == nil {
		a.s.close(reasonRefused)
	}
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
	s.l.g.learnt.recall(s.tracker, s.codec)
	s.fresh = true
	s.minute, s.texts = uint16(g.minute()), g.history.texts(s.tracker, g.minute())
	g.admission.unauthenticated.leave(s)
	s.releaseActivity(s.l.g, now)
	s.l.c.sessions.Inc()
	limit := s.l.protocol.MaxFrame
	if s.relay != nil {
		limit = s.relay.limit()
	}
	s.conn.Trust(limit + trustSlack)
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
		old.outbox().left(reasonTakeover)
	})
	acquire := func() {
		s.post(func() {
			if g.reg.get(key) == s { // else a later one, whose lease would be lost to this one's
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
			s.arm(s.nextMs)
			s.outbox().leased(&l)
			s.flush()
		}
	})
	if !owned { // the loop has ended, and nobody else has the session
		s.epoch = l.Epoch
		s.l.g.store.release.add(s, 0, s.lease())
	}
}

// recheck closes the session if the directory no longer knows its tracker as it logged in; in
// another account it begins another conversation.
func (s *session) recheck() {
	if s.tracker == 0 {
		if s.relay != nil {
			s.relay.reconsider()
		}
		return
	}
	t, _, present, ok := s.l.g.o.Directory.Current().Conversation(s.tracker)
	if !ok || !present || t.Blocked || t.Protocol != s.l.protocol.Name ||
		credentialsOf(t) != s.device {
		s.close(reasonDirectory)
	}
}

// credentialsOf is a hash of what a device logs in with.

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

// registrationCode is the code that a device of a tracker with a password gets, the same on every
// node and as long as the password is.
func registrationCode(t *queue.Tracker) string {
	h := hmac.New(sha256.New, []byte(t.Password))
	h.Write([]byte("registration of tracker " + strconv.FormatInt(int64(t.ID), 10)))
	return base32.StdEncoding.EncodeToString(h.Sum(nil))[:codeLength]
}

// opens reports whether a secret is one that lets a device of the tracker in.
func (l *Listener) opens(t *queue.Tracker, secret string) bool {
	if t.Password == "" || sameSecret(t.Password, secret) {
		return true
	}
	return l.protocol.Registers != nil && sameSecret(registrationCode(t), secret)
}

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
