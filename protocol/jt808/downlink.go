package jt808

import (
	"encoding/binary"
	"errors"
	"fmt"

	"trackchat/protocol"
)

// AppendText writes 0x8300, or 0x8302 for a question to a terminal of 2011 or 2013. The serial
// number is the reference. A question that is too long for its length byte is shown as a text
// without its answers: the driver can still write.
func (c *codec) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	if !c.is(known) {
		return dst, fmt.Errorf("%w: the form of the header is not known before the first frame",
			protocol.ErrNotText)
	}
	if n := len(t.Choices); n > 0 && n <= maxChoices && t.Part == t.Parts-1 && !c.peer.long &&
		!c.is(noAsking) {
		if out, ok := c.appendQuestion(dst, t); ok {
			c.sent(&t, true)
			return out, nil
		}
	}
	out, start := begin(dst, &c.peer, msgShow, uint16(t.Ref))
	body := len(out)
	out = append(out, c.flagsOf(t.Urgent))
	if c.peer.long {
		out = append(out, byte(c.settings.Int(settingTextType)))
	}
	out = c.appendBody(out, t)
	if n := len(out) - body; n > maxBody {
		return dst, fmt.Errorf("%w: %d bytes in one message", protocol.ErrNotText, n)
	}
	c.sent(&t, false)
	return finish(out, start), nil
}

// sent notes what the terminal may acknowledge.
func (c *codec) sent(t *protocol.Text, question bool) {
	if c.is(wrote) && c.ref != uint16(t.Ref) {
		c.before = c.ref
	}
	c.ref = uint16(t.Ref)
	c.set(wrote|awaited, true)
	c.set(asked, question)
}

func (c *codec) appendBody(dst []byte, t protocol.Text) []byte {
	if c.settings.Bool(settingPartPrefix) {
		dst = protocol.AppendPrefix(dst, t)
	}
	return c.charset(c.settings).Append(dst, t.Body)
}

func (c *codec) textFlags() byte {
	switch {
	case c.settings.String(settingTextFlags) != "":
		return byte(c.settings.Int(settingTextFlags))
	case c.peer.long:
		return flagsDisplay2019
	default:
		return flagDisplay
	}
}

// flagsOf returns the flags of a text; an urgent one is shown and read aloud as well, whatever the
// others are.
func (c *codec) flagsOf(urgent bool) byte {
	flags := c.textFlags()
	switch {
	case !urgent:
		return flags
	case c.peer.long:
		return flags&^kindMask | kindUrgent | flagDisplay | flagSpeak
	default:
		return flags | flagUrgent | flagDisplay | flagSpeak
	}
}

// mostQuestion is how many bytes of text a question can have.
const mostQuestion = 0xFF

// appendQuestion appends flag BYTE, length BYTE and question, then for each answer id BYTE, length
// WORD and text (8.25).
func (c *codec) appendQuestion(dst []byte, t protocol.Text) ([]byte, bool) {
	out, start := begin(dst, &c.peer, msgAsk, uint16(t.Ref))
	body := len(out)
	out = append(out, 0, 0)
	if t.Urgent || c.settings.String(settingTextFlags) != "" {
		out[body] = c.flagsOf(t.Urgent) & questionFlags
	}
	out = c.appendBody(out, t)
	length, charset := len(out)-body-2, c.charset(c.settings)
	if length > mostQuestion {
		return dst, false
	}
	out[body+1] = byte(length)
	for i, choice := range t.Choices {
		out = append(out, byte(i+1), 0, 0)
		at := len(out)
		out = charset.Append(out, choice)
		binary.BigEndian.PutUint16(out[at-2:], uint16(min(len(out)-at, 0xFFFF)))
	}
	if len(out)-body > maxBody {
		return dst, false
	}
	return finish(out, start), true
}

var errAnswers = errors.New("answers beside more than 255 bytes of text, or more than 1023 in all")

func (c *codec) Asks(t protocol.Text) error {
	if _, ok := c.appendQuestion(nil, t); !ok {
		return errAnswers
	}
	return nil
}

// setEvents is the type of 0x8301 that adds events and replaces those of the same number (8.23).
const setEvents = 1

// appendEvents sets the driver's menu: type BYTE, count BYTE, then id BYTE, length BYTE and text
// each. What fits in GBK may not in UTF-8: an event that takes too much room then is left out.
func (c *codec) appendEvents(dst []byte) []byte {
	events, err := parseEvents(c.settings.String(settingEvents))
	if err != nil || len(events) == 0 || c.peer.long {
		return dst
	}
	charset := c.charset(c.settings)
	dst, start := c.begin(dst, msgSetEvents)
	body := len(dst)
	dst = append(dst, setEvents, 0)
	for _, e := range events {
		at := len(dst)
		dst = charset.Append(append(dst, e.id, 0), e.text)
		size := len(dst) - at - 2
		if size > 0xFF || len(dst)-body > maxBody {
			dst = dst[:at]
			continue
		}
		dst[at+1] = byte(size)
		dst[body+1]++
	}
	return finish(dst, start)
}
