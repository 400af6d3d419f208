package jt808

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/protocol"
)

// dedupeWindow is how long a terminal may repeat a message that was not answered in time, where
// nothing tells whether it has seen the answer.
const dedupeWindow = 2 * time.Minute

// text emits what the driver, or a display on his behalf, wrote. A text that cannot be read is
// refused as malformed and never guessed at.
func (c *codec) text(h *header, e protocol.Event, body []byte, emit func(*protocol.Event)) error {
	text, err := c.read(h.id, body)
	if err != nil {
		c.refuse(h, resultMalformed, emit)
		return fmt.Errorf("message %04x: %w", h.id, err)
	}
	e.Kind, e.Text = protocol.KindText, text
	if text == "" {
		e.Kind, e.Aux = protocol.KindOther, 0 // taken, but nothing to show
	} else {
		number := h.first
		e.Fleeting, e.Earlier = true, c.earlier(number)
		if h.id == msgTextReply { // terminals that do not know what they answer say 0
			ref := binary.BigEndian.Uint16(body)
			e.ReplyTo, e.Replies = uint64(ref), ref != 0 || c.newest(ref)
			if c.newest(ref) || ref != 0 && ref == c.before {
				// a text that was written again is answered again
				number, e.Fleeting, e.Earlier = 0, false, false
			}
		}
		e.Key, e.Window = hash(number, h.id, body), dedupeWindow
	}
	c.events.Emit(emit, e)
	return nil
}

// earlier reports whether a message was numbered before the terminal opened this connection.
func (c *codec) earlier(serial uint16) bool { return int16(serial-c.opening) < 0 }

// read returns the text of a body, empty where the message is valid and carries none.
func (c *codec) read(id uint16, body []byte) (string, error) {
	switch id {
	case msgEvent:
		if len(body) < 1 {
			return "", fmt.Errorf("%w: no event", protocol.ErrMalformed)
		}
		return c.eventText(body[0]), nil
	case msgSerial:
		return c.serialText(body)
	case msgTextReply:
		if len(body) < 2 {
			return "", fmt.Errorf("%w: no serial number", protocol.ErrMalformed)
		}
		charset := c.utf16
		if len(body)%2 != 0 { // then it is another one
			charset = c.unnamed(body[2:])
		}
		text, err := decode(charset, body[2:])
		return clean(text), err
	default:
		if len(body) < 1 {
			return "", fmt.Errorf("%w: no encoding", protocol.ErrMalformed)
		}
		switch body[0] {
		case encodingGBK:
			return legible(c.unnamed(body[1:]), body[1:])
		case encodingUnicode:
			return legible(c.utf16, body[1:])
		case encodingUTF8:
			return legible(c.utf8, body[1:])
		}
		return legible(c.unnamed(body), body)
	}
}

// unnamed returns the charset of a text of which nothing says it: that of the settings, unless only
// the other one can be meant.
func (c *codec) unnamed(b []byte) protocol.Charset {
	plain := !slices.ContainsFunc(b, func(x byte) bool { return x >= utf8.RuneSelf })
	switch {
	case plain || !utf8.Valid(b):
		return c.gbk
	case c.settings.String(settingCharset) != charsetUTF8 && likelyGBK(b):
		return c.gbk
	default:
		return c.utf8
	}
}

// likelyGBK reports whether valid UTF-8 that is not ASCII may be GBK all the same: all of it in the
// part of GBK that GB 2312 has, where nearly all Chinese text lies, and no character of three bytes
// in UTF-8, whose first one would begin a rare Chinese character.
func likelyGBK(b []byte) bool {
	for i := 0; i < len(b); i++ {
		switch lead := b[i]; {
		case lead < utf8.RuneSelf:
		case lead < 0xA1 || lead > 0xA9 && lead < 0xB0 || lead > 0xF7 || i+1 == len(b) ||
			b[i+1] < 0xA1:
			return false
		default:
			i++
		}
	}
	return !bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x800 })
}

func (c *codec) eventText(id byte) string {
	events, err := parseEvents(c.settings.String(settingEvents))
	if err == nil {
		for _, e := range events {
			if e.id == id {
				return e.text
			}
		}
	}
	return fmt.Sprintf("event %d", id)
}

// serialText reads 0x0900 (type BYTE, payload). A serial line carries much else: what is of another
// type, or not printable, is no text and no error.
func (c *codec) serialText(body []byte) (string, error) {
	if len(body) < 1 {
		return "", fmt.Errorf("%w: no type", protocol.ErrMalformed)
	}
	if wanted, err := serialType(c.settings.String(settingSerialText), body[0]); err != nil ||
		!wanted {
		return "", err
	}
	text, err := decode(c.serialCharset(c.settings), body[1:])
	if text = strings.TrimRight(text, "\x00\r\n"); err == nil && printable(text) {
		return clean(text), nil
	}
	return "", nil
}

// printable reports whether text has no control characters except those that move the cursor.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) &&
			r != '\r' && r != '\n' && r != '\t'
	})
}

// legible decodes a text that must not be empty.
func legible(cs protocol.Charset, b []byte) (string, error) {
	text, err := decode(cs, b)
	if err != nil {
		return "", err
	}
	if text = clean(text); text == "" {
		return "", fmt.Errorf("%w: empty text", protocol.ErrMalformed)
	}
	return text, nil
}

// decode works on a copy, so that the caller's bytes can stay on its stack.
func decode(cs protocol.Charset, b []byte) (string, error) {
	return cs.Decode(append([]byte(nil), b...))
}

// clean removes the NULs that end a string, byte order marks and control characters except line
// feeds and tabs, and the white space around.
func clean(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if (unicode.IsControl(r) && r != '\n' && r != '\t') || r == '\uFEFF' {
			return -1
		}
		return r
	}, text))
}
