package jt808_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

func TestDerivedVectors(t *testing.T) {
	protocoltest.Derived(t, jt808.New(), protocoltest.Derivation{
		File: vectorsFile, Update: *update, Derive: derive, Secrets: secrets,
		Unescape: unescaped,
		Settings: map[string]string{"serial_text": "0x41,0x42", "events": "3=Need fuel"},
	})
}

// unescaped and escaped turn the escapes of a frame into bytes and back.
func unescaped(b []byte) []byte {
	return []byte(strings.NewReplacer("\x7d\x02", "\x7e", "\x7d\x01", "\x7d").Replace(string(b)))
}

func escaped(b []byte) []byte {
	return []byte(strings.NewReplacer("\x7d", "\x7d\x01", "\x7e", "\x7d\x02").Replace(string(b)))
}

func xor(b []byte) (sum byte) {
	for _, c := range b {
		sum ^= c
	}
	return sum
}

// phoneAndBody returns where the phone of a message lies and where its body begins, of which the
// length in the header tells more than the flag for the form.
func phoneAndBody(raw []byte) (phone, body int) {
	attributes := binary.BigEndian.Uint16(raw[2:])
	length, part := int(attributes&0x3FF), int(attributes>>13&1)*4
	short, long := 12+part, 17+part
	isLong := attributes&0x4000 != 0
	switch len(raw) - 1 - length {
	case short:
		isLong = false
	case long:
		isLong = true
	}
	if isLong && len(raw) > long {
		return 5, long
	}
	return 4, short
}

// derive is the Derive of the frames of JT/T 808. Bytes that take an escape stay where they are.
func derive(s *protocoltest.Scrubber, v protocoltest.Vector, frame []byte) ([]byte, error) {
	s.Keep = "\x7d\x7e"
	if v.BodyOnly() {
		var id uint16
		if _, err := fmt.Sscanf(v.Description, "BODY ONLY 0x%04x", &id); err != nil {
			return nil, err
		}
		body(s, id, frame, false)
		return frame, nil
	}
	raw := unescaped(frame[1 : len(frame)-1])
	off := xor(raw)
	if len(raw) < 13 || !bytes.Equal(escaped(raw), frame[1:len(frame)-1]) {
		return nil, protocoltest.ErrLeftOut
	}
	phone, at := phoneAndBody(raw)
	if at > len(raw)-1 {
		return nil, protocoltest.ErrLeftOut
	}
	serial := 10
	if phone == 5 {
		serial = 15
	}
	s.BCD(raw[phone:serial])
	last := len(raw) - 1
	if attributes := raw[2]; attributes&0x3C != 0 { // in parts, or encrypted
		s.Noise(raw[at:last])
	} else {
		body(s, binary.BigEndian.Uint16(raw), raw[at:last], phone == 5)
	}
	raw[last] = xor(raw[:last]) ^ off
	return append(append([]byte{0x7E}, escaped(raw)...), 0x7E), nil
}

// body scrubs a body by its message id: what is no serial number, id, result, type or length.
func body(s *protocoltest.Scrubber, id uint16, b []byte, long bool) {
	skip := map[uint16]int{
		0x0005: len(b), 0x0301: len(b), 0x0302: len(b), 0x8003: len(b), // numbers
		0x0001: 5, 0x8001: 5, 0x8100: 3, 0x0900: 1, 0x8900: 1, 0x8300: 1, 0x6006: 1, 0x1300: 2,
	}[id]
	skip = min(skip, len(b))
	switch id {
	case 0x0200:
		position(s, b)
	case 0x0201:
		position(s, b[min(2, len(b)):])
	case 0x0704:
		positions(s, b)
	case 0x0801:
		media(s, b)
	case 0x0100:
		register(s, b)
	case 0x0102:
		if long && len(b) > 0 {
			b = b[1:]
		}
		s.Text(b)
	case 0x0104:
		items(s, b[min(3, len(b)):], 4)
	case 0x8103:
		items(s, b[min(1, len(b)):], 4)
	case 0x8301:
		items(s, b[min(2, len(b)):], 1)
	case 0x8302:
		question(s, b)
	case 0x6006, 0x8300, 0x8100, 0x1300:
		s.Text(b[skip:])
	default:
		s.Mixed(b[skip:])
	}
}

// items scrubs values that each have an id and a BYTE of length before them; all of b where they do
// not end with it.
func items(s *protocoltest.Scrubber, b []byte, idBytes int) {
	var values [][]byte
	for rest := b; len(rest) > 0; {
		head := idBytes + 1
		if len(rest) < head || len(rest) < head+int(rest[head-1]) {
			s.Mixed(b)
			return
		}
		n := head + int(rest[head-1])
		values = append(values, rest[head:n])
		rest = rest[n:]
	}
	for _, value := range values {
		s.Mixed(value)
	}
}

// question scrubs flag, length, question, answers.
func question(s *protocoltest.Scrubber, b []byte) {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		s.Mixed(b)
		return
	}
	answers := 2 + int(b[1])
	s.Text(b[2:answers])
	for b = b[answers:]; len(b) > 3 && len(b) >= 3+int(b[2]); b = b[3+int(b[2]):] {
		s.Text(b[3 : 3+int(b[2])])
	}
	s.Mixed(b)
}

// register scrubs province, city, maker, model, terminal, plate.
func register(s *protocoltest.Scrubber, b []byte) {
	at := min(4, len(b))
	s.Noise(b[:at])
	for i, c := range b[at:] {
		if c > 0 && c < ' ' { // the colour of the plate
			s.Text(b[at : at+i])
			at += i + 1
			break
		}
	}
	s.Text(b[at:])
}

// place scrubs latitude and longitude.
func place(s *protocoltest.Scrubber, b []byte) {
	s.Number(b[:4], binary.BigEndian, 1_000_000, 80_000_000)
	s.Number(b[4:8], binary.BigEndian, 1_000_000, 170_000_000)
}

// position scrubs the body of a position: alarms and status stay, and the ids of what follows.
func position(s *protocoltest.Scrubber, b []byte) {
	if len(b) < 28 {
		s.Mixed(b)
		return
	}
	place(s, b[8:])
	s.Number(b[16:18], binary.BigEndian, 1, 3000)
	s.Number(b[18:20], binary.BigEndian, 1, 1200)
	s.Number(b[20:22], binary.BigEndian, 1, 359)
	moment(s, b[22:28])
	items(s, b[28:], 1)
}

// moment scrubs a time in BCD.
func moment(s *protocoltest.Scrubber, b []byte) {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return
	}
	date := s.Date("060102150405")
	for i := range b {
		b[i] = (date[2*i]-'0')<<4 | date[2*i+1] - '0'
	}
}

func positions(s *protocoltest.Scrubber, b []byte) {
	for b = b[min(3, len(b)):]; len(b) > 2; {
		n := 2 + int(binary.BigEndian.Uint16(b))
		if n > len(b) {
			break
		}
		position(s, b[2:n])
		b = b[n:]
	}
	s.Mixed(b)
}

// media scrubs the id, the position and the data.
func media(s *protocoltest.Scrubber, b []byte) {
	if len(b) < 36 {
		s.Noise(b)
		return
	}
	s.Noise(b[:4])
	position(s, b[8:36])
	s.Noise(b[36:])
}

// secrets returns phones, positions and times, and windows of codes and texts.
func secrets(t *testing.T, v protocoltest.Vector, frame []byte) (all [][]byte) {
	t.Helper()
	if v.BodyOnly() {
		return nil
	}
	if !v.Good() { // a position, if it is one, of 2013
		if p := unescaped(frame); v.Message == "0x0200" && len(p) > 41 {
			all = append(all, p[5:11], p[21:25], p[25:29], p[35:41])
		}
		return all
	}
	m := unframe(t, frame)[0]
	all = append(all, m.phone)
	places := map[uint16][]int{0x0200: {0}, 0x0201: {2}, 0x0801: {8}}[m.id]
	if m.id == 0x0704 {
		for at := 5; at+28 <= len(m.body); at += 2 + int(binary.BigEndian.Uint16(m.body[at-2:])) {
			places = append(places, at)
		}
	}
	for _, at := range places {
		if at+28 <= len(m.body) {
			p := m.body[at:]
			all = append(all, p[8:12], p[12:16], p[22:28])
		}
	}
	if m.id == 0x0100 || m.id == 0x0102 || m.id == 0x8100 || m.id == 0x8300 {
		for i := 4; i+6 <= len(m.body); i++ {
			all = append(all, m.body[i:i+6])
		}
	}
	return all
}
