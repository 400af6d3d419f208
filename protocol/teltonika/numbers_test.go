package teltonika_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/teltonika"
)

// imeiBCD is how codecs 14 and 15 write the IMEI.
const imeiBCD = "\x03\x52\x09\x30\x81\x45\x22\x51"

// item is one command of codecs 12 to 15, without what goes before it.
func item(typ byte, payload string) string {
	return string(binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(payload)))) + payload
}

// items is a packet of one of these codecs.
func items(codec byte, each ...string) []byte {
	n := byte(len(each))
	return packet(append(append([]byte{codec, n}, strings.Join(each, "")...), n)...)
}

// A line's time tells it from the same words at another one, in all of its four bytes, and 0 is no
// time. What stands before the line depends on the codec.
func TestTimesOfLines(t *testing.T) {
	keys := map[uint64]string{}
	for _, at := range []uint32{
		0, 1, 1 << 8, 1 << 16, 1 << 24, 0x7FFFFFFF, 0x80000000,
		0xFFFFFFFF,
	} {
		when := string(binary.BigEndian.AppendUint32(nil, at))
		window := 24 * time.Hour
		if at == 0 {
			window = 10 * time.Second
		}
		var key uint64
		for codec, before := range map[byte]string{13: when, 15: when + imeiBCD} {
			events, reply, err := open(t, map[string]string{"chat": "serial"}).send(items(codec,
				item(6,
					before+"OK\r\n")))
			if err != nil || len(events) != 1 || len(reply) != 0 {
				t.Fatalf("%+v, %x, %v", events, reply, err)
			}
			e := events[0]
			if e.Text != "OK" || e.Window != window || !e.Across || key != 0 && e.Key != key {
				t.Errorf("codec %d at %x: %+v", codec, at, e)
			}
			key = e.Key
		}
		if other, known := keys[key]; known {
			t.Errorf("at %x: the key of %s", when, other)
		}
		keys[key] = fmt.Sprintf("%x", when)
	}
	for codec, before := range map[byte]string{12: "", 14: imeiBCD} {
		events, _, err := open(t, map[string]string{"chat": "serial"}).send(items(codec, item(6,
			before+"OK\r\n")))
		if err != nil || len(events) != 1 || events[0].Text != "OK" ||
			keys[events[0].Key] != "00000000" {
			t.Errorf("codec %d: %+v, %v", codec, events, err)
		}
	}
}

// Sizes and counts hold to the byte.
func TestSizesOfCommands(t *testing.T) {
	serial := map[string]string{"chat": "serial"}
	for name, c := range map[string]struct {
		in    []byte
		texts []string // nil: refused
	}{
		"two": {items(12, item(6, "a\r\n"), item(6, "b\r\n")), []string{"a", "b"}},
		"of 300 bytes": {
			items(12, item(6, strings.Repeat("a", 298)+"\r\n")),
			[]string{strings.Repeat("a", 298)},
		},
		"none":                   {items(12), []string{}},
		"a type not chosen":      {items(12, item(5, "a\r\n")), []string{}},
		"a type beyond":          {items(12, item(0x16, "a\r\n")), []string{}},
		"of no bytes":            {items(12, item(6, "")), []string{}},
		"a time and no more":     {items(13, item(6, "\x00\x00\x00\x07")), []string{}},
		"half a time":            {items(13, item(6, "\x00\x00\x07")), nil},
		"an IMEI and no more":    {items(14, item(6, imeiBCD)), []string{}},
		"half an IMEI":           {items(14, item(6, imeiBCD[1:])), nil},
		"both and no more":       {items(15, item(6, imeiBCD+"\x00\x00\x00\x07")), []string{}},
		"both but a byte":        {items(15, item(6, imeiBCD+"\x00\x00\x07")), nil},
		"less than it says":      {packet([]byte("\x0c\x01\x06\x00\x00\x00\x04a\r\n\x01")...), nil},
		"more than it says":      {packet([]byte("\x0c\x01\x06\x00\x00\x00\x02a\r\n\x01")...), nil},
		"a large size":           {packet([]byte("\x0c\x01\x06\x01\x00\x00\x03a\r\n\x01")...), nil},
		"the largest size":       {packet([]byte("\x0c\x01\x06\xff\xff\xff\xffa\r\n\x01")...), nil},
		"a head cut short":       {packet([]byte("\x0c\x01\x06\x00\x00\x00\x01")...), nil},
		"other counts":           {packet([]byte("\x0c\x01\x06\x00\x00\x00\x03a\r\n\x02")...), nil},
		"two of which one comes": {packet([]byte("\x0c\x02\x06\x00\x00\x00\x03a\r\n\x02")...), nil},
	} {
		events, reply, err := open(t, serial).send(c.in)
		if len(reply) != 0 || (err != nil) != (c.texts == nil) {
			t.Errorf("%s: %+v, %x, %v", name, events, reply, err)
		}
		texts := []string{}
		for _, e := range events {
			if e.Kind == protocol.KindText {
				texts = append(texts, e.Text)
			}
		}
		if c.texts != nil && !slices.Equal(texts, c.texts) {
			t.Errorf("%s: %q", name, texts)
		}
	}
}

// Positions are answered with their number as the device counts it, and each takes its room.
func TestCountsOfPositions(t *testing.T) {
	for codec, least := range map[byte]int{7: 5, 8: 30, 0x8E: 38, 0x10: 32} {
		for _, n := range []int{0, 1, 2, 127, 128, 255} {
			for _, less := range []int{0, 1} {
				records := make([]byte, max(n*least-less, 0))
				in := packet(append(append([]byte{codec, byte(n)}, records...), byte(n))...)
				events, reply, err := open(t, nil).send(in)
				if less == 1 && n > 0 {
					if err == nil || len(events)+len(reply) > 0 {
						t.Errorf("codec %02x: %d records in %d bytes: %+v, %x", codec, n,
							len(records), events, reply)
					}
					continue
				}
				if err != nil || len(events) != 1 || events[0].Count != n ||
					binary.BigEndian.Uint32(reply) != uint32(n) {
					t.Errorf("codec %02x: %d records: %+v, %x, %v", codec, n, events, reply, err)
				}
			}
		}
	}
	for _, codec := range []byte{6, 9, 0x0B, 0x11, 0x8D, 0x8F} {
		in := packet(append(append([]byte{codec, 1}, make([]byte, 40)...), 1)...)
		if events, reply, err := open(t, nil).send(in); err != nil ||
			events[0].Kind != protocol.KindUnknown || len(reply) > 0 {
			t.Errorf("codec %02x: %+v, %x, %v", codec, events, reply, err)
		}
	}
}

// A terminal's number is decimal and has 16 bits.
func TestNumbersOfAcks(t *testing.T) {
	set := map[string]string{"chat": "serial", "ack_pattern": `^A(.*)$`}
	for line, ref := range map[string]int{
		"A0": 0, "A1": 1, "A007": 7, "A65535": 65_535, "A65536": -1, "A131071": -1,
		"A4294967296":           -1,
		"A18446744073709551617": -1, "A": -1, "A1x": -1, "A1/": -1, "A1:": -1,
	} {
		events, _, err := open(t, set).send(command(6, line+"\r\n"))
		if err != nil || len(events) != 1 || (events[0].Kind == protocol.KindAck) != (ref >= 0) {
			t.Errorf("%q: %+v, %v", line, events, err)
			continue
		}
		if e := events[0]; ref >= 0 && (e.Ref != uint64(ref) ||
			e.Outcome != protocol.AckDelivered) {
			t.Errorf("%q: %+v", line, e)
		}
	}
	for _, ref := range []uint64{0, 9, 10, 65_535} {
		out, err := open(t, set).codec.AppendText(nil, protocol.Text{
			Ref: ref, Parts: 1,
			Body: "Hi",
		})
		if want := command(0x0E, fmt.Sprintf("M%d:Hi\r\n", ref)); err != nil ||
			!slices.Equal(out, want) {
			t.Errorf("text %d: %x, %v", ref, out, err)
		}
	}
	for _, blank := range []string{
		"\r\n", " \t \r\n", "\n\n\r", "\x00\x00\r\n", "\x1b \x7f\r\n",
		"\u00a0\r\n",
	} {
		events, _, err := open(t, set).send(command(6, blank))
		if err != nil || len(events) != 1 || events[0].Kind != protocol.KindOther {
			t.Errorf("%q: %+v, %v", blank, events, err)
		}
	}
}

// Only type 11 of codec 14 refuses a text, and type 06 says that the tracker took it.
func TestAnswersOfTheTracker(t *testing.T) {
	for codec, before := range map[byte]string{12: "", 14: imeiBCD} {
		for typ := range 256 {
			s := open(t, map[string]string{
				"chat": "serial", "up_types": "11,15",
				"down_codec": "14",
			})
			if _, err := s.codec.AppendText(nil, protocol.Text{
				Ref: 77, Parts: 1,
				Body: "Hi",
			}); err != nil {
				t.Fatal(err)
			}
			want := protocol.Event{Kind: protocol.KindOther}
			switch {
			case codec == 14 && typ == 0x11:
				want = protocol.Event{
					Kind: protocol.KindAck, Outcome: protocol.AckRejected,
					Ref: 77,
				}
			case typ == 6:
				want = protocol.Event{
					Kind: protocol.KindEvidence, Outcome: protocol.Accepted,
					Ref: 77,
				}
			case typ == 11, typ == 15:
				want = protocol.Event{Kind: protocol.KindText, Text: "x"}
			}
			events, reply, err := s.send(items(codec, item(byte(typ), before+"x\r\n")))
			if err != nil || len(events) != 1 || len(reply) > 0 {
				t.Fatalf("%+v, %x, %v", events, reply, err)
			}
			e := events[0]
			if e.Msg != uint32(codec)|uint32(typ)<<8 {
				t.Errorf("codec %d type %x: message %x", codec, typ, e.Msg)
			}
			e.Msg, e.Key, e.Window, e.Across = 0, 0, 0, false
			if e != want {
				t.Errorf("codec %d type %x: %+v", codec, typ, e)
			}
		}
	}
}

// A login is as long as its two bytes say, and made of digits.
func TestLogins(t *testing.T) {
	for _, n := range []int{1, 14, 15, 16, 32} {
		id := strings.Repeat("90", 16)[:n]
		in := "\x00" + string([]byte{byte(n)}) + id
		frames, rest, err := protocoltest.Cut(teltonika.New(), []byte(in+"\xff"))
		if err != nil || rest != 0 || len(frames) != 2 || string(frames[0]) != in {
			t.Errorf("%d digits: %q, %v", n, frames, err)
			continue
		}
		s := &session{t, teltonika.New().NewCodec(protocoltest.NewSettings(t, teltonika.New(),
			map[string]string{"chat": "serial", "down_codec": "14"}))}
		if events, reply, err := s.send(frames[0]); err != nil || events[0].DeviceID != id ||
			string(reply) != "\x01" {
			t.Errorf("%s: %+v, %x, %v", id, events, reply, err)
		}
		if _, reply, err := s.send(avl()); err != nil || string(reply) != "\x00\x00\x00\x01" {
			t.Errorf("%x, %v", reply, err)
		}
		out, err := s.codec.AppendText(nil, protocol.Text{Parts: 1, Body: "a"})
		digits := (strings.Repeat("0", 16) + id)[n:]
		if got := fmt.Sprintf("%x", out[15:23]); err != nil || got != digits {
			t.Errorf("%s is written as %s, %v", id, got, err)
		}
		for _, wrong := range []string{id[1:] + "/", id[1:] + ":", "A" + id[1:]} {
			events, reply, err := s.send([]byte(in[:2] + wrong))
			if err == nil || len(events) != 1 || events[0].Kind != protocol.KindRefused ||
				string(reply) != "\x00" {
				t.Errorf("%q: %+v, %x, %v", wrong, events, reply, err)
			}
		}
	}
	for in, want := range map[string]error{
		"\x00\x21": protocol.ErrFraming, "\x01\x0f": protocol.ErrFraming,
		"\x00\x00\x01":                     protocol.ErrFraming,
		"\x00\x00\x00\x01":                 protocol.ErrFraming,
		"\x00\x00\x00\x00\x00\x01\x00\x01": protocol.ErrTooLong,
		"\x00\x00\x00\x00\x01\x00\x00\x00": protocol.ErrTooLong,
		"\x00\x00\x00\x00\x00\x01\x00\x00": nil,
		"\x00\x00":                         nil,
	} {
		if _, _, err := protocoltest.Cut(teltonika.New(), []byte(in)); !errors.Is(err, want) {
			t.Errorf("%x: %v", in, err)
		}
	}
}

// Times of the tracker's side are milliseconds since 1970 in eight bytes.
func TestCalendar(t *testing.T) {
	d := teltonika.New().NewDevice(config(t, "", nil))
	for at, want := range map[string]uint64{
		"1969-12-31T23:59:59Z": 0, "2028-02-29T23:59:59.999Z": 1_835_481_599_999,
		"2038-01-19T03:14:08Z": 1 << 31 * 1000,
		"2106-02-07T06:28:16Z": 1 << 32 * 1000,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		out := d.AppendPosition(nil, -33.5, 151.25, when)
		place := fmt.Sprintf("%x", out[19:27])
		if got := binary.BigEndian.Uint64(out[10:]); got != want || place != "5a26eb20ec084e40" {
			t.Errorf("%s is %d, not %d, at %s", at, got, want, place)
		}
	}
}

// The tracker's side: whose packets it takes, what it shows, and what it is called.
func TestDeviceTakesWhatIsItsOwn(t *testing.T) {
	numbered := map[string]string{"chat": "serial", "ack_pattern": `^A(\d+)$`}
	for name, c := range map[string]struct {
		set  map[string]string
		in   []byte
		want []protocol.DeviceEvent
		out  []byte
	}{
		"a number": {
			numbered, command(14, "M5:Hi: M\r\n"),
			[]protocol.DeviceEvent{{Kind: protocol.DeviceText, Ref: 5, Body: "Hi: M"}},
			nil,
		},
		"another letter": {
			numbered, command(14, "N5:Hi\r\n"),
			[]protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "N5:Hi"}},
			nil,
		},
		"no colon": {
			numbered, command(14, "M5\r\n"),
			[]protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "M5"}},
			nil,
		},
		"where none is wanted": {
			map[string]string{"chat": "serial"},
			command(14, "M5:Hi\r\n"),
			[]protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "M5:Hi"}},
			nil,
		},
		"two at once": {numbered, slices.Concat(command(14, "one\r\n"), command(14,
			"two\r\n")), []protocol.DeviceEvent{
			{Kind: protocol.DeviceText, Body: "one"},
			{Kind: protocol.DeviceText, Body: "two"},
		}, nil},
		"for it": {
			numbered, items(14, item(14, imeiBCD+"Hi\r\n")),
			[]protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "Hi"}},
			nil,
		},
		"for another": {
			numbered, items(14, item(14, "\x13"+imeiBCD[1:]+"Hi\r\n")), nil,
			items(14, item(0x11, imeiBCD)),
		},
		"nothing for another": {numbered, items(14, item(14, "\x13"+imeiBCD[1:])), nil, items(14,
			item(0x11, imeiBCD))},
		"less than anybody's": {numbered, items(14, item(14, imeiBCD[1:])), nil, nil},
		"the number of records": {
			numbered, []byte("\x00\x00\x00\x01"),
			[]protocol.DeviceEvent{{Kind: protocol.DeviceOther}},
			nil,
		},
	} {
		d := protocoltest.NewDeviceStream(teltonika.New().NewDevice(config(t, "", c.set)))
		out, seen, err := d.Feed(c.in)
		same := func(a, b protocol.DeviceEvent) bool {
			return a.Kind == b.Kind && a.Ref == b.Ref &&
				a.Body == b.Body
		}
		if err != nil || d.Pending() != 0 || !slices.EqualFunc(seen, c.want, same) ||
			!slices.Equal(out,
				c.out) {
			t.Errorf("%s: %+v, %x, %v", name, seen, out, err)
		}
	}
	for id, want := range map[string]string{
		"7": "000000000000007", "12345678901234": "012345678901234",
		"123456789012345": "123456789012345", "1234567890123456": "1234567890123456",
		strings.Repeat("1", 31) + "23": strings.Repeat("1", 30) + "23",
	} {
		cfg := config(t, "", nil)
		cfg.ID = id
		if got := string(teltonika.New().NewDevice(cfg).AppendLogin(nil)[2:]); got != want {
			t.Errorf("%s is called %s", id, got)
		}
	}
}

// A line that is too long is passed over, and holds up none of another type of packet.
func TestLinesOfTwoTypes(t *testing.T) {
	s := open(t, map[string]string{"chat": "serial", "up_types": "6,7"})
	for _, in := range [][]byte{command(6, strings.Repeat("x", 5000)), command(7, "half a line")} {
		if _, _, err := s.send(in); err != nil {
			t.Fatal(err)
		}
	}
	holder, ok := s.codec.(protocol.Holder)
	if !ok {
		t.Fatal("it holds nothing back")
	}
	var texts []string
	holder.Release(time.Time{}, true, func(e *protocol.Event) { texts = append(texts, e.Text) })
	if !slices.Equal(texts, []string{"half a line"}) {
		t.Errorf("%q", texts)
	}
}
