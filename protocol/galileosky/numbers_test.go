package galileosky_test

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/protocoltest"
)

const position = "\x30\x09\x00\x00\x00\x00\x00\x00\x00\x00"

// number is tag E0.
func number(n uint32) string {
	return "\xe0" + string(binary.LittleEndian.AppendUint32(nil, n))
}

// Behind a tag of known size the next one is read, and behind no other.
func TestSizesOfTags(t *testing.T) {
	// the last two: an empty text.
	sizes := map[int]int{0x03: 15, 0x30: 9, 0x5C: 68, 0xE1: 1, 0xEA: 1}
	for size, tags := range map[int][][2]int{
		1: {
			{1, 2},
			{0x35, 0x35},
			{0x43, 0x43},
			{0x88, 0x88},
			{0x8A, 0x8C},
			{0xA0, 0xAF},
			{0xC4, 0xD2},
			{0xD5, 0xD5},
		},
		2: {
			{4, 4},
			{0x10, 0x10},
			{0x34, 0x34},
			{0x40, 0x42},
			{0x45, 0x46},
			{0x48, 0x48},
			{0x50, 0x59},
			{0x60, 0x62},
			{0x70, 0x77},
			{0xB0, 0xB9},
			{0xD6, 0xDA},
		},
		3: {{0x5D, 0x5D}, {0x63, 0x6F}},
		4: {{0x20, 0x20}, {0x33, 0x33}, {0x44, 0x44}, {0x47, 0x47}, {0x5A, 0x5A}, {0x90, 0x90}, {
			0xC0,
			0xC3,
		}, {0xD3, 0xD4}, {0xDB, 0xE0}, {0xE2, 0xE9}, {0xF0, 0xF9}},
	} {
		for _, of := range tags {
			for tag := of[0]; tag <= of[1]; tag++ {
				sizes[tag] = size
			}
		}
	}
	s := loggedIn(t, nil)
	for tag := range 256 {
		own := 0
		if tag == 0x30 { // a position itself
			own = 1
		}
		for n := 1; n <= 70; n++ {
			events, _, err := s.send(packet(1, string([]byte{byte(tag)})+strings.Repeat("\x00",
				n)+position))
			want := own
			if n == sizes[tag] {
				want++
			}
			if err != nil || len(events) != 1 || events[0].Count != want {
				t.Errorf("tag %02x with %d bytes: %+v, %v", tag, n, events, err)
			}
		}
	}
	for _, n := range []int{1, 2, 255} {
		for _, tag := range []byte{0xE1, 0xEA} {
			text := string([]byte{tag, byte(n)}) + strings.Repeat("\x30", n)
			if events, _, err := s.send(packet(1, text+position)); err != nil ||
				events[0].Count != 1 {
				t.Errorf("tag %02x with a text of %d: %+v, %v", tag, n, events, err)
			}
		}
	}
}

// A reply is an ack of the text with its number, of all four bytes, and only where it is set so and
// the reply says both number and text.
func TestRepliesToCommands(t *testing.T) {
	on := map[string]string{"chat": "command", "delivered_on": "reply"}
	for _, n := range []uint32{0, 1, 0x01020304, 0x7FFFFFFF, 0x80000000, math.MaxUint32} {
		for name, c := range map[string]struct {
			set  map[string]string
			body string
			want protocol.Outcome
		}{
			"a reply":         {on, number(n) + "\xe1\x02OK", protocol.AckDelivered},
			"a blank one":     {on, number(n) + "\xe1\x00", protocol.AckDelivered},
			"an error":        {on, number(n) + "\xe1\x0fUnknown command", protocol.AckRejected},
			"text first":      {on, "\xe1\x02OK" + number(n), protocol.AckDelivered},
			"without text":    {on, number(n), 0},
			"without number":  {on, "\xe1\x02OK", 0},
			"a text cut off":  {on, number(n) + "\xe1\x03OK", 0},
			"a number cut":    {on, "\xe1\x02OK" + number(n)[:4], 0},
			"by the settings": {map[string]string{"chat": "command"}, number(n) + "\xe1\x02OK", 0},
			"to a navigator": {map[string]string{"delivered_on": "reply"}, number(n) +
				"\xe1\x02OK", 0},
		} {
			frame := packet(1, c.body)
			events, reply, err := loggedIn(t, c.set).send(frame)
			if err != nil || len(events) != 1 || string(reply) != confirmation(2, frame) {
				t.Errorf("%s: %+v, %x, %v", name, events, reply, err)
				continue
			}
			e := events[0]
			if e.Outcome != c.want || (e.Kind == protocol.KindAck) != (c.want != 0) ||
				c.want != 0 &&
					e.Ref != uint64(n) {
				t.Errorf("%s: %+v", name, e)
			}
		}
		s := loggedIn(t, on)
		out, err := s.codec.AppendText(nil, protocol.Text{
			Ref: uint64(n), Parts: 1,
			Body: "Call\r\nus \x1f\x20",
		})
		want := packet(1, "\x03"+imei+"\x04\x32\x00"+number(n)+"\xe1\x0bCall  us   ")
		if err != nil || !slices.Equal(out, want) {
			t.Errorf("command %d: %x, %v", n, out, err)
		}
	}
}

// The device id of tag 04 comes back with commands, both bytes of it; the IMEI has fifteen digits.
func TestWhoTheDeviceIs(t *testing.T) {
	for _, c := range []struct{ head, want string }{
		{"\x03" + imei + "\x04\x34\x12", imei},
		{"\x04\x34\x12\x03" + imei, imei},
		{"\x03000000000000000\x04\x34\x12", "000000000000000"},
		{"\x03999999999999999\x04\x34\x12", "999999999999999"},
		{"\x0386123004390762/\x04\x34\x12", ""},
		{"\x03:61230043907626\x04\x34\x12", ""},
		{"\x03" + imei[:14], ""},
	} {
		p := galileosky.New()
		s := &session{t, p.NewCodec(protocoltest.NewSettings(t, p,
			map[string]string{"chat": "command"}))}
		events, reply, err := s.send(packet(1, c.head))
		if err != nil || len(events) != 1 || events[0].DeviceID != c.want ||
			(len(reply) > 0) != (c.want != "") {
			t.Errorf("%q: %+v, %x, %v", c.head, events, reply, err)
			continue
		}
		out, err := s.codec.AppendText(nil, protocol.Text{Parts: 1, Body: "a"})
		if c.want == "" {
			if !errors.Is(err, protocol.ErrNotText) {
				t.Errorf("%q: %x, %v", c.head, out, err)
			}
			continue
		}
		if want := packet(1, "\x03"+c.want+"\x04\x34\x12"+number(0)+"\xe1\x01a"); err != nil ||
			!slices.Equal(out, want) {
			t.Errorf("%q: %x, %v", c.head, out, err)
		}
	}
}

// Bit 15 of the length says that there is more stored, and is none of it.
func TestLengths(t *testing.T) {
	s := loggedIn(t, nil)
	for n, body := range map[int]string{0: "", 10: position, 255: strings.Repeat("\x35\x00",
		123)[1:] + position, 256: strings.Repeat("\x35\x00", 123) + position, 0x7FFF: ""} {
		body += strings.Repeat("\x00", n-len(body))
		for _, more := range []uint16{0, 0x8000} {
			b := binary.LittleEndian.AppendUint16([]byte{1}, uint16(n)|more)
			b = append(b, body...)
			b = binary.LittleEndian.AppendUint16(b, crc(b))
			frames, rest, err := protocoltest.Cut(galileosky.New(), b, b)
			if err != nil || rest != 0 || len(frames) != 2 {
				t.Errorf("%d bytes: cut into %d, %v", n, len(frames), err)
				continue
			}
			if _, reply, err := s.send(frames[1]); err != nil ||
				string(reply) != confirmation(2, b) {
				t.Errorf("%d bytes: %x, %v", n, reply, err)
			}
			for _, wrong := range [][]byte{
				b[:len(b)-1], append(slices.Clone(b), 0), b[:4], b[:2],
				nil,
			} {
				if events, reply, err := s.send(wrong); err == nil || len(events)+len(reply) > 0 {
					t.Errorf("%d bytes of a packet of %d: %+v, %x", len(wrong), len(b), events,
						reply)
				}
			}
		}
	}
}

// Times of the tracker's side are unsigned seconds since 1970, and degrees have six decimals.
func TestCalendar(t *testing.T) {
	d := galileosky.New().NewDevice(config(t, "", nil))
	for i, c := range []struct {
		at       string
		lat, lon float64
		want     string
	}{
		{"2028-02-29T23:59:59Z", 52.5, 13.4, "\xff\x39\x67\x6d" +
			"\x30\x09\x20\x16\x21\x03\xc0\x77\xcc\x00"},
		{"2038-01-19T03:14:07Z", -1e-6, 180, "\xff\xff\xff\x7f" +
			"\x30\x09\xff\xff\xff\xff\x00\x95\xba\x0a"},
		{"2038-01-19T03:14:08Z", 90, -180, "\x00\x00\x00\x80" +
			"\x30\x09\x80\x4a\x5d\x05\x00\x6b\x45\xf5"},
		{"2106-02-07T06:28:15Z", 0, 0, "\xff\xff\xff\xff" +
			"\x30\x09\x00\x00\x00\x00\x00\x00\x00\x00"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		record := string(binary.LittleEndian.AppendUint16(nil, uint16(i+1)))
		want := packet(1, "\x04\x32\x00\x10"+record+"\x20"+c.want+"\x33\x00\x00\x00\x00")
		if got := d.AppendPosition(nil, c.lat, c.lon, at); !slices.Equal(got, want) {
			t.Errorf("%s: %x, not %x", c.at, got, want)
		}
	}
}

// The tracker's side takes all that comes at once, and waits for the rest of what does not.
func TestDeviceTakesPacketsTogether(t *testing.T) {
	settings := map[string]string{"chat": "command"}
	text := packet(1, "\x03"+imei+number(1)+"\xe1\x02Hi")
	photo := []byte(confirmation(7, text))
	d := galileosky.New().NewDevice(config(t, "", settings))
	login := d.AppendLogin(nil)
	again := d.AppendLogin(nil) // the same bytes: it waits for one confirmation
	stream := slices.Concat(photo, []byte(confirmation(2, login)), text, photo, packet(8,
		"\x03"+imei+"\xe1\x02Hi"), []byte(confirmation(2, again)), text)
	want := []protocol.DeviceEventKind{
		protocol.DeviceOther, protocol.DeviceLoggedIn, protocol.DeviceText, protocol.DeviceOther,
		protocol.DeviceOther, protocol.DeviceOther, protocol.DeviceText,
	}
	for name, pieces := range map[string][][]byte{
		"whole":    {stream},
		"bytewise": protocoltest.Bytewise(stream),
	} {
		d := protocoltest.NewDeviceStream(galileosky.New().NewDevice(config(t, "", settings)))
		d.AppendLogin(nil)
		var seen []protocol.DeviceEventKind
		for _, piece := range pieces {
			_, events, err := d.Feed(piece)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				seen = append(seen, e.Kind)
			}
		}
		if !slices.Equal(seen, want) || d.Pending() != 0 {
			t.Errorf("%s: %v, %d bytes left", name, seen, d.Pending())
		}
	}
	silent := galileosky.New().NewDevice(config(t, "", map[string]string{"chat": "none"}))
	if _, _, err := silent.Feed(nil, text, func(e protocol.DeviceEvent) {
		if e.Kind != protocol.DeviceOther {
			t.Errorf("a device without chat: %+v", e)
		}
	}); err != nil {
		t.Error(err)
	}
}

// What an earlier connection learnt about the navigator makes the first wait shorter.
func TestRecall(t *testing.T) {
	now := time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC)
	for learnt, wait := range map[uint8]time.Duration{0: 10 * time.Second, 1: 3 * time.Second} {
		p := galileosky.New()
		s := &session{t, p.NewCodec(protocoltest.NewSettings(t, p, nil))}
		learner, ok := s.codec.(protocol.Learner)
		if !ok {
			t.Fatal("it learns nothing")
		}
		learner.Recall(learnt)
		if _, _, err := s.send(headPacket()); err != nil {
			t.Fatal(err)
		}
		if _, next := s.codec.Poll(nil, now); !next.Equal(now.Add(wait)) {
			t.Errorf("%d: again at %v", learnt, next)
		}
	}
}
