package jt808_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

// piece is one subpackage of 0x6006; the text of part 1 stands behind its encoding.
type piece struct {
	serial, total, number uint16
	text                  string
}

func (p piece) frame() []byte {
	body := []byte(p.text)
	if p.number == 1 {
		body = append([]byte{0}, body...)
	}
	return frameFrom(phone2013, 0x6006, p.serial, body, p.total, p.number)
}

// Nothing but the message id and the number of parts says which parts belong together.
func TestPartsBelongTogetherWhateverTheirNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		pieces []piece
		texts  []string
	}{
		"numbers in a row": {[]piece{{5, 2, 1, "ab"}, {6, 2, 2, "cd"}}, []string{"abcd"}},
		"positions in between": {
			[]piece{{5, 3, 1, "a"}, {9, 3, 2, "b"}, {30, 3, 3, "c"}}, []string{"abc"},
		},
		"one number for all": {
			[]piece{{0, 3, 1, "a"}, {0, 3, 2, "b"}, {0, 3, 3, "c"}}, []string{"abc"},
		},
		"one that was asked for under the next number": {
			[]piece{{5, 3, 1, "a"}, {7, 3, 3, "c"}, {8, 3, 2, "b"}}, []string{"abc"},
		},
		"all of it again under new numbers before it was whole": {
			[]piece{
				{5, 3, 1, "a"},
				{6, 3, 2, "b"},
				{9, 3, 1, "a"},
				{10, 3, 2, "b"},
				{11, 3, 3, "c"},
			},
			[]string{"abc"},
		},
		"a part again after it was whole": {
			[]piece{{5, 2, 1, "a"}, {6, 2, 2, "b"}, {7, 2, 2, "b"}, {8, 2, 2, "b"}}, []string{"ab"},
		},
		"one given up, another begun": {
			[]piece{{5, 3, 1, "a"}, {6, 3, 2, "b"}, {7, 3, 1, "x"}, {8, 3, 2, "y"}, {9, 3, 3, "z"}},
			[]string{"xyz"},
		},
		"one given up, another begun with the same part": {
			[]piece{{5, 3, 1, "a"}, {6, 3, 2, "b"}, {7, 3, 1, "a"}, {8, 3, 2, "y"}, {9, 3, 3, "z"}},
			[]string{"ayz"},
		},
		"one without its beginning, another begun": { // its part 1 may have been that of the other
			[]piece{
				{6, 3, 2, "b"},
				{7, 3, 3, "c"},
				{8, 3, 1, "x"},
				{9, 3, 2, "y"},
				{10, 3, 3, "z"},
			},
			[]string{"xbc", "xyz"},
		},
		"two with the same beginning": {
			[]piece{{5, 2, 1, "a"}, {6, 2, 2, "b"}, {7, 2, 1, "a"}, {8, 2, 2, "y"}}, []string{
				"ab",
				"ay",
			},
		},
		"two with the same end": {
			[]piece{{5, 2, 1, "a"}, {6, 2, 2, "b"}, {7, 2, 1, "x"}, {8, 2, 2, "b"}}, []string{
				"ab",
				"xb",
			},
		},
		"the same said twice": {
			[]piece{{5, 2, 1, "a"}, {6, 2, 2, "b"}, {7, 2, 1, "a"}, {8, 2, 2, "b"}}, []string{
				"ab",
				"ab",
			},
		},
		"two lengths at once": {
			[]piece{{5, 2, 1, "a"}, {6, 3, 1, "x"}, {7, 3, 2, "y"}, {8, 2, 2, "b"}, {9, 3, 3, "z"}},
			[]string{"ab", "xyz"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			codec := loggedIn(t, nil)
			var texts []string
			keys := map[uint64]bool{}
			for _, p := range c.pieces {
				events, reply, err := receive(codec, p.frame())
				if err != nil || len(events) != 1 {
					t.Fatalf("%+v: %+v, %v", p, events, err)
				}
				want := append(binary.BigEndian.AppendUint16(nil, p.serial), 0x60, 0x06, 0)
				m := unframe(t, reply)
				if len(m) != 1 || m[0].id != 0x8001 || !bytes.Equal(m[0].body, want) {
					t.Fatalf("%+v was answered by %+v", p, m)
				}
				if events[0].Kind == protocol.KindText {
					texts, keys[events[0].Key] = append(texts, events[0].Text), true
				}
			}
			if !slices.Equal(texts, c.texts) || len(keys) != len(texts) {
				t.Errorf("%q under %d keys", texts, len(keys))
			}
			if out, _ := codec.Poll(nil, time.Unix(0, 0)); len(out) > 0 {
				t.Errorf("asks again: %x", out)
			}
		})
	}
}

// The whole of a text over another connection, under the same numbers, is known by its key.
func TestTextInPartsHasOneKey(t *testing.T) {
	keys := map[uint64]bool{}
	for _, order := range [][]piece{
		{{5, 3, 1, "a"}, {9, 3, 2, "b"}, {30, 3, 3, "c"}},
		{{30, 3, 3, "c"}, {9, 3, 2, "b"}, {5, 3, 1, "a"}},
		{{5, 3, 1, "a"}, {30, 3, 3, "c"}, {31, 3, 2, "b"}},
	} {
		codec := loggedIn(t, nil)
		for _, p := range order {
			events, _, err := receive(codec, p.frame())
			if err != nil {
				t.Fatal(err)
			}
			keys[events[0].Key] = true
		}
	}
	if delete(keys, 0); len(keys) != 1 {
		t.Errorf("keys %v", keys)
	}
}

// 0x8003 names a number that the terminal has used: that of part 1, else of the part that came
// first.
func TestPartsAreAskedForUnderANumberThatExists(t *testing.T) {
	for name, c := range map[string]struct {
		pieces []piece
		want   []byte
	}{
		"part 1 is there": {[]piece{{9, 3, 1, "a"}, {12, 3, 3, "c"}}, []byte{0, 9, 1, 0, 2}},
		"part 1 lacks":    {[]piece{{9, 3, 2, "b"}, {12, 3, 3, "c"}}, []byte{0, 9, 1, 0, 1}},
		"part 1 is late":  {[]piece{{12, 4, 4, "d"}, {9, 4, 1, "a"}}, []byte{0, 9, 2, 0, 2, 0, 3}},
	} {
		codec := loggedIn(t, nil)
		for _, p := range c.pieces {
			if _, _, err := receive(codec, p.frame()); err != nil {
				t.Fatal(err)
			}
		}
		out, _ := codec.Poll(nil, time.Unix(0, 0))
		if m := unframe(t, out); len(m) != 1 || m[0].id != 0x8003 ||
			!bytes.Equal(m[0].body, c.want) {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// Media with gaps in their numbers is confirmed once, behind the answer to its last part.
func TestMediaInPartsIsConfirmed(t *testing.T) {
	codec := loggedIn(t, nil)
	for medium := range uint16(2) { // the second has as many parts as the first
		for i, serial := range []uint16{0x2031, 0x2032, 0x2035, 0x203B} {
			body := []byte{0, 0, 0, byte(7 + medium), byte(i), 0xFF}
			part := frameFrom(phone2013, 0x0801, serial+medium<<8, body, 4, uint16(i+1))
			_, reply, err := receive(codec, part)
			m := unframe(t, reply)
			if err != nil || len(m) == 0 || m[0].id != 0x8001 || m[0].body[4] != 0 {
				t.Fatalf("part %d: %+v, %v", i+1, m, err)
			}
			switch {
			case i < 3 && len(m) != 1:
				t.Errorf("part %d: %+v", i+1, m)
			case i == 3 && (len(m) != 2 || m[1].id != 0x8800 || !bytes.Equal(m[1].body, body[:4])):
				t.Errorf("the last part: %+v", m)
			}
		}
	}
	if out, _ := codec.Poll(nil, time.Unix(0, 0)); len(out) > 0 {
		t.Errorf("asks again: %x", out)
	}
}

// A terminal may register, and authenticate, in parts: before its login, so within narrow bounds.
func TestLoginInParts(t *testing.T) {
	body := make([]byte, 44)
	codec := jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), nil))
	for range 2 {
		events, _, err := receive(codec, frameFrom(phone2013, 0x0100, 1, body[:30], 2, 1))
		if err != nil || events[0].Kind != protocol.KindUnknown {
			t.Fatalf("the first part: %+v, %v", events, err)
		}
		events, reply, err := receive(codec, frameFrom(phone2013, 0x0100, 4, body[30:], 2, 2))
		m := unframe(t, reply)
		if err != nil || events[0].Kind != protocol.KindRegister ||
			events[0].DeviceID != "013812345678" {
			t.Fatalf("registration: %+v, %v", events, err)
		}
		if len(m) != 1 || m[0].id != 0x8100 || !bytes.Equal(m[0].body[:3], []byte{0, 4, 0}) {
			t.Fatalf("registration: %+v", m)
		}
	}
	if _, _, err := receive(codec, frameFrom(phone2013, 0x0102, 5, []byte("AUTH"), 2,
		1)); err != nil {
		t.Fatal(err)
	}
	events, reply, err := receive(codec, frameFrom(phone2013, 0x0102, 6, []byte("42"), 2, 2))
	m := unframe(t, reply)
	if err != nil || events[0].Kind != protocol.KindLogin || events[0].Secret != "AUTH42" ||
		m[0].body[4] != 0 {
		t.Errorf("%+v, %+v, %v", events, m, err)
	}
	for name, frame := range map[string][]byte{
		"too many parts":           frameFrom(phone2013, 0x0100, 9, body, 9, 1),
		"a text, before the login": frameFrom(phone2013, 0x6006, 9, body, 2, 1),
	} {
		codec := jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), nil))
		events, _ := protocoltest.Decode(codec, frame)
		reply := codec.AppendReply(nil, &events[0], protocol.NoLogin)
		if m := unframe(t, reply); len(m) != 1 || m[0].id != 0x8001 || m[0].body[4] == 0 {
			t.Errorf("%s: %+v", name, m)
		}
		if out, next := codec.Poll(nil, time.Unix(0, 0)); len(out) > 0 || !next.IsZero() {
			t.Errorf("%s is kept", name)
		}
	}
	codec = jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), nil))
	for i := range uint16(4) {
		_, _, err = receive(codec, frameFrom(phone2013, 0x0102, i, make([]byte, 1000), 8, i+1))
	}
	if err == nil {
		t.Error("4000 bytes of a login were kept")
	}
}

// 0x0900 is put together only where it carries texts, and positions in parts are counted at part 1.
func TestWhatIsPutTogether(t *testing.T) {
	for types, want := range map[string]string{"": "", "0x41": "one two"} {
		codec := loggedIn(t, map[string]string{"serial_text": types})
		var last protocol.Event
		for i, body := range []string{"\x41one ", "two"} {
			events, _, err := receive(codec, frameFrom(phone2013, 0x0900, uint16(i+2), []byte(body),
				2, uint16(i+1)))
			if err != nil {
				t.Fatal(err)
			}
			last = events[0]
		}
		if last.Text != want {
			t.Errorf("types %q: %+v", types, last)
		}
	}
	codec := loggedIn(t, nil)
	for said, want := range map[string]int{
		"\x00\x07\x01": 7, "\x01\x02": 0x102,
		"\xff\xff": 64 << 10 / 28,
	} {
		events, _, err := receive(codec, frameFrom(phone2013, 0x0704, 5, []byte(said), 2, 1))
		if err != nil || events[0].Kind != protocol.KindPosition || events[0].Count != want {
			t.Errorf("%x: %+v, %v", said, events, err)
		}
		if events, _, err = receive(codec, frameFrom(phone2013, 0x0704, 6, []byte(said), 2,
			2)); err != nil || events[0].Count != 0 {
			t.Errorf("%x in part 2: %+v, %v", said, events, err)
		}
	}
}

// A text that could not be stored is offered again with each part that comes again, until it is.
func TestTextInPartsIsSettledByItsStorage(t *testing.T) {
	codec := loggedIn(t, nil)
	say := func(p piece, r protocol.Result) protocol.Event {
		t.Helper()
		events, err := protocoltest.Decode(codec, p.frame())
		if err != nil || len(events) != 1 {
			t.Fatalf("%+v, %v", events, err)
		}
		codec.AppendReply(nil, &events[0], r)
		return events[0]
	}
	say(piece{30, 3, 1, "x"}, protocol.OK) // another one, unfinished
	say(piece{5, 2, 1, "a"}, protocol.OK)
	for i, r := range []protocol.Result{protocol.Later, protocol.Later, protocol.OK} {
		if e := say(piece{6, 2, 2, "b"}, r); e.Kind != protocol.KindText || e.Text != "ab" {
			t.Errorf("time %d: %+v", i, e)
		}
	}
	if e := say(piece{6, 2, 2, "b"}, protocol.OK); e.Kind == protocol.KindText {
		t.Errorf("once it is stored: %+v", e)
	}
	say(piece{31, 3, 2, "y"}, protocol.OK)
	if e := say(piece{32, 3, 3, "z"}, protocol.OK); e.Text != "xyz" {
		t.Errorf("the other one: %+v", e)
	}
}

// Missing parts are asked for three times, and never after their minute.
func TestMissingPartsAreAskedForThreeTimes(t *testing.T) {
	codec := loggedIn(t, nil)
	if _, _, err := receive(codec, piece{5, 3, 1, "a"}.frame()); err != nil {
		t.Fatal(err)
	}
	start := time.Date(2028, 2, 29, 23, 59, 30, 0, time.UTC)
	var asked, polled []int
	for at, end := start, start.Add(5*time.Minute); at.Before(end); {
		out, next := codec.Poll(nil, at)
		second := int(at.Sub(start).Seconds())
		if polled = append(polled, second); len(out) > 0 {
			asked = append(asked, second)
		}
		if next.IsZero() {
			break
		}
		if at = next; len(polled) > 9 {
			break
		}
	}
	if !slices.Equal(asked, []int{10, 20, 40}) || !slices.Equal(polled, []int{0, 10, 20, 40, 60}) {
		t.Errorf("asked at %v, polled at %v", asked, polled)
	}
}
