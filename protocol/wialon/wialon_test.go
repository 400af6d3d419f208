package wialon_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/wialon"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const imei = "350000000000121"

// crc is the definition of CRC-16/ARC bit by bit, which the package computes in another way.
func crc(s string) string {
	var c uint16
	for i := range len(s) {
		c ^= uint16(s[i])
		for range 8 {
			c = c>>1 ^ c&1*0xA001
		}
	}
	return fmt.Sprintf("%04X", c)
}

// line2 is a packet of version 2.0.
func line2(typ, msg string) string { return "#" + typ + "#" + msg + ";" + crc(msg+";") + "\r\n" }

// loggedIn is a session in which a device of that version logged in.
func loggedIn(tb testing.TB, version string, settings map[string]string) *protocoltest.Session {
	tb.Helper()
	s := protocoltest.NewSession(tb, wialon.New(), settings)
	login := "#L#" + imei + ";NA\r\n"
	if version == "2.0" {
		login = line2("L", "2.0;"+imei+";NA")
	}
	if got := s.Send(login); got.Err != nil || got.Answers != "#AL#1\r\n" {
		tb.Fatalf("login: %+v", got)
	}
	return s
}

func vectors(tb testing.TB) []protocoltest.Vector {
	tb.Helper()
	return protocoltest.Vectors(tb, "wialon-ips.jsonl")
}

func device(tb testing.TB, variant string, settings map[string]string) protocol.DeviceConfig {
	tb.Helper()
	return protocol.DeviceConfig{
		ID: imei, Password: "secret", Variant: variant,
		Settings: protocoltest.NewSettings(tb, wialon.New(), settings),
	}
}

func TestVectors(t *testing.T) {
	for name, prepare := range preparations() {
		t.Run(name, func(t *testing.T) {
			protocoltest.Run(t, wialon.New(), protocoltest.Options{
				Vectors: vectors(t), Prepare: prepare, Answer: checkAnswer,
			})
		})
	}
}

// preparations are the states in which a frame may come.
func preparations() map[string]func(*testing.T, protocol.Codec, protocoltest.Vector) {
	return map[string]func(*testing.T, protocol.Codec, protocoltest.Vector){
		"before a login": nil,
		"after a login of the version that fits": func(t *testing.T, c protocol.Codec,
			v protocoltest.Vector,
		) {
			t.Helper()
			if login := loginFor(v); login != "" {
				if _, err := protocoltest.Decode(c, []byte(login)); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
}

// loginFor returns the login after which v can come: of 2.0 where v ends in a CRC that fits.
func loginFor(v protocoltest.Vector) string {
	line := strings.TrimRight(string(v.Bytes()), "\r\n")
	if line == "" || line[0] != '#' || strings.HasPrefix(line, "#L#") {
		return ""
	}
	msg := line[strings.Index(line[1:], "#")+2:]
	if i := strings.LastIndex(msg, ";"); i >= 0 && msg[i+1:] == crc(msg[:i+1]) {
		return line2("L", "2.0;"+imei+";NA")
	}
	return "#L#" + imei + ";NA\r\n"
}

func checkAnswer(t *testing.T, v protocoltest.Vector, events []protocol.Event, reply []byte) {
	t.Helper()
	frame := string(v.Bytes())
	if frame[0] == 0xFF { // it holds a login
		frame = "#L#"
	}
	first := strings.Index(frame, "#") + 1
	typ := frame[first : first+strings.Index(frame[first:], "#")]
	want := map[string]string{
		"L": "#AL#1\r\n", "P": "#AP#\r\n", "SD": "#ASD#1\r\n",
		"D": "#AD#1\r\n", "M": "#AM#1\r\n",
	}[typ]
	if typ == "B" {
		want = fmt.Sprintf("#AB#%d\r\n", 1+strings.Count(frame, "|"))
	}
	if string(reply) != want {
		t.Errorf("answered with %q instead of %q", reply, want)
	}
	texts := map[string]string{
		"wialon-ips-0773": "On my way", "wialon-ips-0774": "a;b#c",
		"wialon-ips-0778": "Груз принят; еду", "wialon-ips-0780": "need fuel",
	}
	for _, e := range events {
		if e.Kind == protocol.KindText && e.Text != texts[v.ID] {
			t.Errorf("text %q instead of %q", e.Text, texts[v.ID])
		}
	}
	if texts[v.ID] != "" && events[0].Kind != protocol.KindText {
		t.Errorf("no text but %+v", events[0])
	}
}

func TestTranscripts(t *testing.T) { protocoltest.Transcripts(t, wialon.New(), *update) }

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		variant  string
		settings map[string]string
		alphabet string
	}{
		{"1.1", nil, ""},
		{"2.0", nil, ""},
		{
			"2.0",
			map[string]string{"charset": "cp1251", "part_bytes": "40", "part_prefix": "true"},
			`[ -~А-яёЁ€]`,
		},
	} {
		t.Run(fmt.Sprint(c.variant, c.settings), func(t *testing.T) {
			protocoltest.RoundTrip(t, wialon.New(), protocoltest.Sides{
				Config:   device(t, c.variant, c.settings),
				Alphabet: c.alphabet,
				Outcomes: []protocol.Outcome{
					protocol.AckDelivered, protocol.AckDamaged,
					protocol.AckRejected,
				},
				Wrong: protocol.UnknownDevice,
			})
		})
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	protocoltest.NoAllocs(t, wialon.New(), device(t, "2.0", nil))
}

func BenchmarkWialon(b *testing.B) {
	protocoltest.Benchmark(b, wialon.New(), device(b, "2.0",
		nil))
}

func BenchmarkExtendedData(b *testing.B) {
	s := loggedIn(b, "2.0", nil)
	frame := []byte(line2("D",
		"240123;135321;5512.3456;N;03734.5678;E;89;42;1250;16;NA;NA;NA;;NA;ign:1:1,fuel1:1:2183,fuel2:1:2421"))
	emit := func(*protocol.Event) {}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Codec.Decode(frame, emit); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzFrame(f *testing.F) { protocoltest.FuzzFrame(f, wialon.New(), vectors(f)) }

func FuzzDecode(f *testing.F) { protocoltest.FuzzDecode(f, wialon.New(), vectors(f), nil) }

func FuzzDevice(f *testing.F) {
	protocoltest.FuzzDevice(f, wialon.New(), vectors(f), device(f, "", nil))
}

func TestIdleCodecIsSmall(t *testing.T) {
	protocoltest.IdleCodec(t, wialon.New(), line2("L", "2.0;"+imei+";NA"), 100)
}
