package fmi_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

// id writes id_size, three bytes and the id of a text: its reference in base 32, and a letter where
// it was renamed.
func id(ref uint64, three, renamed string) string {
	name := strings.ToUpper(fmt.Sprintf("%013s", base32(ref))) + renamed
	return string([]byte{byte(len(name))}) + three + name + strings.Repeat("\x00", 16-len(name))
}

func base32(n uint64) (digits string) {
	for ; n > 0; n /= 32 {
		digits = string("0123456789abcdefghijklmnopqrstuv"[n%32]) + digits
	}
	return digits
}

func le32(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }

// said is what the session makes of a packet, and what it answers.
func said(t *testing.T, s *fmi.Session, in []byte) (protocol.Event, string) {
	t.Helper()
	events, errs := decode(s, in)
	if len(events) != 1 || len(errs) != 0 {
		t.Fatalf("%x became %+v, %v", in, events, errs)
	}
	return events[0], string(s.AppendReply(nil, bare{}, &events[0], protocol.OK))
}

// inFlight is a session with a text on its way.
func inFlight(t *testing.T, v fmi.Version, ref uint64, body string) *fmi.Session {
	t.Helper()
	x := ready(t, v, fmi.Options{Version: v})
	if _, err := x.session.AppendText(nil, bare{}, protocol.Text{
		Ref: ref, Parts: 1,
		Body: body,
	}); err != nil {
		t.Fatal(err)
	}
	return x.session
}

// Times are seconds since the last day of 1989, unsigned; what does not fit is no time.
func TestCalendar(t *testing.T) {
	day := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for at, want := range map[time.Time]uint32{
		day("1989-12-30T23:59:59.999Z"): math.MaxUint32, day("1989-12-31T00:00:00Z"): 0,
		day("1990-01-01T00:00:00.999Z"): 86_400,
		day("2000-02-29T12:00:00Z"):     320_760_000, day("2028-02-29T23:59:59Z"): 1_204_415_999,
		day("2028-03-01T02:00:00+03:00"): 1_204_412_400,
		day("2038-01-19T03:14:07Z"):      1_516_418_047, day("2038-01-19T03:14:08Z"): 1_516_418_048,
		day("2058-01-18T03:14:08Z"): 1 << 31,
		day("2126-02-06T06:28:14Z"): math.MaxUint32 - 1,
		day("2126-02-06T06:28:15Z"): math.MaxUint32,
		day("2126-02-06T06:28:16Z"): math.MaxUint32,
	} {
		for v, place := range map[fmi.Version]int{fmi.A602: 5, fmi.A604: 5, fmi.A611: 5} {
			x := ready(t, v, fmi.Options{Version: v})
			out, err := x.session.AppendText(nil, bare{}, protocol.Text{
				Parts: 1, Body: "a",
				AtMs: at.UnixMilli(),
			})
			whole := bytes.ReplaceAll(out, []byte("\x10\x10"), []byte("\x10"))
			if got := string(whole[place : place+4]); err != nil || got != le32(want) {
				t.Errorf("%v: %x, not %x, %v", at, got, le32(want), err)
			}
		}
	}
}

// 0024 and 0026: where their fields are, and that each of their bytes counts. The receipt names the
// number as it came.
func TestFieldsOfADriversText(t *testing.T) {
	place := "\x01\x02\x03\x04\x05\x06\x07\x08"
	none := strings.Repeat("\x00", 20)
	packets := map[string]func(at, unique uint32, text string) []byte{
		"0024": func(at, unique uint32, text string) []byte {
			return fleet(0x24,
				le32(at)+le32(unique)+text)
		},
		"0026": func(at, unique uint32, text string) []byte {
			return fleet(0x26,
				le32(at)+place+le32(unique)+none+text)
		},
	}
	for name, packet := range packets {
		say := func(at, unique uint32, text string) protocol.Event {
			e, reply := said(t, ready(t, fmi.A611, fmi.Options{}).session, packet(at, unique, text))
			if want := string(fleet(0x25, le32(unique))); reply != want {
				t.Errorf("%s %x was answered by %x, not %x", name, unique, reply, want)
			}
			if e.Replies {
				t.Errorf("%s: %+v", name, e)
			}
			return e
		}
		base := say(0x3FB6A500, 0x10, "Need fuel\x00")
		if base.Kind != protocol.KindText || base.Text != "Need fuel" ||
			base.Window != 24*time.Hour {
			t.Errorf("%s: %+v", name, base)
		}
		for at, c := range map[string]protocol.Event{
			"no NUL": say(0x3FB6A500, 0x10, "Need fuel"), "more behind it": say(0x3FB6A500, 0x10,
				"Need fuel\x00x\x00"),
		} {
			if c.Key != base.Key || c.Text != base.Text {
				t.Errorf("%s, %s: %+v", name, at, c)
			}
		}
		for shift := range 4 {
			for field, e := range map[string]protocol.Event{
				"time":   say(0x3FB6A500^1<<(8*shift+7), 0x10, "Need fuel\x00"),
				"number": say(0x3FB6A500, 0x10^1<<(8*shift+7), "Need fuel\x00"),
			} {
				if e.Key == base.Key || e.Window != base.Window {
					t.Errorf("%s, another %s at byte %d: %+v", name, field, shift, e)
				}
			}
		}
		for at, window := range map[uint32]time.Duration{
			0: 2 * time.Minute, 1: 24 * time.Hour, math.MaxUint32 - 1: 24 * time.Hour,
			math.MaxUint32: 2 * time.Minute,
		} {
			if e := say(at, 0xFFFFFFFF, "OK\x00"); e.Window != window {
				t.Errorf("%s at %x: %+v", name, at, e)
			}
		}
		for _, blank := range []string{
			"", "\x00", " \x00", "\t\r\n \x00", "\x00words",
			"\x01\x1b\x00",
		} {
			if e := say(7, 7, blank); e.Kind != protocol.KindOther || e.Text != "" {
				t.Errorf("%s %q: %+v", name, blank, e)
			}
		}
	}
	for ref, of := range map[uint64]string{
		0: id(0, "\x00\x00\x00", ""), 0x0123456789ABCDEF: id(0x0123456789ABCDEF, "\x00\x00\x00",
			""),
		math.MaxUint64: id(math.MaxUint64, "\x00\x00\x00", "b"),
	} {
		e, _ := said(t, ready(t, fmi.A611, fmi.Options{}).session, fleet(0x26,
			le32(7)+place+le32(8)+of+"OK\x00"))
		if !e.Replies || e.ReplyTo != ref || e.Text != "OK" {
			t.Errorf("a reply to %x: %+v", ref, e)
		}
	}
}

// Of all results of the receipts these deliver a text, and of the statuses these.
func TestEveryReceipt(t *testing.T) {
	const ref = 0xFEDCBA9876543210
	about := func(three, renamed string) string {
		return "\x01\x02\x03\x04" + id(ref, three,
			renamed)
	}
	for n := range 256 {
		code := string([]byte{byte(n)})
		for name, c := range map[string]struct {
			v    fmi.Version
			in   []byte
			want func() (protocol.Outcome, string)
		}{
			"002B": {fmi.A604, fleet(0x2B, about(code+"\x00\x00", "")), func() (protocol.Outcome,
				string,
			) {
				if n == 0 {
					return protocol.AckLater, string(fleet(0x40, id(ref, "\x00\x00\x00", "")))
				}
				return protocol.AckDelivered, ""
			}},
			"0056": {fmi.A611, fleet(0x56, about(code+"\x01\x00", "")), func() (protocol.Outcome,
				string,
			) {
				switch n {
				case 0:
					return protocol.AckDelivered, ""
				case 4:
					return protocol.AckLater, string(fleet(0x40, id(ref, "\x00\x00\x00", "")))
				case 3, 5, 12, 13, 14, 15:
					return protocol.AckStorage, ""
				}
				return protocol.AckLater, string(fleet(0x2D, id(ref, "\x00\x00\x00", "")))
			}},
			"0041": {fmi.A604, fleet(0x41, id(ref, code+"\x00\x00", "")), func() (protocol.Outcome,
				string,
			) {
				return map[int]protocol.Outcome{
					0: protocol.AckDelivered, 1: protocol.AckOpened,
					2: protocol.AckFailed,
				}[n], ""
			}},
		} {
			e, reply := said(t, inFlight(t, c.v, ref, "Hi"), c.in)
			want, answer := c.want()
			if e.Outcome != want || e.Ref != ref || (e.Kind == protocol.KindAck) != (want != 0) ||
				reply != answer {
				t.Errorf("%s with %d: %+v, %x", name, n, e, reply)
			}
		}
	}
	for name, strange := range map[string]string{
		"size":          "\x0c" + id(ref, "\x01\x00\x00", "")[1:],
		"letter":        strings.Replace(id(ref, "\x01\x00\x00", ""), "F", "f", 1),
		"padding":       id(ref, "\x01\x00\x00", "")[:19] + "x",
		"tenth name":    id(ref, "\x01\x00\x00", "j"),
		"beyond 64 bit": "\x0d\x01\x00\x00" + "G000000000000\x00\x00\x00",
	} {
		for packet, in := range map[uint16]string{
			0x2B: "\x01\x02\x03\x04" + strange,
			0x41: strange,
		} {
			if e, _ := said(t, inFlight(t, fmi.A604, ref, "Hi"), fleet(packet,
				in)); e.Kind != protocol.KindOther {
				t.Errorf("%04x with another %s: %+v", packet, name, e)
			}
		}
	}
	for _, renamed := range []string{"a", "i"} {
		e, _ := said(t, inFlight(t, fmi.A604, ref, "Hi"), fleet(0x2B, about("\x01\x00\x00",
			renamed)))
		if e.Outcome != protocol.AckDelivered || e.Ref != ref {
			t.Errorf("under the name with %s: %+v", renamed, e)
		}
	}
}

// Only the last segment's receipt delivers a text of several, and each brings the next one.
func TestSegments(t *testing.T) {
	body := strings.Repeat("0123456789", 45)
	receipt := func(result, finished, sequence string) []byte {
		return fleet(0x56, "\x01\x02\x03\x04"+id(7, result+finished+sequence, ""))
	}
	segment := func(n int, finished string) string {
		part := body[200*n : min(200*(n+1), len(body))]
		if finished == "\x01" {
			part += "\x00"
		}
		return string(fleet(0x55, le32(math.MaxUint32)+id(7,
			"\x00"+finished+string([]byte{byte(n)}),
			"")+part))
	}
	s := inFlight(t, fmi.A611, 7, body)
	for i, step := range []struct {
		in      []byte
		outcome protocol.Outcome
		reply   string
	}{
		{receipt("\x00", "\x00", "\x01"), 0, ""}, // of a segment that was not sent
		{receipt("\x00", "\x01", "\x02"), 0, ""},
		{receipt("\x00", "\x00", "\x00"), protocol.AckLater, segment(1, "\x00")},
		{receipt("\x00", "\x00", "\x00"), 0, ""}, // repeated
		{receipt("\x00", "\x00", "\x01"), protocol.AckLater, segment(2, "\x01")},
		{receipt("\x00", "\x01", "\x01"), 0, ""},
		{receipt("\x00", "\x00", "\x02"), 0, ""}, // it says that more has to come
		{receipt("\x00", "\x01", "\x02"), protocol.AckDelivered, ""},
	} {
		if e, reply := said(t, s, step.in); e.Outcome != step.outcome || reply != step.reply {
			t.Errorf("step %d: %+v, %x", i, e, reply)
		}
	}
}

// The driver's answer names its choice in four bits of a number whose mark is its thirtieth.
func TestNumbersOfAnswers(t *testing.T) {
	const ref = 0x1F
	for response, choice := range map[uint32]int{
		0: 0, 1: 0, 2: 0, 1 << 30: 0, 1<<30 | 1: 1, 1<<30 | 8: 8, 1<<30 | 9: 0, 1<<30 | 15: 0,
		1<<30 | 1<<4:       0,
		1<<30 | 0x3FFFFFF3: 3, 0x3FFFFFF3: 0, 0x80000003: 0, 0xC0000003: 3,
	} {
		keys := map[uint64]bool{}
		for _, r := range []uint64{ref, ref + 1, ref + 1<<63} {
			e, reply := said(t, inFlight(t, fmi.A604, r, "Hi"), fleet(0x20, "\x01\x02\x03\x04"+id(r,
				"\x00\x00\x00", "")+le32(response)))
			kind := protocol.KindAck
			if choice > 0 {
				kind = protocol.KindAnswer
			}
			if e.Kind != kind || e.Choice != choice || e.Ref != r || kind == protocol.KindAck &&
				e.Outcome != protocol.AckOpened {
				t.Errorf("answer %x to %x: %+v", response, r, e)
			}
			if want := string(fleet(0x2C, id(r, "\x00\x00\x00", ""))); reply != want {
				t.Errorf("answer %x to %x was answered by %x", response, r, reply)
			}
			keys[e.Key] = true
		}
		if want := map[bool]int{true: 3, false: 1}[choice > 0]; len(keys) != want {
			t.Errorf("answer %x: keys %v", response, keys)
		}
	}
}

// What is answered about a text that was renamed has its new name.
func TestAnswerToARenamedText(t *testing.T) {
	of := id(7, "\x00\x00\x00", "c")
	e, reply := said(t, inFlight(t, fmi.A604, 7, "Hi"), fleet(0x20, le32(1)+of+le32(1<<30|2)))
	if e.Kind != protocol.KindAnswer || e.Ref != 7 || reply != string(fleet(0x2C, of)) {
		t.Errorf("%+v, %x", e, reply)
	}
	_, reply = said(t, inFlight(t, fmi.A604, 7, "Hi"), fleet(0x2B, le32(1)+id(7, "\x00\x00\x00",
		"c")))
	if reply != string(fleet(0x40, of)) {
		t.Errorf("%x", reply)
	}
}

// Canned answers of other words have other numbers: a client shows what it has stored for one.
func TestNumbersOfCannedAnswers(t *testing.T) {
	numbers := map[string]bool{}
	for n := range 64 {
		x := ready(t, fmi.A604, fmi.Options{})
		word := fmt.Sprintf("Answer %d", n)
		out, err := x.session.AppendText(nil, bare{}, protocol.Text{
			Ref: 7, Parts: 1, Body: "?",
			Choices: []string{word},
		})
		raw := strings.ReplaceAll(string(out), "\x10\x10", "\x10")
		if err != nil || raw[3:5] != "\x30\x00" || raw[5]&0x0F != 1 || raw[8]&0xC0 != 0x40 {
			t.Fatalf("%x, %v", out, err)
		}
		numbers[raw[5:9]] = true
	}
	if len(numbers) != 64 {
		t.Errorf("%d numbers for 64 answers", len(numbers))
	}
}

// Another driver, or another duty: the receipt has the number and the driver's index.
func TestDriversAndDuties(t *testing.T) {
	const change, at = "\x11\x22\x33\x44", "\x55\x66\x77\x08"
	for in, c := range map[string]struct {
		packet  uint16
		receipt string
	}{
		change + at + "Ann\x00":                               {0x0811, "0812\x00"},
		change + at + "\x05\x00\x00\x00Ann\x00":               {0x0813, "0812\x05"},
		change + at + "\x06\x00\x00\x00":                      {0x0821, "0822\x00"},
		change + at + "\x06\x00\x00\x00" + "\x07\x00\x00\x00": {0x0823, "0822\x07"},
		change + at:          {0x0811, "0812\x00"},
		change + at + "\x09": {0x0813, "0812\x09"},
		change + at + "\x06\x00\x00\x00" + "\x0a":                 {0x0823, "0822\x0a"},
		change + at + strings.Repeat("\xff", 4) + "\xff" + "rest": {0x0823, "0822\xff"},
	} {
		packet := map[string]uint16{"0812": 0x0812, "0822": 0x0822}[c.receipt[:4]]
		want := string(fleet(packet, change+"\x01"+c.receipt[4:]+"\x00\x00"))
		e, reply := said(t, ready(t, fmi.A604, fmi.Options{}).session, fleet(c.packet, in))
		if e.Kind != protocol.KindOther || reply != want {
			t.Errorf("%04x %x: %+v, %x, not %x", c.packet, in, e, reply, want)
		}
	}
	for packet, least := range map[uint16]int{0x0811: 8, 0x0813: 9, 0x0821: 12, 0x0823: 13} {
		events, errs := decode(ready(t, fmi.A604, fmi.Options{}).session, fleet(packet,
			strings.Repeat("x", least-1)))
		if len(errs) != 1 || events[0].Kind != protocol.KindRefused {
			t.Errorf("%04x with %d bytes: %+v, %v", packet, least-1, events, errs)
		}
	}
}

// Which protocols the client speaks: a letter and a number of two bytes each.
func TestProtocolsOfTheClient(t *testing.T) {
	for said, most := range map[string]int{
		"": 199, "A\x5a\x02": 199, "A\x5a\x02A\x5c\x02": 199, "A\x63\x02": 1999,
		"A\x63\x02A\x5a\x02": 1999,
		"D\x63\x02":          199, "A\x02\x63": 199, "A\x63\x03": 199, "A\x63": 199,
		"D\x5a\x02A\x63\x02": 1999,
		"A\x62\x02":          199,
	} {
		s := ready(t, fmi.A604, fmi.Options{AskA1: true}).session
		decode(s, fleet(0x03, said))
		if caps := s.Caps(); caps.PartBytes != most {
			t.Errorf("%q: %d bytes, not %d", said, caps.PartBytes, most)
		}
		knows := most == 1999 || strings.Contains(said, "A\x5c\x02") // more than A602
		if choices := s.Caps().Choices; (choices > 0) != knows {
			t.Errorf("%q: %d choices", said, choices)
		}
	}
}
