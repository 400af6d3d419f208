package jt808_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

var phone2019 = append(make([]byte, 4), phone2013...)

// loggedIn2019 returns a codec of 2019 that has authenticated.
func loggedIn2019(t *testing.T) protocol.Codec {
	t.Helper()
	c := jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), nil))
	auth := append([]byte("\x01A"), make([]byte, 35)...)
	if _, _, err := receive(c, frameFrom(phone2019, 0x0102, 1, auth)); err != nil {
		t.Fatal(err)
	}
	return c
}

// A terminal is told the time in UTC, whatever day it is; its own positions have it at GMT+8.
func TestCalendar(t *testing.T) {
	for at, want := range map[string][3]string{
		"2028-02-29T23:59:59Z":      {"280229235959", "07ec021d173b3b00", "280301075959"},
		"2028-02-28T16:00:00Z":      {"280228160000", "07ec021c10000000", "280229000000"},
		"2026-02-28T23:00:00Z":      {"260228230000", "07ea021c17000000", "260301070000"},
		"2038-01-19T03:14:08Z":      {"380119031408", "07f60113030e0800", "380119111408"},
		"2099-12-31T15:59:59Z":      {"991231155959", "08330c1f0f3b3b00", "991231235959"},
		"2100-01-01T00:00:00Z":      {"000101000000", "0834010100000000", "000101080000"},
		"2026-05-01T01:30:00+02:00": {"260430233000", "07ea041e171e0000", "260501073000"},
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		for long, c := range map[bool]protocol.Codec{
			false: loggedIn(t, nil),
			true:  loggedIn2019(t),
		} {
			for i, query := range []uint16{0x0004, 0x0109} {
				phone := map[bool][]byte{false: phone2013, true: phone2019}[long]
				if _, reply, err := receive(c, frameFrom(phone, query, 2, nil)); err != nil ||
					len(reply) > 0 {
					t.Fatalf("% x, %v", reply, err)
				}
				out, _ := c.Poll(nil, when)
				m := unframe(t, out)
				if len(m) != 1 || m[0].id != query|0x8000 ||
					fmt.Sprintf("%x", m[0].body) != want[i] {
					t.Errorf("%s: %04x was answered by %+v", at, query, m)
				}
				if again, _ := c.Poll(nil, when); len(again) > 0 {
					t.Errorf("%04x was answered twice", query)
				}
			}
		}
		position := unframe(t, x808(t).AppendPosition(nil, 0, 0, when))[0].body
		if got := fmt.Sprintf("%x", position[22:28]); got != want[2] {
			t.Errorf("%s is %s at GMT+8, not %s", at, got, want[2])
		}
	}
}

// Every serial number is given back as it came, and ours go from 65535 to 0 beside those of texts.
func TestCountersAtTheirWrap(t *testing.T) {
	c, ours := loggedIn(t, nil), uint16(0)
	for i := range uint32(1<<16 + 10) {
		serial := uint16(i + 0xFFF0) // the terminal's begin before the wrap
		_, reply, err := receive(c, frame(0x0002, serial, nil))
		if ours++; i > 20 && i%1000 != 0 && i < 1<<16-10 {
			continue // as the others
		}
		m := unframe(t, reply)
		want := append(binary.BigEndian.AppendUint16(nil, serial), 0, 2, 0)
		if err != nil || len(m) != 1 || m[0].serial != ours || !slices.Equal(m[0].body, want) {
			t.Fatalf("heartbeat %d was answered by %+v, not under %d, %v", serial, m, ours, err)
		}
		text, err := c.AppendText(nil, protocol.Text{Ref: uint64(serial), Parts: 1, Body: "a"})
		if m := unframe(t, text); err != nil || m[0].serial != serial {
			t.Fatalf("text %d has %+v, %v", serial, m, err)
		}
	}
}

// An ack is about the text that its two bytes name, also where that is not the newest one, and
// however often a number is used. The id and the result have to be those of an ack.
func TestEveryAckNumber(t *testing.T) {
	c := loggedIn(t, nil)
	refs := []uint16{0xFFFF, 0, 1, 0xFF, 0x100, 0xFF00, 0x7E7D, 0x0001, 0xFFFF}
	for i, ref := range refs {
		choices := []string{"Yes"}[:i%2]
		if _, err := c.AppendText(nil, protocol.Text{
			Ref: uint64(ref), Parts: 1, Body: "a",
			Choices: choices,
		}); err != nil {
			t.Fatal(err)
		}
		id := map[int]uint16{0: 0x8300, 1: 0x8302}[i%2]
		say := func(serial, id uint16, result byte) protocol.Event {
			t.Helper()
			body := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, serial), id)
			events, reply, err := receive(c, frame(0x0001, 9, append(body, result)))
			if err != nil || len(events) != 1 || len(reply) != 0 {
				t.Fatalf("%+v, answered % x, %v", events, reply, err)
			}
			return events[0]
		}
		if e := say(ref, id, 0); e.Kind != protocol.KindAck || e.Ref != uint64(ref) ||
			e.Outcome != protocol.AckDelivered {
			t.Errorf("text %d under %04x: %+v", ref, id, e)
		}
		other := ref ^ 0x0100 // one of an earlier connection
		if e := say(other, 0x8300, 0); e.Kind != protocol.KindAck || e.Ref != uint64(other) {
			t.Errorf("text %d: %+v", other, e)
		}
		for _, wrong := range []uint16{id ^ 2, 0x8301, 0x8001, 0x0083, 0x8200, 0x8400} {
			if e := say(ref, wrong, 0); e.Kind == protocol.KindAck {
				t.Errorf("text %d, message %04x: %+v", ref, wrong, e)
			}
		}
	}
	for result := range 256 {
		want := protocol.AckFailed
		switch result {
		case 0:
			want = protocol.AckDelivered
		case 2:
			want = protocol.AckRejected
		case 3:
			want = protocol.AckUnsupported
		}
		events, _, err := receive(loggedIn(t, nil), frame(0x0001, 9, []byte{
			1, 2, 0x83, 0,
			byte(result),
		}))
		if err != nil || events[0].Outcome != want || events[0].Ref != 0x0102 {
			t.Errorf("result %d: %+v, %v", result, events, err)
		}
	}
}

// The first of parts whose numbers go round is named in 0x8003, in all of its two bytes.
func TestMissingPartsAtTheWrap(t *testing.T) {
	now := time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		codec protocol.Codec
		phone []byte
		want  string
	}{
		"2013": {loggedIn(t, nil), phone2013, "\xff\xfe\x02\x00\x02\x01\x2c"},
		"2019": {loggedIn2019(t), phone2019, "\xff\xfe\x00\x02\x00\x02\x01\x2c"},
	} {
		for n := uint16(1); n < 300; n++ {
			if n == 2 {
				continue
			}
			if _, _, err := receive(c.codec, frameFrom(c.phone, 0x0801, 0xFFFD+n, []byte{
				1, 2, 3,
				4,
			}, 300,
				n)); err != nil {
				t.Fatal(err)
			}
		}
		c.codec.Poll(nil, now)
		out, _ := c.codec.Poll(nil, now.Add(10*time.Second))
		if m := unframe(t, out); len(m) != 1 || m[0].id != 0x8003 || string(m[0].body) != c.want {
			t.Errorf("%s: %+v", name, m)
		}
		for i, n := range []uint16{300, 2} {
			_, reply, err := receive(c.codec, frameFrom(c.phone, 0x0801, 7, []byte{5, 6, 7, 8}, 300,
				n))
			m := unframe(t, reply)
			if err != nil || len(m) != 1+i || string(m[i].body[:4]) != []string{
				"\x00\x07\x08\x01",
				"\x01\x02\x03\x04",
			}[i] {
				t.Errorf("%s: part %d was answered by %+v, %v", name, n, m, err)
			}
		}
	}
}

// What has nothing to show is no text. Where a message is nothing but a text, that is a mistake.
func TestBlankTexts(t *testing.T) {
	settings := map[string]string{"serial_text": "0x41,0xF0", "events": "3=Need fuel"}
	for _, c := range []struct {
		id     uint16
		head   string
		result byte
	}{{0x6006, "\x00", 2}, {0x6006, "\x02", 2}, {0x1300, "\x00\x07", 0}, {0x0900, "\x41", 0}} {
		for _, blank := range []string{"  ", "\t\t\r\n", "\x00\x00", "\x00 "} {
			if c.id == 0x1300 {
				blank = string(unicodeText(blank)[1:])
			}
			events, reply, err := receive(loggedIn(t, settings), frame(c.id, 9,
				[]byte(c.head+blank)))
			m := unframe(t, reply)
			if len(m) != 1 || m[0].body[4] != c.result || (err != nil) != (c.result != 0) {
				t.Errorf("%04x %q: %+v, %v", c.id, c.head+blank, m, err)
			}
			if slices.ContainsFunc(events,
				func(e protocol.Event) bool { return e.Kind == protocol.KindText }) {
				t.Errorf("%04x %q: %+v", c.id, c.head+blank, events)
			}
		}
	}
	for in, want := range map[string]string{
		"\x03": "Need fuel", "\x00": "event 0",
		"\xff": "event 255",
	} {
		events, _, err := receive(loggedIn(t, settings), frame(0x0301, 9, []byte(in)))
		if err != nil || events[0].Text != want {
			t.Errorf("%x: %+v, %v", in, events, err)
		}
	}
	for _, id := range []uint16{0x6006, 0x1300, 0x0900, 0x0301, 0x0302, 0x0801, 0x0200, 0x0704} {
		events, reply, err := receive(loggedIn(t, settings), frame(id, 9, nil))
		if m := unframe(t, reply); err == nil || len(events) != 1 || m[0].body[4] != 2 {
			t.Errorf("%04x without a body: %+v, %+v, %v", id, events, m, err)
		}
	}
}

// Each field of a message is read at its own place and in its whole width.
func TestPlacesOfFields(t *testing.T) {
	item := func(n int) string {
		return string([]byte{byte(n >> 8), byte(n)}) + strings.Repeat("p",
			n)
	}
	for name, c := range map[string]struct {
		id   uint16
		body string
		want protocol.Event
	}{
		"an answer": {0x0302, "\x12\x34\x56", protocol.Event{
			Kind: protocol.KindAnswer,
			Ref:  0x1234, Choice: 0x56,
		}},
		"the shortest": {
			0x0200, strings.Repeat("p", 28),
			protocol.Event{Kind: protocol.KindPosition, Count: 1},
		},
		"a position short": {
			0x0200, strings.Repeat("p", 27),
			protocol.Event{Kind: protocol.KindRefused},
		},
		"no positions": {0x0704, "\x00\x00\x01", protocol.Event{Kind: protocol.KindPosition}},
		"two of two": {
			0x0704, "\x00\x02\x01" + item(28) + item(29),
			protocol.Event{Kind: protocol.KindPosition, Count: 2},
		},
		"two of 257": {
			0x0704, "\x01\x01\x01" + item(28) + item(300),
			protocol.Event{Kind: protocol.KindPosition, Count: 2},
		},
		"two where one is": {
			0x0704, "\x00\x01\x00" + item(28) + item(28),
			protocol.Event{Kind: protocol.KindPosition, Count: 1},
		},
		"one that is short": {
			0x0704, "\x00\x01\x00" + item(27),
			protocol.Event{Kind: protocol.KindRefused},
		},
		"one cut short": {
			0x0704, "\x00\x01\x00" + item(28)[:29],
			protocol.Event{Kind: protocol.KindRefused},
		},
		"half a length": {
			0x0704, "\x00\x02\x00" + item(28) + "\x00",
			protocol.Event{Kind: protocol.KindPosition, Count: 1},
		},
		"a named text": {0x1300, "\x12\x34\x00O\x00K", protocol.Event{
			Kind: protocol.KindText,
			Text: "OK", ReplyTo: 0x1234, Replies: true,
		}},
		"an unnamed one": {0x1300, "\x00\x00\x00O\x00K", protocol.Event{
			Kind: protocol.KindText,
			Text: "OK",
		}},
		"a registration": {0x0100, "pppp" + "mmmmm" + strings.Repeat("o",
			20) + "1234567" + "\x01plate", protocol.Event{
			Kind:     protocol.KindRegister,
			DeviceID: "013812345678", Secret: "1234567",
		}},
		"its shortest": {
			0x0100, "pppp" + "mmmmm" + strings.Repeat("o", 20) + "1234567\x01",
			protocol.Event{
				Kind: protocol.KindRegister, DeviceID: "013812345678",
				Secret: "1234567",
			},
		},
		"that of 2011": {
			0x0100, "pppp" + "mmmmm" + "oooooooo" + "1234567" + "\x01plate",
			protocol.Event{
				Kind: protocol.KindRegister, DeviceID: "013812345678",
				Secret: "1234567",
			},
		},
		"its longest": {
			0x0100, "pppp" + "mmmmm" + "oooooooo" + "12345 \x00" + "\x01plate789012",
			protocol.Event{Kind: protocol.KindRegister, DeviceID: "013812345678", Secret: "12345"},
		},
		"one cut in its id": {
			0x0100, "pppp" + "mmmmm" + "oooooooo" + "123456",
			protocol.Event{Kind: protocol.KindRegister, DeviceID: "013812345678"},
		},
		"an authentication": {0x0102, "CODE\x00\x00", protocol.Event{
			Kind:     protocol.KindLogin,
			DeviceID: "013812345678", Secret: "CODE",
		}},
		"a display's text": {0x0900, "\x41hi\r\n", protocol.Event{
			Kind: protocol.KindText,
			Text: "hi",
		}},
		"of another type": {0x0900, "\x42hi\r\n", protocol.Event{Kind: protocol.KindOther}},
		"a text of UTF-16": {0x6006, "\x01\x04\x14\x04\x30", protocol.Event{
			Kind: protocol.KindText,
			Text: "Да",
		}},
		"a half of UTF-16": {
			0x6006, "\x01\x04\x14\x04",
			protocol.Event{Kind: protocol.KindRefused},
		},
		"a text of UTF-8": {0x6006, "\x02Да", protocol.Event{
			Kind: protocol.KindText,
			Text: "Да",
		}},
		"one with no code": {0x6006, "\x03\x04", protocol.Event{Kind: protocol.KindRefused}},
		"one in no UTF-8":  {0x6006, "\x02\xff", protocol.Event{Kind: protocol.KindRefused}},
		"a short answer":   {0x0302, "\x12\x34", protocol.Event{Kind: protocol.KindRefused}},
		"a short media id": {0x0801, "\x01\x02\x03", protocol.Event{Kind: protocol.KindRefused}},
		"a media id": {
			0x0801, "\x01\x02\x03\x04",
			protocol.Event{Kind: protocol.KindOther},
		},
		"half a reply's ref": {0x1300, "\x12", protocol.Event{Kind: protocol.KindRefused}},
	} {
		codec := loggedIn(t, map[string]string{"serial_text": "0x41"})
		events, _, err := receive(codec, frame(c.id, 0x789A, []byte(c.body)))
		if len(events) == 0 || (err != nil) != (c.want.Kind == protocol.KindRefused) {
			t.Errorf("%s: %+v, %v", name, events, err)
			continue
		}
		e := events[len(events)-1]
		if e.Msg != uint32(c.id) || e.Seq != 0x789A {
			t.Errorf("%s: message %04x %04x", name, e.Msg, e.Seq)
		}
		e.Msg, e.Seq, e.Aux, e.Key, e.Window, e.Fleeting = 0, 0, 0, 0, 0, false
		if e != c.want {
			t.Errorf("%s: %+v", name, e)
		}
	}
	id2019 := strings.Repeat("i", 29) + "9"
	for body, want := range map[string]string{
		"pppp" + strings.Repeat("m", 11) + strings.Repeat("o", 30) + id2019 + "\x01plate": id2019,
		"pppp" + strings.Repeat("m", 11) + strings.Repeat("o", 30) + id2019:               id2019,
	} {
		events, _, err := receive(loggedIn2019(t), frameFrom(phone2019, 0x0100, 1, []byte(body)))
		if err != nil || events[0].Secret != want {
			t.Errorf("a registration of 2019: %+v, %v", events, err)
		}
	}
	for body, want := range map[string]string{
		"\x04CODE" + strings.Repeat("8", 15) + strings.Repeat("\x00", 20): "CODE",
		"\x04CODE": "CODE",
		"\x05CODE": "\x05CODE", "CODE": "CODE", "": "",
	} {
		events, _, err := receive(loggedIn2019(t), frameFrom(phone2019, 0x0102, 1, []byte(body)))
		if err != nil || events[0].Secret != want {
			t.Errorf("%q of 2019: %+v, %v", body, events, err)
		}
	}
}
