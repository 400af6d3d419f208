package jt808

import (
	"errors"
	"fmt"
	"time"

	"trackchat/protocol"
)

var (
	_ protocol.Codec  = (*codec)(nil)
	_ protocol.Asker  = (*codec)(nil)
	_ protocol.Spacer = (*codec)(nil)
)

// codec is the gateway's side. It takes the header of the first valid frame as that of the
// connection: every later frame must carry the same phone, so that a terminal can acknowledge,
// answer and write only for itself. A change of the form of the header is followed.
type codec struct {
	*shared
	settings protocol.Settings
	assembly *assembly // nil unless subpackages arrived lately
	peer     address
	serial   uint16 // of the next message of ours that is no text
	ref      uint16 // of the newest text
	before   uint16 // of another one before it, 0 none: its last answers may come beside the newest
	opening  uint16 // serial of the connection's first valid frame
	implied  uint16 // message id that acknowledges it by coming (setting ack), anyFrame, or 0
	marks    marks
}

// marks are what a codec knows in a bit each: there is one for every quiet terminal.
type marks uint16

const (
	wrote    marks = 1 << iota // ref is set
	asked                      // that text went out as a question
	awaited                    // no ack of that text has come
	noAsking                   // the terminal does not know questions
	known                      // peer is set
	// the version flag of the terminal names the other form of the header.
	contrary
	loggedIn      // the terminal is authenticated
	offered       // lenient: the login was emitted
	timeDue       // Poll answers a time query
	vendorTimeDue // the same of a vendor's
	eventsDue     // Poll sets the driver's menu
)

// is reports whether any of the marks is set.
func (c *codec) is(m marks) bool { return c.marks&m != 0 }

func (c *codec) set(m marks, on bool) {
	if c.marks &^= m; on {
		c.marks |= m
	}
}

func newCodec(s *shared, settings protocol.Settings) *codec {
	c := &codec{shared: s}
	c.Bind(settings)
	return c
}

// Caps: before the first frame, which tells the form of the header, what terminals of 2011 and 2013
// can.
func (c *codec) Caps() protocol.TextCaps {
	caps := protocol.TextCaps{
		PartBytes: c.settings.Int(settingPartBytes),
		RefBits:   16,
		Charset:   c.charset(c.settings),
		Prefix:    c.settings.Bool(settingPartPrefix),
		Silent:    c.settings.String(settingAck) == ackNone,
		Urgent:    true,
	}
	if !c.peer.long && !c.is(noAsking) {
		caps.Choices = maxChoices
	}
	return caps
}

// Bind takes the tracker's settings.
func (c *codec) Bind(s protocol.Settings) {
	c.settings = s
	switch s.String(settingAck) {
	case ackTextReply:
		c.implied = msgTextReply
	case ackText:
		c.implied = msgText
	case ackNextFrame:
		c.implied = anyFrame
	default:
		c.implied = 0
	}
}

var errForeign = errors.New("phone of another terminal")

// Decode reads one frame as cut returns it.
func (c *codec) Decode(frame []byte, emit func(*protocol.Event)) error {
	escaped, err := inner(frame)
	if err != nil {
		return err
	}
	if !hasEscape(escaped) {
		return c.payload(escaped, emit)
	}
	return c.unescaped(escaped, emit)
}

// unescaped is apart from Decode because most frames have no escapes and need no room for them.
//
//go:noinline
func (c *codec) unescaped(escaped []byte, emit func(*protocol.Event)) error {
	var room [maxPayload]byte
	payload, err := unescape(room[:0], escaped)
	if err != nil {
		return err
	}
	return c.payload(payload, emit)
}

func (c *codec) payload(payload []byte, emit func(*protocol.Event)) error {
	h, body, err := parse(payload, c.is(contrary))
	if err != nil && h.id>>8 == oneByteSerial {
		return fmt.Errorf("%w: %w", protocol.ErrMalformed, errDialect)
	}
	if err != nil {
		if c.is(known) && h.id != 0 && h.phone == c.peer.phone { // only the length is wrong
			c.refuse(&h, resultMalformed, emit)
		}
		return err
	}
	if c.is(known) && h.phone != c.peer.phone {
		c.refuse(&h, resultFailed, emit)
		return fmt.Errorf("%w: %w", protocol.ErrMalformed, errForeign)
	}
	c.meet(&h, emit)
	return c.message(&h, body, emit)
}

// meet learns how the terminal writes its header from a valid one. Where it need not authenticate,
// the first one logs it in.
func (c *codec) meet(h *header, emit func(*protocol.Event)) {
	if !c.is(known) {
		c.opening = h.serial
	}
	c.peer = h.address
	c.set(known, true)
	c.set(contrary, h.contrary)
	if !c.is(loggedIn) && !c.is(offered) && c.settings.Bool(settingLenient) &&
		h.id != msgRegister && h.id != msgAuth && h.id != msgLogout {
		c.set(offered, true)
		c.events.Emit(emit, protocol.Event{Kind: protocol.KindLogin, DeviceID: h.deviceID()})
	}
}

// refuse emits a frame that is answered with a result but means nothing.
func (c *codec) refuse(h *header, result uint64, emit func(*protocol.Event)) {
	c.events.Emit(emit, protocol.Event{
		Kind: protocol.KindRefused, Msg: uint32(h.id),
		Seq: uint32(h.serial), Aux: auxResult | result,
	})
}

// Poll sends the time, the driver's menu, and asks for subpackages that are missing.
func (c *codec) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	if !c.is(known) {
		return dst, time.Time{}
	}
	if c.is(timeDue) {
		c.set(timeDue, false)
		dst = c.appendTime(dst, now)
	}
	if c.is(vendorTimeDue) {
		c.set(vendorTimeDue, false)
		dst = c.appendVendorTime(dst, now)
	}
	if c.is(eventsDue) {
		c.set(eventsDue, false)
		dst = c.appendEvents(dst)
	}
	if c.assembly == nil {
		return dst, time.Time{}
	}
	return c.poll(dst, now)
}
