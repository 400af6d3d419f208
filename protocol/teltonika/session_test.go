package teltonika_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/teltonika"
)

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestIdleSessionIsSmall(t *testing.T) {
	const n = 20_000
	p := teltonika.New()
	for chat, most := range map[string]int64{"fmi": 150, "serial": 170, "none": 80} {
		settings := protocoltest.NewSettings(t, p, map[string]string{
			"chat":        chat,
			"ack_pattern": `^A(\d+)$`,
		})
		codecs := make([]protocol.Codec, n)
		before := heap()
		for i := range codecs {
			s := session{t, p.NewCodec(settings)}
			for _, frame := range [][]byte{
				[]byte("\x00\x0f" + imei), avl(),
				{0xFF},
				command(6, "half a line"), command(6, "\r\n"),
			} {
				if _, _, err := s.send(frame); err != nil {
					t.Fatal(err)
				}
			}
			s.codec.Poll(nil, time.Unix(0, 0))
			codecs[i] = s.codec
		}
		each := (int64(heap()) - int64(before)) / n
		runtime.KeepAlive(codecs)
		t.Logf("%s: %d bytes", chat, each)
		if each > most {
			t.Errorf("an idle session with chat %s takes %d bytes, more than %d", chat, each, most)
		}
	}
}

func TestStreamsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   error // nil: waits
		rest   int
	}{
		"a web browser":           {"GET / HTTP/1.1\r\n", protocol.ErrFraming, 0},
		"a login of 33 digits":    {"\x00\x21", protocol.ErrFraming, 0},
		"a preamble of three":     {"\x00\x00\x00\x01", protocol.ErrFraming, 0},
		"one of two":              {"\x00\x00\x01", protocol.ErrFraming, 0},
		"more than 64 KiB":        {"\x00\x00\x00\x00\x00\x01\x00\x01", protocol.ErrTooLong, 0},
		"64 KiB":                  {"\x00\x00\x00\x00\x00\x01\x00\x00", nil, 8},
		"half a login":            {"\x00\x0f1234", nil, 6},
		"keep-alives and a start": {"\xff\xff\xff\x00", nil, 1},
	} {
		for _, pieces := range [][][]byte{
			{[]byte(c.stream)},
			protocoltest.Bytewise([]byte(c.stream)),
		} {
			if _, rest, err := protocoltest.Cut(teltonika.New(), pieces...); !errors.Is(err,
				c.want) || c.want == nil && rest != c.rest {
				t.Errorf("%s: %d bytes left, %v", name, rest, err)
			}
		}
	}
}

func TestLongestPacket(t *testing.T) {
	s := open(t, nil)
	data := append(append([]byte{8, 255}, make([]byte, 64<<10-3)...), 255)
	frame := packet(data...)
	frames, rest, err := protocoltest.Cut(teltonika.New(), frame)
	if err != nil || rest != 0 || len(frames) != 1 || len(frame) != teltonika.New().MaxFrame {
		t.Fatalf("%d frames, %d bytes left, %v", len(frames), rest, err)
	}
	if events, reply, err := s.send(frame); err != nil || events[0].Count != 255 ||
		string(reply) != "\x00\x00\x00\xff" {
		t.Errorf("%+v, %x, %v", events, reply, err)
	}
}

// lines are the texts that the payloads of codec 12 become.
func lines(tb testing.TB, s *session, payloads ...string) (texts []string) {
	tb.Helper()
	for _, payload := range payloads {
		events, reply, err := s.send(command(6, payload))
		if err != nil || len(reply) != 0 {
			tb.Fatalf("%x, %v", reply, err)
		}
		for _, e := range events {
			if e.Kind == protocol.KindText {
				texts = append(texts, e.Text)
			}
		}
	}
	return texts
}

func TestLinesWithoutAnEndAreBounded(t *testing.T) {
	for _, eol := range []string{`\r\n`, `<>`} {
		end := map[string]string{`\r\n`: "\r\n", `<>`: "<>"}[eol]
		s := open(t, map[string]string{"chat": "serial", "eol": eol})
		long := strings.Repeat("a", 1000)
		if got := lines(t, s, long, long, long, long, end, "next"+end); !slices.Equal(got,
			[]string{strings.Repeat(long, 4), "next"}) {
			t.Errorf("%q: 4,000 bytes gave %d texts", eol, len(got))
		}
		if got := lines(t, s, long, long, long, long, long, long, long+end[:1],
			end[1:]+"next"+end); !slices.Equal(got, []string{"next"}) {
			t.Errorf("%q: 7,000 bytes gave %d texts", eol, len(got))
		}
		if got := lines(t, s, strings.Repeat(long, 7)+end+"next"+end); len(got) != 2 {
			t.Errorf("%q: one packet gave %d texts", eol, len(got))
		}
	}
}

func TestTextCannotEndItsLineEarly(t *testing.T) {
	for eol, texts := range map[string]map[string]string{
		`\r\n`: {"a\r\nb\x00c\n": "a  b c \r\n"},
		`;;`:   {"a;b;;c;": "a;b ;c ;;", ";;;": "   ;;"},
		"":     {"a\nb": "a b"},
	} {
		s := open(t, map[string]string{"chat": "serial", "eol": eol})
		for text, want := range texts {
			out, err := s.codec.AppendText(nil, protocol.Text{Parts: 1, Body: text})
			if err != nil || !bytes.Equal(out, command(0x0E, want)) {
				t.Errorf("%q with %q became %q, %v", text, eol, out, err)
			}
		}
	}
}

func TestPartsFitThePacket(t *testing.T) {
	for name, settings := range map[string]map[string]string{
		"plain":    {"chat": "serial"},
		"numbered": {"chat": "serial", "ack_pattern": `(\d+)`, "eol": "<>"},
		"codec 14": {"chat": "serial", "down_codec": "14", "part_bytes": "100"},
	} {
		s := open(t, settings)
		caps := s.codec.Caps()
		out, err := s.codec.AppendText(nil, protocol.Text{
			Ref: 65_535, Parts: 1,
			Body: strings.Repeat("a", caps.PartBytes),
		})
		most := 480
		if settings["part_bytes"] != "" {
			most = 100
		}
		if size := int(binary.BigEndian.Uint32(out[11:])); err != nil ||
			size != most && size != most+8 {
			t.Errorf("%s: %d bytes of payload, %v", name, size, err)
		}
		if out, err := s.codec.AppendText([]byte("kept"), protocol.Text{
			Parts: 1,
			Body:  strings.Repeat("a", caps.PartBytes+1),
		}); !errors.Is(err, protocol.ErrNotText) ||
			string(out) != "kept" {
			t.Errorf("%s: one byte more: %x, %v", name, out, err)
		}
	}
}

func TestDeviceOfAnotherIMEIRefusesCodec14(t *testing.T) {
	s := open(t, map[string]string{"chat": "serial", "down_codec": "14", "ack_pattern": `^A(\d+)$`})
	down, err := s.codec.AppendText(nil, protocol.Text{Ref: 9, Parts: 1, Body: "for another"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, "", map[string]string{"chat": "serial"})
	cfg.ID = "352093081452468"
	up, seen, err := protocoltest.NewDeviceStream(teltonika.New().NewDevice(cfg)).Feed(down)
	if err != nil || len(seen) != 0 {
		t.Fatalf("%+v, %v", seen, err)
	}
	events, reply, err := s.send(up)
	if err != nil || len(events) != 1 || events[0].Outcome != protocol.AckRejected ||
		events[0].Ref != 9 || len(reply) != 0 {
		t.Errorf("%x became %+v, %v", up, events, err)
	}
}

func TestTerminalAcknowledgesOnlyWhatThePatternAllows(t *testing.T) {
	for pattern, want := range map[string]string{
		`^A(\d+)$`: "A7\r\n", `<(\d+)>`: "<7>\r\n", `^(?:ok|OK) (\d+)$`: "", `^A([a-z]+)$`: "",
		`^OK$`: "OK\r\n", `^OK[!.]$`: "",
	} {
		d := teltonika.New().NewDevice(config(t, "", map[string]string{
			"chat":        "serial",
			"ack_pattern": pattern,
		}))
		out := d.AppendAck(nil, protocol.DeviceEvent{Kind: protocol.DeviceText, Ref: 7},
			protocol.AckDelivered)
		if want == "" && len(out) != 0 || want != "" && !bytes.Equal(out, command(6, want)) {
			t.Errorf("%s: %q", pattern, out)
		}
		if out := d.AppendAck(nil, protocol.DeviceEvent{Kind: protocol.DeviceText, Ref: 7},
			protocol.AckStorage); len(out) != 0 {
			t.Errorf("%s: a refusal is %q", pattern, out)
		}
	}
}

func TestDeviceWithoutChat(t *testing.T) {
	d := protocoltest.NewDeviceStream(teltonika.New().NewDevice(config(t, "",
		map[string]string{"chat": "none"})))
	if _, err := d.AppendText(nil, "x"); !errors.Is(err, protocol.ErrNotText) {
		t.Errorf("%v", err)
	}
	if _, seen, err := d.Feed(command(0x05, "getver")); err != nil || len(seen) != 1 ||
		seen[0].Kind != protocol.DeviceOther {
		t.Errorf("%+v, %v", seen, err)
	}
	if out := append(d.AppendChoice(nil, protocol.DeviceEvent{}, 1), d.AppendAck(nil,
		protocol.DeviceEvent{}, protocol.AckDelivered)...); len(out) != 0 {
		t.Errorf("%x", out)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	p := teltonika.New()
	for name, wrong := range map[string][]string{
		"chat": {"", "radio"}, "down_codec": {"13"}, "down_type": {"256", "x"}, "up_types": {
			"",
			"6;7", "16",
		}, "eol": {`\q`, "12345"},
		"ack_pattern": {"(", `(\d)(\d)`}, "part_bytes": {"31", "1201"}, "charset": {"koi8"},
		"fmi_version": {"a999"}, "link_ack": {"us"}, "fmi_show": {"x"}, "part_prefix": {"1"},
	} {
		for _, value := range wrong {
			if _, err := p.NewSettings(map[string]string{name: value}); err == nil {
				t.Errorf("%s=%q was accepted", name, value)
			}
		}
	}
	for name, value := range map[string]string{
		"eol": `\r\n\r\n`, "up_types": "0,15", "down_type": "255", "part_bytes": "1200",
	} {
		if _, err := p.NewSettings(map[string]string{name: value}); err != nil {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
	for _, s := range p.Settings {
		if s.Help == "" || s.Check == nil {
			t.Errorf("%s: help %q", s.Name, s.Help)
		}
	}
}

func TestBoundSettingsReplaceTheListeners(t *testing.T) {
	c := teltonika.New().NewCodec(protocoltest.NewSettings(t, teltonika.New(), nil))
	c.Bind(protocoltest.NewSettings(t, teltonika.New(), map[string]string{"chat": "none"}))
	if caps := c.Caps(); !caps.NoText {
		t.Errorf("%+v", caps)
	}
	c.Bind(protocoltest.NewSettings(t, teltonika.New(), map[string]string{"fmi_version": "a611"}))
	if caps := c.Caps(); caps.NoText || caps.PartBytes != 1999 {
		t.Errorf("%+v", caps)
	}
}

// FuzzTerminal: what a terminal writes becomes the same texts and acks however the serial port cuts
// it.
func FuzzTerminal(f *testing.F) {
	f.Add("On my way\r\nA12\r\n", `\r\n`, uint64(1))
	f.Add("a<b<>c<><>", "<>", uint64(2))
	f.Add(strings.Repeat("a", 5000)+"\nA7\n", `\n`, uint64(3))
	f.Fuzz(func(t *testing.T, stream, eol string, seed uint64) {
		settings, err := teltonika.New().NewSettings(map[string]string{
			"chat": "serial", "eol": eol,
			"ack_pattern": `^A(\d+)$`,
		})
		if err != nil || eol == "" || len(stream) > 4000 {
			// a longer line is dropped or not, depending on where it is cut
			return
		}
		var all [2][]protocol.Event
		for i, pieces := range [][][]byte{{[]byte(stream)}, protocoltest.Randomly([]byte(stream),
			rand.New(rand.NewPCG(seed, 0)))} {
			s := session{t, teltonika.New().NewCodec(settings)}
			for _, frame := range [][]byte{[]byte("\x00\x0f" + imei), avl()} {
				if _, _, err := s.send(frame); err != nil {
					t.Fatal(err)
				}
			}
			for _, piece := range pieces {
				events, reply, err := s.send(command(6, string(piece)))
				if err != nil || len(events) == 0 || len(reply) != 0 {
					t.Fatalf("%+v, %x, %v", events, reply, err)
				}
				for _, e := range events {
					if e.Kind != protocol.KindOther {
						all[i] = append(all[i], e)
					}
					if !utf8.ValidString(e.Text) ||
						(e.Kind == protocol.KindText) == (e.Text == "") {
						t.Fatalf("%+v", e)
					}
				}
			}
		}
		if !slices.Equal(all[0], all[1]) {
			t.Fatalf("%+v and %+v", all[0], all[1])
		}
	})
}
