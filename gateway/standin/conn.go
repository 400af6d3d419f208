package standin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

// conn is one connection.
type conn struct {
	// Static after newConn.
	s    *Server
	tcp  *net.TCPConn
	net  net.Conn      // tcp, or TLS over it
	kick chan struct{} // has room for one: there is news for serve

	reading atomic.Bool // serve is beyond the header and the handshake

	mu      sync.Mutex // what is below, and the order of writes
	codec   protocol.Codec
	in      []byte // of an unfinished frame
	scanned int
	lost    bool   // framing is: bytes are recorded, and mean nothing
	id      string // of the device, once it has named itself; normalised
	logged  bool
	out     []byte    // of the answers that wait
	waiting []answer  // by the time they are due
	pollAt  time.Time // when the codec wants to be asked, zero: not by itself
	owed    int       // texts whose acks have not come, where they name nothing
	ended   bool      // by End
	gone    bool      // to be closed

	// Of the frame that is being decoded.
	now    time.Time
	worst  protocol.Result
	count  int // positions that were taken
	denied bool

	// Guarded by the server's lock.
	device *device // nil before it has named itself, and where there was no room for it
	early  []byte  // what came before that
	missed int     // bytes for which early had no room
	proxy  string
}

// answer is the end of a stretch of out that leaves in one piece.
type answer struct {
	due       time.Time
	bytes     int
	packet    int // its place in Device.Packets, -1: none
	positions int
}

func (s *Server) newConn(tcp *net.TCPConn) *conn {
	c := &conn{
		s: s, tcp: tcp, net: tcp, kick: make(chan struct{}, 1),
		codec: s.o.Protocol.NewCodec(s.o.Settings),
	}
	if s.o.TLS != nil {
		c.net = tls.Server(tcp, s.o.TLS)
	}
	return c
}

// serve reads the connection until it ends.
func (c *conn) serve() {
	defer c.s.leave(c)
	defer func() { _ = c.tcp.Close() }() // the other side has ended it, or is not waited for
	if c.greet() != nil {
		return // nothing that a device sent has come
	}
	c.reading.Store(true)
	room := make([]byte, readSize)
	n := 0 // bytes in it that are not taken: the server may have turned deaf during the read
	for {
		next, full, err := c.turn()
		switch {
		case err != nil:
		case full || c.s.behaves().Deaf:
			c.sleep(next)
		case n > 0:
			c.take(room[:n])
			n = 0
		default:
			n, err = c.read(room, next)
		}
		if err != nil {
			break
		}
	}
	c.finish(room)
}

// greet reads what comes before the protocol.
func (c *conn) greet() error {
	_ = c.tcp.SetDeadline(c.s.o.Now().Add(greetWait)) // fails only on a closed connection
	if c.s.o.Proxy {
		header, err := readProxy(c.tcp)
		if err != nil {
			return err
		}
		c.s.update(func() { c.proxy, c.s.figures.Proxy = header, header })
	}
	if t, ok := c.net.(*tls.Conn); ok {
		if err := t.HandshakeContext(context.Background()); err != nil {
			return fmt.Errorf("TLS handshake: %w", err)
		}
	}
	_ = c.tcp.SetDeadline(time.Time{})
	return nil
}

// errEnded ends serve without a cause of its own.
var errEnded = errors.New("ended")

// turn writes what is due and says when there will be more; full: too much waits to read on.
func (c *conn) turn() (next time.Time, full bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return next, false, errEnded
	}
	b := c.s.behaves()
	c.now = c.s.o.Now()
	if b.Silent {
		c.out, c.waiting, c.pollAt = nil, nil, time.Time{}
	} else {
		c.poll(b)
	}
	if err := c.flush(); err != nil {
		return next, false, err
	}
	if c.gone {
		return next, false, errEnded
	}
	next = c.pollAt
	if len(c.waiting) > 0 && (next.IsZero() || c.waiting[0].due.Before(next)) {
		next = c.waiting[0].due
	}
	return next, len(c.out) >= maxWaiting, nil
}

// poll lets the codec say what it has of its own.
func (c *conn) poll(b Behaviour) {
	c.release(b, false)
	c.begin()
	start := len(c.out)
	c.out, c.pollAt = c.codec.Poll(c.out, c.now)
	if !c.pollAt.IsZero() && !c.pollAt.After(c.now) {
		c.pollAt = c.now.Add(time.Millisecond)
	}
	c.queue(b, start, -1)
	if q, ok := c.codec.(protocol.Quitter); ok && q.Gone() {
		c.gone = true
	}
}

// release lets the codec say what it held back.
func (c *conn) release(b Behaviour, end bool) {
	if h, ok := c.codec.(protocol.Holder); ok {
		start := len(c.out)
		c.begin()
		h.Release(c.now, end, func(e *protocol.Event) { c.event(b, e) })
		c.queue(b, start, -1)
	}
}

// flush writes the answers that are due.
func (c *conn) flush() error {
	n, i := 0, 0
	for ; i < len(c.waiting) && !c.waiting[i].due.After(c.now); i++ {
		n += c.waiting[i].bytes
	}
	if i == 0 {
		return nil
	}
	if _, err := c.net.Write(c.out[:n]); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	c.answered(c.waiting[:i])
	c.out = c.out[:copy(c.out, c.out[n:])]
	c.waiting = c.waiting[:copy(c.waiting, c.waiting[i:])]
	return nil
}

// queue makes an answer of what out has from start on.
func (c *conn) queue(b Behaviour, start, packet int) {
	n := len(c.out) - start
	switch {
	case n == 0:
	case b.Silent:
		c.out = c.out[:start]
	default:
		c.waiting = append(c.waiting, answer{c.now.Add(b.Delay), n, packet, c.count})
	}
}

// wake has serve look at what has changed.
func (c *conn) wake() {
	select {
	case c.kick <- struct{}{}:
	default: // it is about to look
	}
	if c.reading.Load() {
		_ = c.tcp.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
	}
}

// sleep waits for news without reading, or until next.
func (c *conn) sleep(next time.Time) {
	if next.IsZero() {
		<-c.kick
		return
	}
	timer := time.NewTimer(next.Sub(c.s.o.Now()))
	defer timer.Stop()
	select {
	case <-c.kick:
	case <-timer.C:
	}
}

// read reads until next. A wake after the deadline is set replaces it, one before is seen here.
func (c *conn) read(room []byte, next time.Time) (int, error) {
	_ = c.tcp.SetReadDeadline(next) // fails only on a closed connection
	select {
	case <-c.kick:
		return 0, nil
	default:
	}
	n, err := c.net.Read(room)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return n, err
}

// take records bytes and deals with the frames that are whole.
func (c *conn) take(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(b) == 0 {
		return
	}
	c.came(b)
	if c.lost {
		return
	}
	c.now = c.s.o.Now()
	c.in = append(c.in, b...)
	behaviour, used := c.s.behaves(), 0
	for used < len(c.in) && !c.lost {
		n, next, err := c.s.o.Protocol.Frame(c.in[used:], c.scanned)
		switch {
		case err != nil:
			c.garbled(err)
			c.lost = true
		case n <= 0:
			c.scanned = next
			c.in = c.in[:copy(c.in, c.in[used:])]
			return
		default:
			c.scanned = 0
			c.frame(behaviour, c.in[used:used+n])
			used += n
		}
	}
	c.in = c.in[:0]
}

func (c *conn) garbled(err error) {
	c.lost = c.lost || errors.Is(err, protocol.ErrFraming)
	c.s.update(func() { c.s.figures.Garbled++ })
}

func (c *conn) begin() { c.worst, c.count, c.denied = protocol.OK, 0, false }

// frame deals with one frame. Whom the protocol has no word to refuse with is cut off.
func (c *conn) frame(b Behaviour, frame []byte) {
	c.release(b, false)
	c.begin()
	start := len(c.out)
	if err := c.codec.Decode(frame, func(e *protocol.Event) { c.event(b, e) }); err != nil {
		c.garbled(err)
	}
	c.gone = c.gone || c.denied && !b.Silent && len(c.out) == start
	packet := -1
	if c.count > 0 {
		packet = c.packet(frame, c.count)
	}
	c.queue(b, start, packet)
}

// event judges an event, records it and appends the protocol's answer.
func (c *conn) event(b Behaviour, e *protocol.Event) {
	r := c.judge(b, e)
	c.happened(e, r)
	if r == protocol.OK && e.Kind == protocol.KindPosition {
		c.count += e.Count
	}
	c.worst = max(c.worst, r)
	c.out = c.codec.AppendReply(c.out, e, c.worst)
}

// registrationCode is what a device gets that asks for its credentials.
const registrationCode = "standin"

func (c *conn) judge(b Behaviour, e *protocol.Event) protocol.Result {
	asks := e.Kind == protocol.KindLogin || e.Kind == protocol.KindRegister
	switch {
	case asks:
		id := queue.NormalizeDeviceID(e.DeviceID)
		if c.id == "" {
			c.id = id
			c.named(id)
		}
		if c.id != id {
			return protocol.UnknownDevice
		}
	case e.Kind == protocol.KindRefused, e.Kind == protocol.KindUnknown:
		return protocol.OK
	case !c.logged:
		return protocol.NoLogin
	}
	r := protocol.OK
	if b.Judge != nil {
		r = b.Judge(c.id, e)
	}
	switch {
	case e.Kind == protocol.KindLogin && r == protocol.OK:
		c.codec.Bind(c.s.o.Settings)
		c.logged = true
	case e.Kind == protocol.KindLogin:
		c.denied = r != protocol.Later
	case e.Kind == protocol.KindRegister:
		e.Secret = registrationCode
	}
	return r
}

// text writes a text of the server's own.
func (c *conn) text(body string, ref uint64) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	caps := c.codec.Caps()
	parts, err := protocol.Split(body, caps)
	switch {
	case c.ended:
		return 0, ErrAway
	case caps.NotYet:
		return 0, fmt.Errorf("%w: a handshake is under way", protocol.ErrNotText)
	case err != nil:
		return 0, err
	case len(parts) != 1:
		return 0, protocol.ErrTextTooLong
	}
	ref &= 1<<caps.RefBits - 1
	t := protocol.Text{Ref: ref, Parts: 1, Body: parts[0], AtMs: c.s.o.Now().UnixMilli()}
	out, err := c.codec.AppendText(nil, t)
	if err != nil {
		return 0, err
	}
	if _, err := c.net.Write(out); err != nil {
		return 0, err
	}
	if caps.RefBits == 0 {
		c.owed++
	}
	c.wrote(ref)
	c.wake()
	return ref, nil
}

func (c *conn) send(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return ErrAway
	}
	_, err := c.net.Write(b)
	return err
}

// end ends the connection. A write that waits for the other side is given up.
func (c *conn) end(how End) {
	past := time.Unix(1, 0)
	if how == RST { // errors say that the connection has ended already
		_ = c.tcp.SetLinger(0)
		_ = c.tcp.Close()
	} else {
		_ = c.tcp.SetWriteDeadline(past)
	}
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	if how == FIN {
		_ = c.tcp.CloseWrite()
	}
	c.wake()
}

// finish reads what still comes after a FIN of this side: to close before that would be a reset.
func (c *conn) finish(room []byte) {
	c.mu.Lock()
	ended := c.ended
	if !ended {
		c.now = c.s.o.Now()
		c.release(c.s.behaves(), true)
	}
	c.mu.Unlock()
	if !ended {
		return
	}
	c.reading.Store(false)
	until := c.s.o.Now().Add(finWait)
	for err := error(nil); err == nil; {
		_ = c.tcp.SetReadDeadline(until) // fails only on a closed connection
		_, err = c.tcp.Read(room)
		if errors.Is(err, os.ErrDeadlineExceeded) && c.s.o.Now().Before(until) {
			err = nil // a wake that was late
		}
	}
}
