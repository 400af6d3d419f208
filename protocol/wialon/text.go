package wialon

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/protocol"
)

const (
	// recordWindow is how long a text in a record with a time is known again: until a device with a
	// full black box has sent it all.
	recordWindow = 24 * time.Hour
	// undatedWindow is that of a record whose time cannot be read: it may be the same in all of
	// them.
	undatedWindow = 2 * time.Minute
)

// maxParamName bounds the search for the end of a parameter's name, so that a line full of commas
// costs no more than its length.
const maxParamName = 128

// message decodes #M#text and #M#text;CRC.
func (d *decoding) message() error {
	msg, err := withoutCRC(d.packet.msg, ';', d.packet.version, false)
	if err != nil {
		return d.refuse(answerDamaged, err)
	}
	text := d.text(msg)
	if protocol.Blank(text) {
		return d.refuse(answerZero, fmt.Errorf("%w: empty text", protocol.ErrMalformed))
	}
	d.out(d.driverText(text))
	return nil
}

// driverText is a text that nothing but its words identifies: one that comes again over another
// connection, shortly after, is the old one whose answer got lost.
func (c *codec) driverText(text string) protocol.Event {
	return protocol.Event{
		Kind: protocol.KindText, Text: text, Key: max(hash(hashSeed, text), 1),
		Window: time.Duration(c.repeat) * time.Second, Across: true,
	}
}

// text decodes what a driver wrote and drops control characters.
func (c *codec) text(b []byte) string {
	text := c.decode(b)
	if strings.ContainsFunc(text, dropped) {
		text = strings.Map(func(r rune) rune {
			if dropped(r) {
				return -1
			}
			return r
		}, text)
	}
	return text
}

func dropped(r rune) bool { return unicode.IsControl(r) && r != '\t' }

// notInCP1251 is the one byte that windows-1251 gives no character.
const notInCP1251 = 0x98

// decode takes what is no UTF-8 for windows-1251, in which any bytes are text: a device says a text
// that is refused, and the black box around it, for ever.
func (c *codec) decode(b []byte) string {
	if !c.cp1251 {
		if whole := b[:len(b)-cutShort(b)]; utf8.Valid(whole) {
			return string(whole)
		}
	}
	text, err := c.shared.cp1251.Decode(b)
	if err != nil {
		text, _ = c.shared.cp1251.Decode(bytes.ReplaceAll(b, []byte{notInCP1251}, []byte{'?'}))
	}
	return text
}

// cutShort returns how many bytes at the end of b begin a character of UTF-8 that is not whole:
// devices cut long texts anywhere. 0 where nothing before it says that b is UTF-8 at all.
func cutShort(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if end := b[len(b)-n:]; utf8.RuneStart(end[0]) {
			whole := b[:len(b)-n]
			if utf8.FullRune(end) || utf8.RuneCount(whole) == len(whole) {
				return 0
			}
			return n
		}
	}
	return 0
}

// texts returns the values of the parameters that are called text and are of type 3. Parameters are
// name:type:value, separated by commas, with blanks around them; one that cannot be read is passed
// over, and readable is false then. They are the last field, also of a record with too few.
func (c *codec) texts(r *record) (texts []string, readable bool) {
	params := r.f[fieldParams]
	if r.n < extendedFields && r.n != shortFields {
		params = r.f[r.n-1]
	}
	if isNA(params) {
		return nil, true
	}
	readable = true
	for {
		if params = bytes.TrimLeft(params, betweenParams); len(params) == 0 {
			return texts, readable
		}
		name, typ, value, ok := cutParam(params)
		if !ok {
			readable = false
			_, params, _ = bytes.Cut(params, []byte{','})
			continue
		}
		end := valueEnd(value, typ)
		value, params = value[:end], value[end:]
		if typ != typeString || string(name) != "text" {
			continue
		}
		if text := c.text(value); !protocol.Blank(text) {
			texts = append(texts, text)
		}
	}
}

// betweenParams may stand between parameters, and blanks around a name and a type (Wialon IPS 2.2,
// "Additional Parameters": its example has them). A semicolon is of a field too many.
const (
	blanks        = " \t"
	betweenParams = ",;" + blanks
)

// typeString is the type of a parameter that is text; 1 is whole numbers, 2 fractions.
const typeString = '3'

// cutParam takes name and type off the start of b; value is all the rest of b.
func cutParam(b []byte) (name []byte, typ byte, value []byte, ok bool) {
	head := b[:min(len(b), maxParamName)]
	colon := bytes.IndexByte(head, ':')
	if colon <= 0 || bytes.IndexByte(b[:colon], ',') >= 0 {
		return nil, 0, nil, false
	}
	name = b[bytes.LastIndexByte(b[:colon], ';')+1 : colon]
	second := bytes.IndexByte(head[colon+1:], ':')
	if second < 0 {
		return nil, 0, nil, false
	}
	is := bytes.Trim(b[colon+1:colon+1+second], blanks)
	if len(is) != 1 || is[0] < '1' || is[0] > '9' {
		return nil, 0, nil, false
	}
	return bytes.Trim(name, blanks), is[0], b[colon+1+second+1:], true
}

// valueEnd returns where the value at the start of b ends: at a comma. In a string only a comma
// counts behind which another parameter or nothing comes, so that a driver's own commas survive
// devices that do not replace them; a number ends at a semicolon as well.
func valueEnd(b []byte, typ byte) int {
	for i := 0; i < len(b); {
		if b[i] == ';' && typ != typeString {
			return i
		}
		if b[i] != ',' {
			i++
			continue
		}
		rest := bytes.TrimLeft(b[i:], betweenParams)
		if _, _, _, next := cutParam(rest); typ != typeString || next || len(rest) == 0 {
			return i
		}
		i = len(b) - len(rest)
	}
	return len(b)
}

// recordTexts appends the texts of a record as events. One that comes again over another connection
// is the old one, whose answer got lost, unless the device went on after that answer: clocks may
// stand still.
func (c *codec) recordTexts(events []protocol.Event, r *record, texts []string) []protocol.Event {
	date, clock := r.f[fieldDate], r.f[fieldTime]
	for _, text := range texts {
		e := c.driverText(text)
		if !isNA(date) || !isNA(clock) {
			e.Key, e.Fleeting = max(hash(hash(hash(hashSeed, date), clock), text), 1), true
			if e.Window = recordWindow; !validDate(date, clock) {
				e.Window = undatedWindow
			}
		}
		events = append(events, e)
	}
	return events
}

// AppendText: #M#text, and in 2.0 ;CRC. A text cannot hold a line's end; it becomes a space.
func (c *codec) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	dst = append(dst, "#M#"...)
	body := len(dst)
	if c.prefix {
		dst = protocol.AppendPrefix(dst, t)
	}
	dst = c.charset().Append(dst, t.Body)
	c.unanswered = c.nextFrame
	return endMessage(dst, body, c.version), nil
}

// endMessage turns what stands from body on into one line and completes it.
func endMessage(dst []byte, body int, v version) []byte {
	end := body
	for i := body; i < len(dst); i++ {
		b := dst[i]
		switch {
		case b == '\r' && i+1 < len(dst) && dst[i+1] == '\n':
			continue
		case b == '\r', b == '\n':
			b = ' '
		}
		dst[end] = b
		end++
	}
	return endLine(dst[:end], body, v)
}

// endLine appends the CRC of 2.0 over what stands from body on, and the line's end.
func endLine(dst []byte, body int, v version) []byte {
	if v == version2 {
		dst = append(dst, ';')
		dst = appendCRC(dst, protocol.CRC16(0, dst[body:]))
	}
	return append(dst, '\r', '\n')
}
