package egts_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"
)

// A packet with damage is refused as the standard says, and only a damaged header ends the session.
func TestDamagedPackets(t *testing.T) {
	good := frame(1, 0x1234, rec(5, 2, sub{16, strings.Repeat("\x00", 21)}))
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, c := range map[string]struct {
		in     []byte
		result int // PR of the answer; -1: no answer
		lost   bool
	}{
		"CRC of the data":      {change(len(good)-1, good[len(good)-1]^1), 138, false},
		"a byte of the data":   {change(20, 9), 138, false},
		"CRC of the header":    {change(10, good[10]^1), 137, true},
		"length in the header": {change(5, 9), 137, true},
		"length of the header": {change(3, 12), 131, true},
		"a longer packet":      {header5(65_530), 139, true},
		"record beyond the data": {
			frame(1, 0x1234, []byte{9, 0, 1, 0, 0x80, 2, 2, 16}), 139,
			false,
		},
		"half a record": {frame(1, 0x1234, []byte{9, 0, 1, 0}), 132, false},
		"half an OID":   {frame(1, 0x1234, []byte{9, 0, 1, 0, 0x81, 1, 2}), 132, false},
		"record without service": {frame(1, 0x1234, []byte{
			0, 0, 1, 0, 0x86, 1, 2, 3, 4, 1, 2, 3,
			4,
		}), 132, false},
		"signature cut short": {frame(2, 0x1234, []byte{9, 0, 1}), 139, false},
		"no signature":        {frame(2, 0x1234, []byte{9}), 132, false},
		"encrypted":           {sealed(header(1, 0x08, nil, 1, 0x1234), []byte{1}), 129, false},
		"compressed":          {sealed(header(1, 0x04, nil, 1, 0x1234), []byte{1}), 131, false},
		"prefix":              {sealed(header(1, 0x40, nil, 1, 0x1234), []byte{1}), 131, false},
		"route without flag": {sealed(header(1, 0, []byte{1, 0, 2, 0, 3}, 1, 0x1234),
			[]byte{1}), 131, false},
		"flag without route": {sealed(header(1, 0x20, nil, 1, 0x1234), []byte{1}), 131, false},
		"damaged RESPONSE":   {frame(0, 0x1234, []byte{1, 0, 0, 9}), -1, false},
		"short RESPONSE":     {frame(0, 0x1234, []byte{1, 0}), -1, false},
	} {
		codec := loggedIn(t, nil)
		frames, _, err := protocoltest.Cut(egts.New(), c.in)
		if len(frames) == 0 {
			t.Fatalf("%s: cut into nothing, %v", name, err)
		}
		// the first: what follows damage in a header is beyond reading.
		events, reply, err := receive(codec, frames[0])
		if err == nil || errors.Is(err, protocol.ErrFraming) != c.lost {
			t.Errorf("%s: %v", name, err)
		}
		if c.result < 0 {
			if len(reply) != 0 || len(events) != 0 {
				t.Errorf("%s: %+v was answered by %x", name, events, reply)
			}
			continue
		}
		down := unframe(t, reply)
		if len(events) != 1 || events[0].Kind != protocol.KindRefused || len(down) != 1 ||
			down[0].kind != 0 || down[0].answered != 0x1234 || int(down[0].result) != c.result ||
			len(down[0].records) != 0 {
			t.Errorf("%s: %+v was answered by %+v", name, events, down)
		}
	}
}

// header5 is a header that announces n bytes.
func header5(n int) []byte { return sealed(header(1, 0, nil, n, 0x1234), nil) }

func TestWhatIsNotEGTS(t *testing.T) {
	for _, in := range []string{"GET / HTTP/1.1\r\n", "\x02\x00\x00\x0b", "\x00"} {
		if frames, _, err := protocoltest.Cut(egts.New(), []byte(in)); !errors.Is(err,
			protocol.ErrFraming) || len(frames) != 0 {
			t.Errorf("%q was cut into %q, %v", in, frames, err)
		}
	}
	c := loggedIn(t, nil)
	for _, in := range [][]byte{nil, {1}, []byte("GET / HTTP/1.1"), frame(1, 1, rec(1, 2))[:15]} {
		if events, reply, err := receive(c, in); err == nil || len(reply) > 0 && len(events) == 0 {
			t.Errorf("%q became %+v, answered %x, %v", in, events, reply, err)
		}
	}
}

// One record that cannot be read does not take the others of its packet with it.
func TestBadRecordAmongGoodOnes(t *testing.T) {
	position := sub{16, strings.Repeat("\x00", 21)}
	for name, c := range map[string]struct {
		bad  []byte
		kind protocol.Kind
		code byte
		err  bool
	}{
		"subrecord beyond the record": {
			append([]byte{4, 0, 2, 0, 0x80, 4, 4}, 51, 9, 0, 1),
			protocol.KindRefused, 139, true,
		},
		"half a subrecord": {
			append([]byte{2, 0, 2, 0, 0x80, 4, 4}, 51, 9),
			protocol.KindRefused, 139, true,
		},
		"half a command": {
			rec(2, 4, sub{51, "\x30\x01\x02\x03"}),
			protocol.KindRefused, 132, true,
		},
		"half an identity": {
			rec(2, 1, sub{1, "\x01\x00\x00\x00\x02123"}),
			protocol.KindRefused, 132, true,
		},
		"no identity": {rec(2, 1, sub{1, "\x01"}), protocol.KindRefused, 132, true},
		"half a confirmation": {
			rec(2, 4, sub{0, "\x01\x00"}), protocol.KindRefused, 132,
			true,
		},
		"a service of the vendor": {rec(2, 65, sub{1, "x"}), protocol.KindUnknown, 150, false},
		"a command to the platform": {
			rec(2, 4, command(5, 0, 1, 0, "\x00\x00")),
			protocol.KindUnknown, 133, false,
		},
		"a text in binary": {
			rec(2, 4, command(3, 0, 1, 0, "\x01\x02abc")),
			protocol.KindRefused, 132, true,
		},
		"half a letter": {
			rec(2, 4, command(3, 0, 1, 0, "\x01\x08\x04")),
			protocol.KindRefused, 132, true,
		},
		"an empty text": {
			rec(2, 4, command(3, 0, 1, 0, "\x00 \x00")),
			protocol.KindOther, 0, false,
		},
		"an empty record": {rec(2, 4), protocol.KindOther, 0, false},
		"an identity elsewhere": {
			rec(2, 4, sub{1, "\x01\x00\x00\x00\x00"}),
			protocol.KindOther, 0, false,
		},
		"a command elsewhere": {
			rec(2, 1, command(3, 0, 1, 0, "\x00Hi")),
			protocol.KindOther, 0, false,
		},
		"a track elsewhere": {
			rec(2, 4, sub{62, "\x01\x00\x00\x00\x00\x01"}),
			protocol.KindOther, 0, false,
		},
		"an answer to a command": {
			rec(2, 4, command(1, 0, 1, 0, "\x00")), protocol.KindOther,
			0, false,
		},
	} {
		codec := loggedIn(t, nil)
		events, reply, err := receive(codec, frame(1, 7, slices.Concat(rec(1, 2, position), c.bad,
			rec(3, 2, position, position))))
		if (err != nil) != c.err || errors.Is(err, protocol.ErrFraming) || len(events) != 3 ||
			events[0].Count != 1 || events[1].Kind != c.kind || events[2].Count != 2 {
			t.Errorf("%s: %+v, %v", name, events, err)
			continue
		}
		down := unframe(t, reply)
		if len(down) != 1 || down[0].result != 0 || len(down[0].records) != 3 {
			t.Errorf("%s: %+v", name, down)
			continue
		}
		for i, want := range []string{
			"\x01\x00\x00", "\x02\x00" + string([]byte{c.code}),
			"\x03\x00\x00",
		} {
			if got := down[0].records[i].subs[0].data; got != want {
				t.Errorf("%s: record %d was confirmed with %x, not %x", name, i+1, got, want)
			}
		}
	}
}

// What is damaged in transit never becomes anything but a refusal.
func TestFlippedBitsAreNoticed(t *testing.T) {
	good := frame(1, 0x0102, rec(5, 4, command(3, 0, 55, 0, "\x00on my way")))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		c := loggedIn(t, nil)
		frames, _, err := protocoltest.Cut(egts.New(), protocoltest.Randomly(b, r)...)
		for _, f := range frames {
			events, _, refused := receive(c, f)
			if refused == nil {
				t.Fatalf("bit %d: %x became %+v", i, b, events)
			}
			if errors.Is(refused, protocol.ErrFraming) {
				break
			}
		}
		if err == nil && len(frames) == 0 {
			t.Errorf("bit %d: nothing was cut off", i)
		}
	}
}
