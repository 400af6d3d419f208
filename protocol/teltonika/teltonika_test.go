package teltonika_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"slices"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/teltonika"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const imei = "352093081452251"

func vectors(tb testing.TB) []protocoltest.Vector {
	tb.Helper()
	return protocoltest.Vectors(tb, "teltonika.jsonl")
}

func config(tb testing.TB, variant string, values map[string]string) protocol.DeviceConfig {
	tb.Helper()
	return protocol.DeviceConfig{ID: imei, Variant: variant, Settings: protocoltest.NewSettings(tb,
		teltonika.New(), values)}
}

// crc is the definition of CRC-16/ARC bit by bit, which the package computes in another way.
func crc(b []byte) uint32 {
	c := uint32(0)
	for _, x := range b {
		c ^= uint32(x)
		for range 8 {
			c = c>>1 ^ c&1*0xA001
		}
	}
	return c
}

// packet wraps data.
func packet(data ...byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), uint32(len(data)))
	b = append(b, data...)
	return binary.BigEndian.AppendUint32(b, crc(data))
}

// command is a packet of codec 12.
func command(typ byte, payload string) []byte {
	data := binary.BigEndian.AppendUint32([]byte{12, 1, typ}, uint32(len(payload)))
	return packet(append(append(data, payload...), 1)...)
}

// avl is a packet with one record of codec 8 that holds nothing.
func avl() []byte { return packet(slices.Concat([]byte{8, 1}, make([]byte, 30), []byte{1})...) }

// session is a codec; the test plays the gateway and finds everything OK.
type session struct {
	tb    testing.TB
	codec protocol.Codec
}

// open is a session of a device that has logged in and sent its positions.
func open(tb testing.TB, values map[string]string) *session {
	tb.Helper()
	s := &session{tb, teltonika.New().NewCodec(protocoltest.NewSettings(tb, teltonika.New(),
		values))}
	if events, reply, err := s.send([]byte("\x00\x0f" + imei)); err != nil || len(events) != 1 ||
		string(reply) != "\x01" {
		tb.Fatalf("%+v, %x, %v", events, reply, err)
	}
	if events, reply, err := s.send(avl()); err != nil || len(events) != 1 ||
		string(reply) != "\x00\x00\x00\x01" {
		tb.Fatalf("%+v, %x, %v", events, reply, err)
	}
	return s
}

func (s *session) send(frame []byte) (events []protocol.Event, reply []byte, err error) {
	events, err = protocoltest.Decode(s.codec, frame)
	for i := range events {
		reply = s.codec.AppendReply(reply, &events[i], protocol.OK)
	}
	return events, reply, err
}

func TestVectors(t *testing.T) {
	for _, chat := range []string{"fmi", "serial", "none"} {
		t.Run(chat, func(t *testing.T) {
			settings := map[string]string{"chat": chat}
			protocoltest.Run(t, teltonika.New(), protocoltest.Options{
				Vectors: vectors(t), Settings: settings,
				Device: func(protocoltest.Vector) protocol.DeviceConfig {
					return config(t, "",
						settings)
				},
				Prepare: logIn,
				Answer:  checkAnswer,
				LosesFraming: func(v protocoltest.Vector) bool {
					return v.LengthOK != nil &&
						!*v.LengthOK
				},
			})
		})
	}
}

// logIn opens the session in which v can come, unless it is a login itself.
func logIn(t *testing.T, c protocol.Codec, v protocoltest.Vector) {
	t.Helper()
	if v.Bytes()[0] == 0 && v.Bytes()[1] == 0 {
		s := session{t, c}
		if _, _, err := s.send([]byte("\x00\x0f" + imei)); err != nil {
			t.Fatal(err)
		}
	}
}

// checkAnswer knows what the device waits for: one byte after a login, the number of records after
// positions, nothing after anything else.
func checkAnswer(t *testing.T, v protocoltest.Vector, events []protocol.Event, reply []byte) {
	t.Helper()
	frame, want := v.Bytes(), ""
	switch {
	case frame[1] != 0:
		want = "\x01"
	case frame[8] != 12 && frame[8] != 13 && frame[8] != 14 && frame[8] != 15:
		want = string(binary.BigEndian.AppendUint32(nil, uint32(frame[9])))
		if events[0].Kind != protocol.KindPosition || events[0].Count != int(frame[9]) {
			t.Errorf("%+v", events)
		}
	}
	if string(reply) != want {
		t.Errorf("answered with %x instead of %x", reply, want)
	}
}

func TestTranscripts(t *testing.T) { protocoltest.Transcripts(t, teltonika.New(), *update) }

func TestRoundTrip(t *testing.T) {
	fmiAlphabet := `[ -~А-яё€]` // a navigator's text has 199 bytes
	for _, c := range []struct {
		variant  string
		settings map[string]string
		sides    protocoltest.Sides
	}{
		{"", nil, protocoltest.Sides{
			Alphabet: fmiAlphabet,
			Outcomes: []protocol.Outcome{protocol.AckDelivered},
		}},
		{"a604", map[string]string{
			"link_ack": "server", "fmi_show": "now", "part_prefix": "true",
			"down_codec": "14",
		}, protocoltest.Sides{
			Alphabet: fmiAlphabet,
			Outcomes: []protocol.Outcome{protocol.AckDelivered},
		}},
		{
			"a604",
			map[string]string{"charset": "cp1251", "up_types": "11", "down_type": "7"},
			protocoltest.Sides{
				Alphabet: `[ -~А-яёЁ€]`,
				Outcomes: []protocol.Outcome{protocol.AckDelivered},
			},
		},
		{"a611", map[string]string{"fmi_version": "a611"}, protocoltest.Sides{
			Alphabet: fmiAlphabet, Outcomes: []protocol.Outcome{
				protocol.AckDelivered,
				protocol.AckStorage,
			}, Down: untilSegment,
		}},
		{"a602", map[string]string{"fmi_version": "a602"}, protocoltest.Sides{
			Alphabet: fmiAlphabet,
			Outcomes: []protocol.Outcome{protocol.AckOpened},
		}},
		{
			"",
			map[string]string{"chat": "serial", "ack_pattern": `^ACK (\d+)!$`},
			protocoltest.Sides{
				Outcomes:   []protocol.Outcome{protocol.AckDelivered},
				Unanswered: true,
			},
		},
		{
			"",
			map[string]string{"chat": "serial", "ack_pattern": "^OK$"},
			protocoltest.Sides{
				Outcomes:   []protocol.Outcome{protocol.AckDelivered},
				Unanswered: true,
			},
		},
		{"", map[string]string{
			"chat": "serial", "ack_pattern": `^A(\d+)$`, "charset": "gbk",
			"eol": `\x03`, "part_prefix": "true", "down_codec": "14",
		}, protocoltest.Sides{
			Alphabet: `[ -~А-яё好司机]`, Outcomes: []protocol.Outcome{protocol.AckDelivered},
			Unanswered: true,
		}},
	} {
		t.Run(fmt.Sprint(c.variant, c.settings), func(t *testing.T) {
			c.sides.Config, c.sides.Wrong = config(t, c.variant, c.settings), protocol.UnknownDevice
			protocoltest.RoundTrip(t, teltonika.New(), c.sides)
		})
	}
}

// untilSegment is the space that a text gets which would end with its segment.
func untilSegment(text string) string {
	if len(text)%200 == 0 {
		return text + " "
	}
	return text
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, variant := range []string{"a604", "a611"} {
		protocoltest.NoAllocs(t, teltonika.New(), config(t, variant,
			map[string]string{"fmi_version": variant}))
	}
}

func BenchmarkTeltonika(b *testing.B) {
	protocoltest.Benchmark(b, teltonika.New(),
		config(b, "", nil))
}

func FuzzFrame(f *testing.F) { protocoltest.FuzzFrame(f, teltonika.New(), vectors(f)) }

func FuzzDecode(f *testing.F) { protocoltest.FuzzDecode(f, teltonika.New(), vectors(f), nil) }

func FuzzDevice(f *testing.F) {
	protocoltest.FuzzDevice(f, teltonika.New(), vectors(f), config(f, "", nil))
}
