package jt808

import (
	"encoding/binary"
	"fmt"
	"time"

	"trackchat/protocol"
)

var (
	_ protocol.Relay  = (*relay)(nil)
	_ protocol.Asker  = (*relay)(nil)
	_ protocol.Spacer = (*relay)(nil)
)

// relay is the gateway's side of a terminal that another server answers. The codec in it reads the
// terminal and writes our texts, under the numbers that they have on the wire, but speaks first
// only where that is about frames that the server does not get.
type relay struct {
	codec
	numbers       *numbers     // nil: neither side has sent a text
	login         []byte       // the frame of the newest login, where it can be asked for
	waiting       []unanswered // texts of the driver's that the server has not answered
	presented     request      // the newest login, until the server has answered it
	replayed      request      // a login that the terminal has not sent to this server itself
	admitted      bool         // the server has accepted a login
	authenticates bool         // the terminal does, though it need not (lenient)
	sealed        bool         // the terminal encrypts what it says
	o             protocol.RelayOptions
}

// request is what a general reply names; the zero value is none.
type request struct{ serial, id uint16 }

// unanswered is a text of the driver's that has passed.
type unanswered struct {
	request
	stored bool
	due    time.Time // when we answer it ourselves; zero: Poll has not seen it stored
}

const (
	// answerWait is how long the server may take to answer a text that is also stored here, from
	// then on: it gets it no sooner.
	answerWait = 5 * time.Second
	// maxWaiting bounds the texts that wait for that.
	maxWaiting = 16
)

func newRelay(s *shared, settings protocol.Settings, o protocol.RelayOptions) *relay {
	r := &relay{codec: codec{shared: s}, o: o}
	r.Bind(settings)
	return r
}

// Caps: texts wait until the server has accepted the terminal.
func (r *relay) Caps() protocol.TextCaps {
	caps := r.codec.Caps()
	caps.NotYet = !r.speaks()
	return caps
}

// speaks reports whether the terminal may have frames of ours.
func (r *relay) speaks() bool { return r.is(loggedIn) && !r.sealed }

// CutDown is that of the terminal: both sides have the same frames.
func (*relay) CutDown(buf []byte, scanned int) (n, next int, err error) { return cut(buf, scanned) }

// opened returns the payload of a frame, in room where it has escapes.
func opened(room, frame []byte) ([]byte, error) {
	escaped, err := inner(frame)
	if err != nil || !hasEscape(escaped) {
		return escaped, err
	}
	return unescape(room, escaped)
}

// course is what becomes of a frame of the terminal's.
type course struct {
	takes     bool // it is ours alone
	takesText bool // the same where it holds a text of the driver's
	silent    bool // it means nothing for chat
	mapped    bool // number stands in the place of the one that its body begins with
	number    uint16
}

// Up passes a frame on, unless it is about a text of ours alone.
func (r *relay) Up(w *protocol.Ways, frame []byte, _ time.Time,
	emit func(*protocol.Event),
) error {
	var room [maxPayload]byte
	payload, err := opened(room[:0], frame)
	if err != nil {
		w.Server = append(w.Server, frame...)
		return err
	}
	h, body, err := parse(payload, r.is(contrary))
	switch {
	case err != nil && h.id>>8 == oneByteSerial:
		err = fmt.Errorf("%w: %w", protocol.ErrMalformed, errDialect)
	case err == nil && r.is(known) && h.phone != r.peer.phone:
		err = fmt.Errorf("%w: %w", protocol.ErrMalformed, errForeign)
	}
	if err != nil {
		w.Server = append(w.Server, frame...)
		return err
	}
	var c course
	taken := false
	out := func(e *protocol.Event) {
		e.Passed = !c.takes && (!c.takesText || e.Kind != protocol.KindText)
		taken = taken || !e.Passed
		if e.Kind == protocol.KindLogin {
			r.presents(&h, frame)
		}
		if r.concerns(e) {
			emit(e)
		}
	}
	r.meet(&h, out)
	c = r.course(&h, body)
	err = r.read(&h, body, c, out)
	switch {
	case taken || c.takes:
	case c.mapped:
		w.Server = appendRenumbered(w.Server, frame, payload, len(payload)-1-len(body), c.number)
		w.Mapped++
	default:
		w.Server = append(w.Server, frame...)
	}
	return err
}

// course tells whose frame it is.
func (r *relay) course(h *header, body []byte) course {
	switch {
	case h.encrypted():
		r.sealed = true
		return course{silent: true}
	case h.total > 1:
		return r.courseOfPart(h, body)
	}
	switch h.id {
	case msgReply:
		return r.courseOfAck(body)
	case msgTextReply, msgAnswer:
		return r.courseOfNamed(h.id, body)
	case msgText, msgEvent, msgSerial:
		return course{takesText: r.o.OnlyChat && r.speaks()}
	}
	return course{}
}

// courseOfAck is that of a general reply: serial WORD, id WORD, result BYTE.
func (r *relay) courseOfAck(body []byte) course {
	if len(body) < 5 {
		return course{}
	}
	serial, id := binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	if id != msgShow && id != msgAsk {
		return course{}
	}
	if o := r.numbers.own(serial); o != nil && o.id == id {
		// The server must not take it for the ack of a text of its own.
		return course{takes: !r.o.PassAcks || r.numbers.named(serial) != nil}
	}
	return r.theirs(serial)
}

// courseOfNamed is that of a message that begins with the number of a text.
func (r *relay) courseOfNamed(id uint16, body []byte) course {
	if len(body) < 2 {
		return course{}
	}
	serial := binary.BigEndian.Uint16(body)
	switch {
	case r.numbers.own(serial) != nil:
		return course{takes: true}
	case id == msgTextReply && (serial == 0 || r.numbers.their(serial) == nil):
		return course{takesText: r.o.OnlyChat && r.speaks()}
	}
	return r.theirs(serial)
}

// courseOfPart is that of a subpackage. Those of an answer to a text pass in any case, because only
// the first one says to which.
func (r *relay) courseOfPart(h *header, body []byte) course {
	switch kind := r.partKind(h.id); {
	case kind == partsMedia:
		return course{silent: true}
	case h.id == msgTextReply && h.number == 1 && len(body) >= 2:
		if serial := binary.BigEndian.Uint16(body); r.numbers.own(serial) == nil {
			c := r.theirs(serial)
			c.silent = false // it still has to be put together with the others
			return c
		}
	case h.id != msgTextReply && kind == partsText && h.total <= maxTextParts:
		return course{takes: r.o.OnlyChat && r.speaks()}
	}
	return course{}
}

// theirs is the course of what names a text of the server's, or none.
func (r *relay) theirs(serial uint16) course {
	c := course{silent: true}
	if t := r.numbers.their(serial); t != nil {
		t.acked = true
		c.mapped, c.number = t.server != serial, t.server
	}
	return c
}

// read emits what a frame means.
func (r *relay) read(h *header, body []byte, c course, out func(*protocol.Event)) error {
	// What acknowledges a text without naming it could as well be meant for one of the server's.
	if r.is(awaited) && r.implied != 0 && r.speaks() && !r.numbers.spoken() {
		r.impliedAck(h, body, out)
	}
	e := protocol.Event{Kind: protocol.KindOther, Msg: uint32(h.id), Seq: uint32(h.serial)}
	switch {
	case c.silent:
		if h.encrypted() {
			e.Kind = protocol.KindUnknown
		}
		r.events.Emit(out, e)
		return nil
	case h.total <= 1:
		return r.whole(h, e, body, out)
	}
	err := r.part(h, body, out)
	if c.takes || r.assembly == nil {
		return err
	}
	for _, run := range r.assembly.runs {
		if run.id == h.id {
			run.asked = maxAsks // the server asks for what is missing
		}
	}
	return err
}

// concerns gives an event the references of our texts for their numbers. False: it is about a text
// that is not ours, or no longer only ours.
func (r *relay) concerns(e *protocol.Event) bool {
	switch e.Kind {
	case protocol.KindAck, protocol.KindAnswer:
		o := r.numbers.own(uint16(e.Ref))
		if o == nil {
			return false
		}
		e.Ref = uint64(o.ref)
	case protocol.KindText:
		if e.Replies {
			r.attribute(e)
		}
		if e.Kind == protocol.KindText && e.Passed {
			r.await(request{uint16(e.Seq), uint16(e.Msg)})
		}
	default:
	}
	return true
}

// attribute says which text of ours the driver's answers. What answers the server's is none for us.
func (r *relay) attribute(e *protocol.Event) {
	wire := uint16(e.ReplyTo)
	if o := r.numbers.own(wire); o != nil {
		e.ReplyTo = uint64(o.ref)
		return
	}
	if r.numbers.their(wire) != nil {
		*e = protocol.Event{
			Kind: protocol.KindOther, Msg: e.Msg, Seq: e.Seq, Passed: e.Passed,
		}
	}
	e.Replies, e.ReplyTo = false, 0
}
