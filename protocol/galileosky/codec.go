package galileosky

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

const (
	mostCommand = 255
	commandBits = 32 // width of a command's number
	leastPart   = 8
)

type chat uint8

const (
	withFMI chat = iota
	withCommands
	withNone
)

var (
	_ protocol.Codec      = (*codec)(nil)
	_ protocol.Asker      = (*codec)(nil)
	_ protocol.Learner    = (*codec)(nil)
	_ protocol.Withdrawer = (*codec)(nil)
)

// codec is the gateway's side of one connection.
type codec struct {
	*shared
	settings protocol.Settings
	fmi      *fmi.Session // chat: fmi, after the login
	id       uint16
	imei     [imeiDigits]byte
	logged   bool
	chat     chat
	failure  *regexp.Regexp // delivered_on: reply; answers that it matches are errors, nil: none is
	onReply  bool           // delivered_on: reply
	mute     bool           // nobody answered the navigator's packets on an earlier connection
}

func newCodec(s *shared, settings protocol.Settings) *codec {
	c := &codec{shared: s}
	c.Bind(settings)
	return c
}

func (c *codec) Bind(s protocol.Settings) {
	c.settings, c.chat = s, withFMI
	switch s.String(settingChat) {
	case chatCommand:
		c.chat = withCommands
	case chatNone:
		c.chat = withNone
	}
	c.onReply = s.String(settingDeliveredOn) == deliveredReply
	c.failure = c.patterns.Get(s.String(settingErrorPattern))
}

func (c *codec) Caps() protocol.TextCaps {
	o := c.options()
	switch {
	case c.chat == withNone:
		return protocol.TextCaps{PartBytes: leastPart, Charset: c.charset(), NoText: true}
	case c.chat == withCommands:
		room := mostCommand - len(c.settings.String(settingCommandPrefix))
		return protocol.TextCaps{
			PartBytes: room, RefBits: commandBits, Charset: c.charset(), Prefix: o.Prefix,
			Silent: !c.onReply, NotYet: !c.logged,
		}
	case c.fmi == nil:
		caps := o.Caps()
		caps.NotYet = true
		return caps
	}
	return c.fmi.Caps()
}

func (c *codec) options() fmi.Options {
	o := c.shared.fmi.Options(c.settings, true)
	o.Mute = c.mute
	return o
}

// charset is that of commands.
func (c *codec) charset() protocol.Charset { return c.shared.fmi.Charset(c.settings) }

func (c *codec) Recall(learnt uint8) { c.mute = learnt == fmi.Mute }

func (c *codec) Learnt(now time.Time) (learnt uint8, news bool) { return c.fmi.Learnt(now) }

// auxConfirm marks the last event of a packet: AppendReply confirms that, with the CRC in the low
// bits of Event.Aux.
const auxConfirm = 1 << 16

func (c *codec) Decode(frame []byte, emit func(*protocol.Event)) error {
	body, crc, err := inner(frame)
	if err != nil {
		return err
	}
	e := protocol.Event{
		Kind: protocol.KindOther, Msg: uint32(frame[0]),
		Aux: auxConfirm | uint64(crc),
	}
	switch frame[0] {
	case headTags:
		c.tags(parse(body), e, emit)
		return nil
	case headFMI:
		if c.fmi != nil {
			return c.fmi.Decode(body, emit)
		}
		e.Aux = 0 // never confirmed
	case headPhoto, headCompressed:
	default:
		e.Kind, e.Aux = protocol.KindUnknown, 0
	}
	c.events.Emit(emit, e)
	return nil
}

// tags emits what a packet means; e has what all events of it share, and only the last one confirms
// it.
func (c *codec) tags(t tags, e protocol.Event, emit func(*protocol.Event)) {
	if t.hasID {
		c.id = t.id
	}
	login := t.imei != nil && (!c.logged || string(t.imei) != string(c.imei[:]))
	reply := t.hasNumber && t.hasText && c.chat == withCommands && c.onReply
	if login {
		l := e
		l.Kind, l.DeviceID = protocol.KindLogin, string(t.imei)
		if t.more {
			l.Aux = 0
		}
		if !c.logged {
			copy(c.imei[:], t.imei)
		}
		c.events.Emit(emit, l)
		if !t.more {
			return
		}
	}
	if t.positions > 0 && reply {
		c.events.Emit(emit, protocol.Event{
			Kind: protocol.KindPosition, Msg: e.Msg,
			Count: t.positions, Passed: e.Passed,
		})
	}
	switch {
	case reply:
		e.Kind, e.Outcome, e.Ref = protocol.KindAck, protocol.AckDelivered, uint64(t.number)
		if c.failure != nil && c.failure.Match(t.command) {
			e.Outcome = protocol.AckRejected
		}
	case t.positions > 0:
		e.Kind, e.Count = protocol.KindPosition, t.positions
	case !t.more:
		e.Kind = protocol.KindHeartbeat
	}
	c.events.Emit(emit, e)
}

// AppendReply: A packet that could not be dealt with is not confirmed, so that the device sends it
// again.
func (c *codec) AppendReply(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	if fmi.Owns(e) {
		if c.fmi == nil {
			return dst
		}
		return c.fmi.AppendReply(dst, tunnel{}, e, r)
	}
	if e.Kind == protocol.KindLogin && r == protocol.OK && !c.logged {
		c.logged = true
		if c.chat == withFMI {
			c.fmi = c.shared.fmi.NewSession(c.options())
		}
	}
	if e.Aux&auxConfirm == 0 || !c.logged || r != protocol.OK && r != protocol.Invalid {
		return dst
	}
	head := byte(headConfirm)
	if e.Msg == headPhoto {
		head = headPhoto
	}
	return binary.LittleEndian.AppendUint16(append(dst, head), uint16(e.Aux))
}

func (c *codec) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	switch {
	case !c.logged || c.chat == withNone:
		return dst, fmt.Errorf("%w: nothing shows texts", protocol.ErrNotText)
	case c.fmi != nil:
		return c.fmi.AppendText(dst, tunnel{}, t)
	}
	return c.appendCommand(dst, t)
}

// appendCommand writes a text as a command, in one line.
func (c *codec) appendCommand(dst []byte, t protocol.Text) ([]byte, error) {
	o, start := c.options(), len(dst)
	out := appendWho(begin(dst, headTags), c.imei[:], c.id)
	out = append(out, tagNumber)
	out = binary.LittleEndian.AppendUint32(out, uint32(t.Ref))
	out = append(out, tagCommand, 0)
	from := len(out)
	out = append(out, c.settings.String(settingCommandPrefix)...)
	if o.Prefix {
		out = protocol.AppendPrefix(out, t)
	}
	out = c.charset().Append(out, t.Body)
	if len(out)-from > mostCommand {
		return dst, fmt.Errorf("%w: command of %d bytes", protocol.ErrNotText, len(out)-from)
	}
	for i, b := range out[from:] {
		if b < ' ' {
			out[from+i] = ' '
		}
	}
	out[from-1] = byte(len(out) - from)
	return finish(out, start), nil
}

// appendWho appends tags 03 and 04.
func appendWho(dst, imei []byte, id uint16) []byte {
	dst = append(append(dst, tagIMEI), imei...)
	return binary.LittleEndian.AppendUint16(append(dst, tagID), id)
}

// AppendWithdraw: a navigator can delete a text.
func (c *codec) AppendWithdraw(dst []byte, ref uint64) []byte {
	if c.fmi == nil {
		return dst
	}
	return c.fmi.AppendWithdraw(dst, tunnel{}, ref)
}

func (c *codec) Asks(t protocol.Text) error { return c.options().Asks(t) }

func (c *codec) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	if c.fmi == nil {
		return dst, time.Time{}
	}
	return c.fmi.Poll(dst, tunnel{}, now)
}
