package jt808

import (
	"encoding/binary"
	"time"

	"trackchat/protocol"
)

// AppendReply answers with 0x8001, except a registration (0x8100), multimedia (0x8800), and what
// needs no answer.
func (c *codec) AppendReply(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	c.note(e, r)
	switch {
	case e.Msg == 0, e.Msg == msgReply, r == protocol.Later:
		// a lenient login has no message of its own
		return dst
	case e.Kind == protocol.KindRegister:
		return c.appendRegistered(dst, e, r)
	case r == protocol.OK && e.Kind == protocol.KindOther:
		return c.replyOther(dst, e)
	}
	return c.appendResult(dst, e, result(e, r))
}

// note takes the outcome of an event to heart.
func (c *codec) note(e *protocol.Event, r protocol.Result) {
	switch e.Kind {
	case protocol.KindLogin:
		if r == protocol.Later {
			return
		}
		c.set(loggedIn, r == protocol.OK)
		c.set(eventsDue, c.is(loggedIn) && c.settings.String(settingEvents) != "")
	case protocol.KindText:
		if e.Aux&auxKind == auxText && r != protocol.Later && c.assembly != nil {
			c.assembly.settle(uint16(e.Msg), uint16(e.Aux>>16), uint16(e.Aux))
		}
	default:
	}
}

// result is what a general reply says.
func result(e *protocol.Event, r protocol.Result) byte {
	switch {
	case e.Kind == protocol.KindRefused:
		return byte(e.Aux)
	case r == protocol.OK && e.Kind == protocol.KindUnknown && e.Aux&auxKind != auxPart:
		return resultUnsupported
	case r == protocol.OK:
		return resultOK
	case r == protocol.Invalid:
		return resultMalformed
	default:
		return resultFailed
	}
}

func (c *codec) replyOther(dst []byte, e *protocol.Event) []byte {
	switch kind := e.Aux & auxKind; {
	case kind == auxMedia:
		return c.appendMediaReceived(dst, uint32(e.Aux))
	case kind == auxParts:
		return c.appendMediaReceived(c.appendResult(dst, e, resultOK), uint32(e.Aux))
	case kind != auxPart && quiet(e.Msg):
		return dst
	}
	return c.appendResult(dst, e, resultOK)
}

// begin starts a message of ours that is no text; those have serial numbers of their own.
func (c *codec) begin(dst []byte, id uint16) ([]byte, int) {
	dst, start := begin(dst, &c.peer, id, c.serial)
	c.serial++
	return dst, start
}

func (c *codec) appendResult(dst []byte, e *protocol.Event, result byte) []byte {
	dst, start := c.begin(dst, msgServerReply)
	dst = binary.BigEndian.AppendUint16(dst, uint16(e.Seq))
	dst = binary.BigEndian.AppendUint16(dst, uint16(e.Msg))
	return finish(append(dst, result), start)
}

func (c *codec) appendRegistered(dst []byte, e *protocol.Event, r protocol.Result) []byte {
	dst, start := c.begin(dst, msgRegistered)
	dst = binary.BigEndian.AppendUint16(dst, uint16(e.Seq))
	if r != protocol.OK || len(e.Secret) > maxBody-3 {
		return finish(append(dst, refusal(r)), start)
	}
	dst = append(dst, resultOK)
	return finish(append(dst, e.Secret...), start)
}

// appendMediaReceived says that multimedia arrived in full; we do not keep it.
func (c *codec) appendMediaReceived(dst []byte, id uint32) []byte {
	dst, start := c.begin(dst, msgMediaReceived)
	return finish(binary.BigEndian.AppendUint32(dst, id), start)
}

// appendTime answers a time query: BCD[6] of UTC.
func (c *codec) appendTime(dst []byte, now time.Time) []byte {
	dst, start := c.begin(dst, msgTime)
	return finish(appendBCDTime(dst, now.UTC()), start)
}

// appendVendorTime answers the time query of a vendor: UTC as year WORD, then month, day, hour,
// minute and second BYTE each, and a 0 (Xchinchun JT808, 0x8109).
func (c *codec) appendVendorTime(dst []byte, now time.Time) []byte {
	dst, start := c.begin(dst, msgTimeVendor)
	t := now.UTC()
	dst = binary.BigEndian.AppendUint16(dst, uint16(t.Year()))
	dst = append(dst, byte(t.Month()), byte(t.Day()))
	dst = append(dst, byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0)
	return finish(dst, start)
}

// appendBCDTime appends yyMMddHHmmss in the zone of t.
func appendBCDTime(dst []byte, t time.Time) []byte {
	for _, n := range [...]int{
		t.Year() % 100, int(t.Month()), t.Day(), t.Hour(), t.Minute(),
		t.Second(),
	} {
		dst = append(dst, byte(n/10<<4|n%10))
	}
	return dst
}
