package teltonika

import (
	"encoding/binary"
	"fmt"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

type phase uint8

const (
	phaseNew    phase = iota // no login yet
	phaseLogged              // the device takes nothing before it has sent its positions
	phaseOpen
)

// positionsWait is how long a device that logged in may take before it is written to nevertheless:
// one with nothing to send stays silent.
const positionsWait = 3 * time.Second

// nackWait is how long a device may take for the nACK of codec 14, over a slow network.
const nackWait = 10 * time.Second

type chat uint8

const (
	withFMI chat = iota
	withSerial
	withNone
)

var (
	_ protocol.Codec      = (*codec)(nil)
	_ protocol.Asker      = (*codec)(nil)
	_ protocol.Holder     = (*codec)(nil)
	_ protocol.Learner    = (*codec)(nil)
	_ protocol.Withdrawer = (*codec)(nil)
)

// codec is the gateway's side of one connection. It is kept small; what chat needs is made at the
// login.
type codec struct {
	*shared
	settings protocol.Settings
	fmi      *fmi.Session // chat: fmi
	terminal *terminal    // chat: serial
	ref      uint64       // of the last text
	waitMs   int64        // phaseLogged ends, fmi.Shared.Clock; 0: Poll sets it
	upTypes  uint16       // a bit for each
	envelope envelope
	phase    phase
	chat     chat
	wrote    bool // ref holds
	mute     bool // nobody answered the navigator's packets on an earlier connection
}

func newCodec(s *shared, settings protocol.Settings) *codec {
	c := &codec{shared: s}
	c.Bind(settings)
	return c
}

func (c *codec) Bind(s protocol.Settings) {
	c.settings = s
	c.upTypes, _ = parseTypes(s.String(settingUpTypes)) // checked
	c.envelope.codec, c.envelope.typ, c.chat = codec12, typeCommand, withFMI
	if s.String(settingDownCodec) == "14" {
		c.envelope.codec = codec14
	}
	switch s.String(settingChat) {
	case chatSerial:
		c.chat, c.envelope.typ = withSerial, typeSerial
	case chatNone:
		c.chat = withNone
	}
	if s.String(settingDownType) != "" {
		c.envelope.typ = byte(s.Int(settingDownType))
	}
}

func (c *codec) Caps() protocol.TextCaps {
	var caps protocol.TextCaps
	switch {
	case c.chat == withNone:
		return protocol.TextCaps{
			PartBytes: leastPart, Charset: c.shared.fmi.Charset(c.settings),
			NoText: true,
		}
	case c.terminal != nil:
		caps = c.terminal.caps()
	case c.fmi != nil:
		caps = c.fmi.Caps()
	case c.chat == withSerial:
		caps = c.newTerminal().caps()
	default:
		caps = c.options().Caps()
	}
	if caps.Silent && c.envelope.codec == codec14 {
		caps.Refusal = nackWait
	}
	caps.NotYet = caps.NotYet || c.phase != phaseOpen
	return caps
}

func (c *codec) options() fmi.Options {
	o := c.shared.fmi.Options(c.settings, false)
	o.Mute = c.mute
	return o
}

func (c *codec) Recall(learnt uint8) { c.mute = learnt == fmi.Mute }

func (c *codec) Learnt(now time.Time) (learnt uint8, news bool) { return c.fmi.Learnt(now) }

func (c *codec) AppendReply(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	if fmi.Owns(e) {
		if c.fmi == nil {
			return dst
		}
		return c.fmi.AppendReply(dst, &c.envelope, e, r)
	}
	switch {
	case e.Kind == protocol.KindLogin && r == protocol.OK:
		c.login()
		return append(dst, 1)
	case e.Kind == protocol.KindLogin, e.Kind == protocol.KindRefused && e.Msg == msgLogin:
		return append(dst, 0)
	case r != protocol.OK || c.phase == phaseNew:
		return dst
	}
	if leastRecord(byte(e.Msg)) > 0 {
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.Count))
	}
	if e.Msg != keepAlive {
		c.phase = phaseOpen
	}
	return dst
}

func (c *codec) login() {
	if c.phase != phaseNew {
		return
	}
	c.phase = phaseLogged
	switch c.chat {
	case withFMI:
		c.fmi = c.shared.fmi.NewSession(c.options())
	case withSerial:
		c.terminal = c.newTerminal()
	case withNone:
	}
}

func (c *codec) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	var err error
	switch {
	case c.phase != phaseOpen:
		return dst, fmt.Errorf("%w: the device has not sent its positions", protocol.ErrNotText)
	case c.fmi != nil:
		dst, err = c.fmi.AppendText(dst, &c.envelope, t)
	case c.terminal != nil:
		dst, err = c.terminal.append(dst, &c.envelope, t)
	default:
		return dst, fmt.Errorf("%w: nothing shows texts", protocol.ErrNotText)
	}
	if err == nil {
		c.ref, c.wrote = t.Ref, true
	}
	return dst, err
}

// AppendWithdraw: a navigator can delete a text.
func (c *codec) AppendWithdraw(dst []byte, ref uint64) []byte {
	if c.fmi == nil {
		return dst
	}
	return c.fmi.AppendWithdraw(dst, &c.envelope, ref)
}

func (c *codec) Asks(t protocol.Text) error { return c.options().Asks(t) }

func (c *codec) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	dst, next := c.poll(dst, now)
	if c.terminal != nil {
		next = c.terminal.wait(now, next)
	}
	return dst, next
}

// Release: a terminal's line without its end.
func (c *codec) Release(now time.Time, end bool, emit func(*protocol.Event)) {
	if c.terminal != nil {
		c.terminal.release(c.shared, now, end, emit)
	}
}

func (c *codec) poll(dst []byte, now time.Time) ([]byte, time.Time) {
	if c.phase == phaseLogged {
		clock := &c.shared.fmi.Clock
		if c.waitMs == 0 {
			c.waitMs = clock.Ms(now.Add(positionsWait))
		}
		if clock.Ms(now) < c.waitMs {
			return dst, clock.Time(c.waitMs)
		}
		c.phase = phaseOpen
	}
	if c.phase == phaseOpen && c.fmi != nil {
		return c.fmi.Poll(dst, &c.envelope, now)
	}
	return dst, time.Time{}
}
