package galileosky_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/protocoltest"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const imei = "861230043907626"

func vectors(tb testing.TB) []protocoltest.Vector {
	tb.Helper()
	return protocoltest.Vectors(tb, "galileosky.jsonl")
}

func config(tb testing.TB, variant string, values map[string]string) protocol.DeviceConfig {
	tb.Helper()
	return protocol.DeviceConfig{ID: imei, Variant: variant, Settings: protocoltest.NewSettings(tb,
		galileosky.New(), values)}
}

// crc is the definition of CRC-16/MODBUS bit by bit, which the package computes in another way.
func crc(b []byte) uint16 {
	c := uint16(0xFFFF)
	for _, x := range b {
		c ^= uint16(x)
		for range 8 {
			c = c>>1 ^ c&1*0xA001
		}
	}
	return c
}

// packet wraps a body.
func packet(head byte, body string) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{head}, uint16(len(body)))
	b = append(b, body...)
	return binary.LittleEndian.AppendUint16(b, crc(b))
}

// confirmation is what the server answers to a packet.
func confirmation(head byte, frame []byte) string {
	return string([]byte{head}) + string(frame[len(frame)-2:])
}

func headPacket() []byte { return packet(1, "\x01\x82\x02\x10\x03"+imei+"\x04\x32\x00") }

// session is a codec; the test plays the gateway and finds everything OK.
type session struct {
	tb    testing.TB
	codec protocol.Codec
}

func loggedIn(tb testing.TB, values map[string]string) *session {
	tb.Helper()
	s := &session{tb, galileosky.New().NewCodec(protocoltest.NewSettings(tb, galileosky.New(),
		values))}
	if events, reply, err := s.send(headPacket()); err != nil || len(events) != 1 ||
		string(reply) != confirmation(2, headPacket()) {
		tb.Fatalf("%+v, %x, %v", events, reply, err)
	}
	return s
}

func (s *session) send(frame []byte) (events []protocol.Event, reply []byte, err error) {
	return s.result(frame, protocol.OK)
}

func (s *session) result(frame []byte, r protocol.Result) (events []protocol.Event, reply []byte,
	err error,
) {
	events, err = protocoltest.Decode(s.codec, frame)
	for i := range events {
		reply = s.codec.AppendReply(reply, &events[i], r)
	}
	return events, reply, err
}

func TestVectors(t *testing.T) {
	for _, chat := range []string{"fmi", "command", "none"} {
		t.Run(chat, func(t *testing.T) {
			settings := map[string]string{"chat": chat, "delivered_on": "reply"}
			protocoltest.Run(t, galileosky.New(), protocoltest.Options{
				Vectors: vectors(t), Settings: settings,
				Device: func(protocoltest.Vector) protocol.DeviceConfig {
					return config(t, "",
						settings)
				},
				Prepare: logIn,
				Answer:  checkAnswer,
			})
		})
	}
}

func logIn(t *testing.T, c protocol.Codec, _ protocoltest.Vector) {
	t.Helper()
	s := session{t, c}
	if _, _, err := s.send(headPacket()); err != nil {
		t.Fatal(err)
	}
}

// checkAnswer also counts the positions, which takes the sizes of all tags in the packet.
func checkAnswer(t *testing.T, v protocoltest.Vector, events []protocol.Event, reply []byte) {
	t.Helper()
	frame := v.Bytes()
	// on the serial link, which says nothing about the text; the tunnel itself has no confirmation.
	acknowledged := ""
	if events[0].Msg>>16 == 0xA1 {
		acknowledged = string(packet(6, "\x10\x06\x02\xa1\x00\x57\x10\x03"))
	}
	want := map[byte]string{
		1: confirmation(2, frame), 7: confirmation(7, frame),
		6: acknowledged,
	}[frame[0]]
	if string(reply) != want {
		t.Errorf("answered with %x instead of %x", reply, want)
	}
	count := 0
	for _, e := range events {
		count += e.Count
	}
	counts := map[string]int{
		"galileosky-0688": 1, "galileosky-0689": 7, "galileosky-0697": 3,
		"galileosky-0698": 10,
	}
	if count != counts[v.Origin()] {
		t.Errorf("%d positions instead of %d", count, counts[v.Origin()])
	}
}

func TestTranscripts(t *testing.T) { protocoltest.Transcripts(t, galileosky.New(), *update) }

func TestRoundTrip(t *testing.T) {
	const alphabet = `[ -~А-яё€]` // a navigator's text has 199 bytes
	for _, c := range []struct {
		variant  string
		settings map[string]string
		sides    protocoltest.Sides
	}{
		{"a604", nil, protocoltest.Sides{Outcomes: []protocol.Outcome{protocol.AckDelivered}}},
		{
			"a604",
			map[string]string{"link_ack": "tracker", "part_prefix": "true"},
			protocoltest.Sides{Outcomes: []protocol.Outcome{protocol.AckDelivered}},
		},
		{"", nil, protocoltest.Sides{Outcomes: []protocol.Outcome{
			protocol.AckDelivered,
			protocol.AckStorage,
		}, Down: untilSegment}},
		{"a602", nil, protocoltest.Sides{Outcomes: []protocol.Outcome{protocol.AckOpened}}},
	} {
		t.Run(fmt.Sprint(c.variant, c.settings), func(t *testing.T) {
			c.sides.Alphabet, c.sides.Config = alphabet, config(t, c.variant, c.settings)
			protocoltest.RoundTrip(t, galileosky.New(), c.sides)
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
		protocoltest.NoAllocs(t, galileosky.New(), config(t, variant, nil))
	}
}

func BenchmarkGalileosky(b *testing.B) {
	protocoltest.Benchmark(b, galileosky.New(), config(b, "", nil))
}

func FuzzFrame(f *testing.F) { protocoltest.FuzzFrame(f, galileosky.New(), vectors(f)) }

func FuzzDecode(f *testing.F) { protocoltest.FuzzDecode(f, galileosky.New(), vectors(f), nil) }

func FuzzDevice(f *testing.F) {
	protocoltest.FuzzDevice(f, galileosky.New(), vectors(f), config(f, "", nil))
}
