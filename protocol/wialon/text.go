package wialon

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"

	"trackchat/protocol"
)

// recordWindow is how long a text in a record with a time is known again: until a device with a full black box has sent it all.
const recordWindow = 24 * time.Hour

// maxParamName bounds the search for the end of a parameter's name, so that a line full of commas costs no more than its length.
const maxParamName = 128

// message decodes #M#text and #M#text;CRC.
func (d *decoding) message() error {
	msg, err := withoutCRC(d.packet.msg, ';', d.packet.version, false)
	if err != nil {
		return d.refuse(answerDamaged, err)
	}
	text, err := d.text(msg)
	if err != nil {
		return d.refuse(answerZero, err)
	}
	d.out(d.driverText(text))
	return nil
}

// driverText is a text that nothing but its words identifies: one that comes again over another connection, shortly after, is the old one whose answer got lost.
func (c *codec) driverText(text string) protocol.Event {
	return protocol.Event{Kind: protocol.KindText, Text: text, Key: max(hash(hashSeed, text), 1), Window: time.Duration(c.repeat) * time.Second, Across: true}
}

// text decodes what a driver wrote and drops control characters. A text of which nothing is left is an error.
func (c *codec) text(b []byte) (string, error) {
	text, err := c.charset().Decode(b)
	if err != nil {
		return "", fmt.Errorf("text: %w", err)
	}
	if strings.ContainsFunc(text, dropped) {
		text = strings.Map(func(r rune) rune {
			if dropped(r) {
				return -1
			}
			return r
		}, text)
	}
	if text == "" {
		return "", fmt.Errorf("%w: empty text", protocol.ErrMalformed)
	}
	return text, nil
}

func dropped(r rune) bool { return unicode.IsControl(r) && r != '\t' }

// texts checks the parameters of a record, name:type:value separated by commas, and returns the values of those that are called text and are of type 3.
func (c *codec) texts(r *record) (texts []string, verdict answer) {
	params := r.f[fieldParams]
	if isNA(params) {
		return nil, answerOne
	}
	for len(params) > 0 {
		name, typ, value, ok := cutParam(params)
		if !ok {
			return nil, answerParams
		}
		end := valueEnd(value, typ)
		value, params = value[:end], bytes.TrimLeft(value[end:], ",")
		if typ != typeString || string(name) != "text" || len(bytes.TrimSpace(value)) == 0 {
			continue
		}
		text, err := c.text(value)
		if err != nil {
			return nil, answerParams
		}
		texts = append(texts, text)
	}
	return texts, answerOne
}

// typeString is the type of a parameter that is text; 1 is whole numbers, 2 fractions.
const typeString = '3'

// cutParam takes name and type off the start of b; value is all the rest of b.
func cutParam(b []byte) (name []byte, typ byte, value []byte, ok bool) {
	colon := bytes.IndexByte(b[:min(len(b), maxParamName)], ':')
	if colon <= 0 || len(b) < colon+3 || b[colon+2] != ':' || bytes.IndexByte(b[:colon], ',') >= 0 {
		return nil, 0, nil, false
	}
	typ = b[colon+1]
	return b[:colon], typ, b[colon+3:], typ >= '1' && typ <= '9'
}

// valueEnd returns where the value at the start of b ends: at a comma. In a string only a comma counts behind which another parameter or nothing comes, so that a driver's own
// commas survive devices that do not replace them.
func valueEnd(b []byte, typ byte) int {
	for i := 0; i < len(b); {
		if b[i] != ',' {
			i++
			continue
		}
		rest := bytes.TrimLeft(b[i:], ",")
		if _, _, _, next := cutParam(rest); typ != typeString || next || len(rest) == 0 {
			return i
		}
		i = len(b) - len(rest)
	}
	return len(b)
}

func (d *decoding) outTexts(r *record, texts []string) {
	for _, text := range texts {
		if isNA(r.f[fieldDate]) {
			d.out(d.driverText(text))
			continue
		}
		h := hash(hash(hash(hashSeed, r.f[fieldDate]), r.f[fieldTime]), text)
		d.out(protocol.Event{Kind: protocol.KindText, Text: text, Key: max(h, 1), Window: recordWindow})
	}
}

// AppendText implements protocol.Codec: #M#text, and in 2.0 ;CRC. A text cannot hold a line's end; it becomes a space.
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
		dst = appendCRC(dst, crc16(dst[body:]))
	}
	return append(dst, '\r', '\n')
}
