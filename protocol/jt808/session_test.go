package jt808_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

// loggedIn returns a codec of 2013 that has authenticated.
func loggedIn(t *testing.T, values map[string]string) protocol.Codec {
	t.Helper()
	c := jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), values))
	if events, _, err := receive(c, frame(0x0102, 1, []byte("A"))); err != nil || len(events) != 1 {
		t.Fatalf("%+v, %v", events, err)
	}
	return c
}

// receive decodes a frame and answers its events.
func receive(c protocol.Codec, frame []byte) (events []protocol.Event, reply []byte, err error) {
	events, err = protocoltest.Decode(c, frame)
	for i := range events {
		reply = c.AppendReply(reply, &events[i], protocol.OK)
	}
	return events, reply, err
}

func TestIdleSessionIsSmall(t *testing.T) {
	const n, most = 20_000, 120
	p := jt808.New()
	settings := protocoltest.NewSettings(t, p, nil)
	frames := [][]byte{
		frame(0x0100, 1, make([]byte, 37)), frame(0x0102, 2, []byte("A")), frame(0x0002, 3, nil),
		frame(0x0200, 4, make([]byte, 28)),
		frame(0x0001, 5, []byte{0, 100, 0x83, 0, 0}), frame(0x6006, 6, unicodeText("On my way")),
		frame(0x0002, 7, nil),
	}
	codecs := make([]protocol.Codec, n)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools held is gone after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range codecs {
		codecs[i] = p.NewCodec(settings)
		for _, f := range frames {
			if _, _, err := receive(codecs[i], f); err != nil {
				t.Fatal(err)
			}
		}
		codecs[i].Poll(nil, time.Unix(0, 0))
	}
	per := float64(heap()-before) / n
	runtime.KeepAlive(codecs)
	t.Logf("%.0f bytes", per)
	if per > most {
		t.Errorf("an idle session takes %.0f bytes, more than %d", per, most)
	}
}

func TestDamagedStreamFindsTheNextFrame(t *testing.T) {
	p, good := jt808.New(), frame(0x0002, 9, nil)
	for name, c := range map[string]struct {
		noise []byte
		beats int // heartbeats in noise and the good frame after it
	}{
		"a frame without an end": {slices.Concat([]byte{0x7e}, bytes.Repeat([]byte{0x55}, 9000),
			[]byte{0x7e}), 1},
		"bytes without a flag": {bytes.Repeat([]byte{0x55}, 9000), 1},
		"nothing but flags":    {bytes.Repeat([]byte{0x7e}, 9000), 1},
		"flags and bytes":      {bytes.Repeat([]byte{0x7e, 0x55}, 5000), 1},
		"nothing but escapes": {slices.Concat([]byte{0x7e}, bytes.Repeat([]byte{0x7d, 0x02},
			1500), []byte{0x7e}), 1},
		"a frame that lost its flag": {good[:len(good)-1], 2},
		"a frame that lost its head": {good[5:], 1},
	} {
		frames, rest, err := protocoltest.Cut(p, protocoltest.Bytewise(slices.Concat(c.noise,
			good))...)
		if err != nil || rest != 0 {
			t.Fatalf("%s: %d bytes left, %v", name, rest, err)
		}
		codec, beats := p.NewCodec(protocol.Settings{}), 0
		for _, f := range frames {
			if events, _ := protocoltest.Decode(codec, f); len(events) == 1 &&
				events[0].Kind == protocol.KindHeartbeat {
				beats++
			}
		}
		if beats != c.beats {
			t.Errorf("%s: %d heartbeats instead of %d", name, beats, c.beats)
		}
	}
}

func TestEveryReferenceTravelsEscaped(t *testing.T) {
	c := loggedIn(t, map[string]string{"text_flags": "0x7E"})
	for ref := range uint64(1 << 16) {
		out, err := c.AppendText([]byte("kept"), protocol.Text{Ref: ref, Parts: 1, Body: "}~"})
		if err != nil || !bytes.HasPrefix(out, []byte("kept\x7e")) ||
			bytes.Count(out, []byte{0x7e}) != 2 {
			t.Fatalf("%x, %v", out, err)
		}
		if m := unframe(t, out[4:]); len(m) != 1 || m[0].id != 0x8300 ||
			uint64(m[0].serial) != ref || string(m[0].body) != "~}~" {
			t.Fatalf("%d: %+v", ref, m)
		}
	}
}

func TestTextsThatCannotBeWritten(t *testing.T) {
	dst := []byte("kept")
	c := jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), nil))
	if out, err := c.AppendText(dst, protocol.Text{Parts: 1, Body: "x"}); !errors.Is(err,
		protocol.ErrNotText) || string(out) != "kept" {
		t.Errorf("before the first frame: %x, %v", out, err)
	}
	c = loggedIn(t, nil)
	if out, err := c.AppendText(dst, protocol.Text{Parts: 1, Body: strings.Repeat("好",
		512)}); !errors.Is(err, protocol.ErrNotText) || string(out) != "kept" {
		t.Errorf("more than ten bits of length: %x, %v", out, err)
	}
	if out, err := c.AppendText(nil, protocol.Text{Parts: 1, Body: strings.Repeat("好",
		511)}); err != nil || len(unframe(t, out)[0].body) != 1023 {
		t.Errorf("the longest body: %v", err)
	}
	longest := protocol.Text{Parts: 1, Body: strings.Repeat("q", 255), Choices: []string{"Yes"}}
	if out, err := c.AppendText(nil, longest); err != nil || unframe(t, out)[0].id != 0x8302 {
		t.Errorf("the longest question: %x, %v", out, err)
	}
	for name, text := range map[string]protocol.Text{
		"question over a length byte": {
			Parts: 1, Body: strings.Repeat("q", 256),
			Choices: []string{"Yes"},
		},
		"answers over a message": {Parts: 1, Body: "q", Choices: []string{strings.Repeat("y",
			1020)}},
		"too many answers": {Parts: 1, Body: "q", Choices: make([]string, 9)},
	} {
		out, err := c.AppendText(nil, text)
		if m := unframe(t, out); err != nil || len(m) != 1 || m[0].id != 0x8300 ||
			string(m[0].body[1:]) != text.Body {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestFlagsOfQuestions(t *testing.T) {
	c := loggedIn(t, map[string]string{"text_flags": "0x0D"})
	out, err := c.AppendText(nil, protocol.Text{Parts: 1, Body: "q", Choices: []string{"a"}})
	if m := unframe(t, out); err != nil || m[0].id != 0x8302 ||
		string(m[0].body) != "\x09\x01q\x01\x00\x01a" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestLongDriverTextComesInParts(t *testing.T) {
	for _, variant := range []string{"2013", "2019"} {
		x := protocoltest.NewPair(jt808.New(), config(t, variant, "", nil))
		if _, _, err := x.Login(); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSpace(strings.Repeat("长长的消息 👍 long text\n", 900))
		up, err := x.Device.AppendText(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(unframe(t, up)); n < 20 {
			t.Fatalf("%d parts", n)
		}
		events, seen, err := x.FromDevice(up)
		if err != nil {
			t.Fatal(err)
		}
		texts, acks := 0, 0
		for _, e := range events {
			if e.Kind == protocol.KindText && e.Text == text {
				texts++
			}
		}
		for _, e := range seen {
			if e.Kind == protocol.DeviceTextAck {
				acks++
			}
		}
		if texts != 1 || acks != 1 {
			t.Errorf("%s: %d texts and %d acks", variant, texts, acks)
		}
	}
	if _, err := x808(t).AppendText(nil, strings.Repeat("x", 40_000)); !errors.Is(err,
		protocol.ErrTextTooLong) {
		t.Errorf("80 kB: %v", err)
	}
}

func x808(t *testing.T) protocol.Device {
	t.Helper()
	return jt808.New().NewDevice(config(t, "", "", nil))
}

var phone2013 = []byte{0x01, 0x38, 0x12, 0x34, 0x56, 0x78}

func TestPartsArriveInAnyOrder(t *testing.T) {
	text := unicodeText("one two three four")
	parts := [][]byte{text[:9], text[9:20], text[20:]}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {2, 0, 1}} {
		c := loggedIn(t, nil)
		const first = 0xFFFF // the serial numbers wrap
		var got []string
		for _, i := range order {
			serial := uint16((first + i) & 0xFFFF)
			events, reply, err := receive(c, frameFrom(phone2013, 0x6006, serial, parts[i], 3,
				uint16(i+1)))
			if err != nil {
				t.Fatal(err)
			}
			if m := unframe(t, reply); len(m) != 1 || m[0].id != 0x8001 || m[0].body[4] != 0 {
				t.Fatalf("part %d was answered by %+v", i, m)
			}
			got = append(got, events[0].Text)
		}
		if want := []string{"", "", "one two three four"}; !slices.Equal(got, want) {
			t.Errorf("%v gave %q", order, got)
		}
	}
}

func TestUnfinishedTextsAreBounded(t *testing.T) {
	c := loggedIn(t, nil)
	now := time.Unix(1_700_000_000, 0)
	for i := range uint16(1000) { // texts of other lengths, then others of the same length
		part := bytes.Repeat([]byte{byte(i)}, 1000)
		if _, _, err := receive(c, frameFrom(phone2013, 0x6006, i*200, part, 128-i%100,
			1)); err != nil {
			t.Fatal(err)
		}
	}
	c.Poll(nil, now)
	out, _ := c.Poll(nil, now.Add(15*time.Second))
	if asked := unframe(t, out); len(asked) != 3 {
		t.Errorf("%d messages are waited for", len(asked))
	}
	if out, next := c.Poll(nil, now.Add(time.Minute)); len(out) != 0 || !next.IsZero() {
		t.Errorf("after the timeout: %x, asks for %v", out, next)
	}
	// 128 parts of 1000 bytes are more than any text.
	refused := 0
	for i := range uint16(128) {
		events, reply, err := receive(c, frameFrom(phone2013, 0x6006, i,
			bytes.Repeat([]byte{0, 'a'}, 500), 128, i+1))
		if err != nil {
			if refused++; unframe(t, reply)[0].body[4] != 2 {
				t.Errorf("refused with % x", reply)
			}
		}
		if events[0].Kind == protocol.KindText {
			t.Error("a text beyond the bound was put together")
		}
	}
	if refused == 0 {
		t.Error("128,000 bytes were taken")
	}
}

func TestSettingsAreChecked(t *testing.T) {
	p := jt808.New()
	for name, wrong := range map[string][]string{
		"lenient": {"yes"}, "text_flags": {"256", "x"}, "text_type": {"0", "3"}, "part_bytes": {
			"7",
			"1001",
		}, "part_prefix": {"1"},
		"events": {
			"Arrived", "256=a", "1=", "1=a;1=b", "1=" + strings.Repeat("好", 128),
			menu(200),
		},
		"serial_text": {"0x141", "a"}, "serial_charset": {"koi8"}, "nonsense": {"1"},
	} {
		for _, value := range wrong {
			if _, err := p.NewSettings(map[string]string{name: value}); err == nil {
				t.Errorf("%s=%q was accepted", name, value)
			}
		}
	}
	for _, s := range p.Settings {
		if s.Help == "" || (s.Check != nil && s.Check(s.Default) != nil) {
			t.Errorf("%s: help %q, default %q", s.Name, s.Help, s.Default)
		}
	}
}

func menu(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d=abcd;", i)
	}
	return b.String()
}

func TestDisplaysHaveTheirCharset(t *testing.T) {
	for charset, wire := range map[string]string{
		"gbk": "\xa7\xa5\xa7\xd1", "utf8": "Да", "windows1251": "\xc4\xe0",
		"utf16be": "\x04\x14\x04\x30", "utf16le": "\x14\x04\x30\x04",
	} {
		c := loggedIn(t, map[string]string{"serial_text": "0xF0", "serial_charset": charset})
		events, _, err := receive(c, frame(0x0900, 2, []byte("\xf0"+wire)))
		if err != nil || len(events) != 1 || events[0].Kind != protocol.KindText ||
			events[0].Text != "Да" {
			t.Errorf("%s: %+v, %v", charset, events, err)
		}
	}
}

func TestTooLongCodeIsNotCutShort(t *testing.T) {
	c := jt808.New().NewCodec(protocol.Settings{})
	events, err := protocoltest.Decode(c, frame(0x0100, 1, make([]byte, 37)))
	if err != nil {
		t.Fatal(err)
	}
	events[0].Secret = strings.Repeat("x", 1021)
	if m := unframe(t, c.AppendReply(nil, &events[0], protocol.OK)); len(m) != 1 ||
		string(m[0].body) != "\x00\x01\x04" {
		t.Errorf("%+v", m)
	}
}

func TestBoundSettingsReplaceTheListeners(t *testing.T) {
	c := loggedIn(t, nil)
	c.Bind(protocoltest.NewSettings(t, jt808.New(), map[string]string{
		"part_bytes":  "100",
		"part_prefix": "true",
	}))
	if caps := c.Caps(); caps.PartBytes != 100 || !caps.Prefix || caps.RefBits != 16 ||
		caps.Choices != 8 {
		t.Errorf("%+v", caps)
	}
}
