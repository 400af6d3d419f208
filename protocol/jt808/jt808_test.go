package jt808_test

import (
	"encoding/binary"
	"flag"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const vectorsFile = "jt808.jsonl"

// message is a frame taken apart by the test itself, so that it does not trust the code under test.
type message struct {
	id, serial uint16
	long       bool
	phone      []byte
	body       []byte
}

// unframe takes the frames of b apart; a damaged one fails the test.
func unframe(t *testing.T, b []byte) []message {
	t.Helper()
	var messages []message
	for escaped := range strings.SplitSeq(string(b), "\x7e\x7e") {
		raw := []byte(strings.NewReplacer("\x7d\x02", "\x7e", "\x7d\x01",
			"\x7d").Replace(strings.Trim(escaped, "\x7e")))
		if len(raw) == 0 {
			continue
		}
		xor := byte(0)
		for _, c := range raw {
			xor ^= c
		}
		if xor != 0 || len(raw) < 13 {
			t.Fatalf("% x is no frame", b)
		}
		m := message{id: binary.BigEndian.Uint16(raw), long: raw[2]&0x40 != 0}
		head := 12
		m.phone = raw[4:10]
		if m.long {
			head, m.phone = 17, raw[5:15]
		}
		m.serial, m.body = binary.BigEndian.Uint16(raw[head-2:]), raw[head:len(raw)-1]
		if raw[2]&0x20 != 0 {
			m.body = m.body[4:]
		}
		if int(binary.BigEndian.Uint16(raw[2:])&0x3FF) != len(m.body) {
			t.Fatalf("% x: wrong length", b)
		}
		messages = append(messages, m)
	}
	return messages
}

// wantAnswer is the table of answers: the id and body that answer a message, nil where nothing
// does.
func wantAnswer(m message, encrypted, part bool) (id uint16, body []byte) {
	general := func(result byte) (uint16, []byte) {
		return 0x8001, []byte{
			byte(m.serial >> 8), byte(m.serial), byte(m.id >> 8), byte(m.id),
			result,
		}
	}
	switch m.id {
	case 0x0001, 0x0004, 0x0005, 0x0109:
		return 0, nil
	case 0x0100:
		return 0x8100, append([]byte{byte(m.serial >> 8), byte(m.serial), 0},
			protocoltest.Secret...)
	case 0x0801:
		if encrypted {
			return general(3)
		}
		if part {
			return general(0)
		}
		return 0x8800, m.body[:4]
	case 0x0002, 0x0003, 0x0102, 0x0104, 0x0107, 0x0200, 0x0201, 0x0210, 0x0301, 0x0302, 0x0303,
		0x0500, 0x0701, 0x0702, 0x0704, 0x0705, 0x0800, 0x0805, 0x0900, 0x0901, 0x1007, 0x1300,
		0x6006:
		return general(0)
	}
	return general(3)
}

func TestVectors(t *testing.T) {
	protocoltest.Run(t, jt808.New(), protocoltest.Options{
		Vectors:  protocoltest.Vectors(t, vectorsFile),
		Settings: map[string]string{"serial_text": "0x41,0x42", "events": "3=Need fuel"},
		Wrap:     wrapBody,
		Answer: func(t *testing.T, v protocoltest.Vector, events []protocol.Event, reply []byte) {
			t.Helper()
			whole := v.Bytes()
			if v.BodyOnly() {
				whole = wrapBody(v)
			}
			up, down := unframe(t, whole)[0], unframe(t, reply)
			attributes := binary.BigEndian.Uint16(whole[3:])
			id, body := wantAnswer(up, attributes&0x1C00 != 0, attributes&0x2000 != 0)
			if id == 0 {
				if len(down) != 0 {
					t.Fatalf("%s was answered by %+v", v.Description, down)
				}
				return
			}
			if len(down) != 1 || down[0].id != id || string(down[0].body) != string(body) ||
				string(down[0].phone) != string(up.phone) || down[0].long != up.long {
				t.Fatalf("%s was answered by %+v, not %04x % x", v.Description, down, id, body)
			}
			checkMeaning(t, v, up, events)
		},
	})
}

// checkMeaning holds the events of generated frames to what the document says about them.
func checkMeaning(t *testing.T, v protocoltest.Vector, up message, events []protocol.Event) {
	t.Helper()
	e := events[len(events)-1]
	e.Msg, e.Seq, e.Aux, e.Key, e.Window, e.Fleeting = 0, 0, 0, 0, 0, false
	want, known := map[string]protocol.Event{
		"jt808-0742": {Kind: protocol.KindLogin, DeviceID: "013812345678", Secret: "AUTH42"},
		"jt808-0744": {
			Kind: protocol.KindLogin, DeviceID: "00000000013812345678",
			Secret: "AUTH42",
		},
		"jt808-0745": {Kind: protocol.KindHeartbeat},
		"jt808-0748": {Kind: protocol.KindAck, Ref: 100, Outcome: protocol.AckDelivered},
		"jt808-0749": {Kind: protocol.KindAck, Ref: 100, Outcome: protocol.AckFailed},
		"jt808-0751": {Kind: protocol.KindAck, Ref: 100, Outcome: protocol.AckUnsupported},
		"jt808-0756": {Kind: protocol.KindAck, Ref: 104, Outcome: protocol.AckDelivered},
		"jt808-0760": {Kind: protocol.KindAck, Ref: 201, Outcome: protocol.AckDelivered},
		"jt808-0761": {Kind: protocol.KindOther},
		"jt808-0764": {Kind: protocol.KindAnswer, Ref: 110, Choice: 1},
		"jt808-0765": {Kind: protocol.KindText, Text: "Need fuel"},
		"jt808-0767": {Kind: protocol.KindText, Text: "готово 👍"},
		"jt808-0768": {Kind: protocol.KindText, Text: "OK 10 min"},
		"jt808-0057": {Kind: protocol.KindText, Text: "Set OK!"},
		"jt808-0052": {Kind: protocol.KindPosition, Count: 6},
		"jt808-0245": {Kind: protocol.KindPosition, Count: 2},
		"jt808-0292": {Kind: protocol.KindPosition, Count: 3},
		"jt808-0084": {Kind: protocol.KindOther},
	}[v.Origin()]
	if v.IsDerived() {
		e.Text, e.DeviceID, e.Secret = want.Text, want.DeviceID, want.Secret
	}
	if !known && v.Kind == "generated" {
		t.Fatalf("nobody has said what %s means", v.ID)
	}
	if known && e != want {
		t.Errorf("%s became %+v, not %+v", v.Description, e, want)
	}
	if texts := map[uint16]bool{0x6006: true, 0x1300: true, 0x0301: true}; texts[up.id] &&
		e.Kind != protocol.KindText {
		t.Errorf("%s is no text: %+v", v.Description, e)
	}
}

// wrapBody frames the body of a vector; its description begins with BODY ONLY and the message id.
func wrapBody(v protocoltest.Vector) []byte {
	var id uint16
	for _, c := range strings.TrimPrefix(v.Description, "BODY ONLY 0x")[:4] {
		id = id<<4 | uint16(strings.IndexRune("0123456789abcdef", c))
	}
	return frame(id, 7, v.Bytes())
}

// frame writes a message of 2013 from 013812345678.
func frame(id, serial uint16, body []byte) []byte {
	return frameFrom([]byte{0x01, 0x38, 0x12, 0x34, 0x56, 0x78}, id, serial, body)
}

// frameFrom writes a message; a phone of ten bytes makes it one of 2019.
func frameFrom(phone []byte, id, serial uint16, body []byte, part ...uint16) []byte {
	attributes := uint16(len(body))
	if len(part) > 0 {
		attributes |= 0x2000
	}
	if len(phone) == 10 {
		attributes |= 0x4000
	}
	raw := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, id), attributes)
	if len(phone) == 10 {
		raw = append(raw, 1)
	}
	raw = binary.BigEndian.AppendUint16(append(raw, phone...), serial)
	for _, n := range part {
		raw = binary.BigEndian.AppendUint16(raw, n)
	}
	raw = append(raw, body...)
	xor := byte(0)
	for _, c := range raw {
		xor ^= c
	}
	raw = append(raw, xor)
	return []byte("\x7e" + strings.NewReplacer("\x7d", "\x7d\x01", "\x7e",
		"\x7d\x02").Replace(string(raw)) + "\x7e")
}

// unicodeText is the body of 0x6006 with encoding 1.
func unicodeText(text string) []byte {
	body := []byte{1}
	for _, unit := range utf16.Encode([]rune(text)) {
		body = binary.BigEndian.AppendUint16(body, unit)
	}
	return body
}

func TestTranscripts(t *testing.T) { protocoltest.Transcripts(t, jt808.New(), *update) }

func config(tb testing.TB, variant, password string,
	values map[string]string,
) protocol.DeviceConfig {
	tb.Helper()
	return protocol.DeviceConfig{
		ID: "13812345678", Variant: variant, Password: password,
		Settings: protocoltest.NewSettings(tb, jt808.New(), values),
	}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name, variant, password string
		settings                map[string]string
	}{
		{"2013", "", "", nil},
		{"2013 with a code", "2013", "K7", map[string]string{"events": "1=Arrived;2=出发"}},
		{"2011", "2011", "K7", map[string]string{"part_bytes": "60", "part_prefix": "true"}},
		{"2013 in UTF-8", "2013", "K7", map[string]string{"charset": "utf8", "events": "1=出发"}},
		{"2019", "2019", "", map[string]string{"part_bytes": "64"}},
		{"2019 with a code", "2019", "K7", map[string]string{
			"text_flags": "0x0D",
			"text_type":  "1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			protocoltest.RoundTrip(t, jt808.New(), protocoltest.Sides{
				Config: config(t, c.variant, c.password, c.settings),
				Outcomes: []protocol.Outcome{
					protocol.AckDelivered, protocol.AckFailed,
					protocol.AckRejected, protocol.AckUnsupported,
				},
				Wrong: protocol.BadCredentials,
			})
		})
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, variant := range []string{"2013", "2019"} {
		protocoltest.NoAllocs(t, jt808.New(), config(t, variant, "K7", nil))
	}
}

func BenchmarkCodec(b *testing.B) {
	protocoltest.Benchmark(b, jt808.New(), config(b, "2013", "K7", nil))
}

func FuzzFrame(f *testing.F) {
	protocoltest.FuzzFrame(f, jt808.New(), protocoltest.Vectors(f, vectorsFile))
}

func FuzzDecode(f *testing.F) {
	protocoltest.FuzzDecode(f, jt808.New(), protocoltest.Vectors(f, vectorsFile),
		map[string]string{"lenient": "true", "serial_text": "0x41", "events": "1=a"})
}

// FuzzMessage gets past the XOR, which fuzzed frames seldom do.
func FuzzMessage(f *testing.F) {
	p := jt808.New()
	settings := protocoltest.NewSettings(f, p, map[string]string{
		"serial_text": "0x41",
		"events":      "1=a",
	})
	for _, id := range []uint16{
		0x0001, 0x0004, 0x0100, 0x0102, 0x0200, 0x0301, 0x0302, 0x0704,
		0x0801, 0x0900, 0x1300, 0x6006,
	} {
		f.Add(id, uint16(7), uint16(0), uint16(0), byte(0), []byte{0x41, 0, 'a', 0, 'b'})
		f.Add(id, uint16(8), uint16(2), uint16(1), byte(1), []byte{1, 0, 'a', 0, 'b'})
	}
	f.Fuzz(func(t *testing.T, id, serial, total, number uint16, r byte, body []byte) {
		body = body[:min(len(body), 1023)]
		for _, phone := range [][]byte{phone2013, make([]byte, 10)} {
			c := p.NewCodec(settings)
			frames := [][]byte{frameFrom(phone, 0x0102, 1, []byte("A")), frameFrom(phone, id,
				serial, body), frameFrom(phone, id, serial, body, total, number), frameFrom(phone,
				id, serial+1, body, total, number+1)}
			for i, frame := range frames {
				events, err := protocoltest.Decode(c, frame)
				for j := range events {
					result := protocol.OK
					if i > 0 {
						result = protocol.Result(r % 6)
					}
					e := &events[j]
					if !utf8.ValidString(e.Text) ||
						(e.Kind == protocol.KindText) != (e.Text != "") ||
						e.Count > len(body)+2400 {
						t.Fatalf("%x became %+v", frame, e)
					}
					if reply := c.AppendReply(nil, e, result); len(reply) > 0 {
						unframe(t, reply)
					}
				}
				if len(events) == 0 && err == nil {
					t.Fatalf("%x became nothing", frame)
				}
			}
			now := time.Unix(1_700_000_000, 0)
			for range 4 {
				out, _ := c.Poll(nil, now)
				unframe(t, out)
				now = now.Add(20 * time.Second)
			}
		}
	})
}

func FuzzDevice(f *testing.F) {
	protocoltest.FuzzDevice(f, jt808.New(), protocoltest.Vectors(f, vectorsFile),
		protocol.DeviceConfig{ID: "1", Variant: "2019"})
}
