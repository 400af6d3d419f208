package watch_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/watch"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const id = "9900000001"

// frame is a frame of the plain form, written as the document says.
func frame(content string) string { return fmt.Sprintf("[3G*%s*%04x*%s]", id, len(content), content) }

// numbered is one of the numbered form.
func numbered(number, content string) string {
	return fmt.Sprintf("[ZJ*%s*%s*%04x*%s]", id, number, len(content), content)
}

func kinds(s protocoltest.Seen) (list []protocol.Kind) {
	for _, e := range s.Events {
		list = append(list, e.Kind)
	}
	return list
}

func texts(s protocoltest.Seen) (list []string) {
	for _, e := range s.Events {
		if e.Kind == protocol.KindText {
			list = append(list, e.Text)
		}
	}
	return list
}

// loggedIn is a session of a device that said an LK.
func loggedIn(tb testing.TB, settings map[string]string) *protocoltest.Session {
	tb.Helper()
	s := protocoltest.NewSession(tb, watch.New(), settings)
	if got := s.Send(frame("LK")); got.Err != nil || got.Answers != frame("LK") {
		tb.Fatalf("login: %+v", got)
	}
	return s
}

func vectors(tb testing.TB) []protocoltest.Vector {
	tb.Helper()
	return protocoltest.Vectors(tb, "watch.jsonl")
}

func device(tb testing.TB, variant string, settings map[string]string) protocol.DeviceConfig {
	tb.Helper()
	return protocol.DeviceConfig{
		ID: id, Variant: variant, Settings: protocoltest.NewSettings(tb, watch.New(), settings),
	}
}

// oneFrame reports whether a vector is one frame and nothing else.
func oneFrame(v protocoltest.Vector) bool {
	return *v.Frames == 1 && !strings.HasPrefix(v.Description, "STREAM")
}

func TestVectors(t *testing.T) {
	single := slices.DeleteFunc(vectors(t),
		func(v protocoltest.Vector) bool { return !oneFrame(v) })
	protocoltest.Run(t, watch.New(), protocoltest.Options{
		Vectors: single,
		Answer: func(t *testing.T, v protocoltest.Vector, events []protocol.Event, reply []byte) {
			t.Helper()
			if v.Answer != nil && string(reply) != *v.Answer {
				t.Errorf("answered with %q instead of %q", reply, *v.Answer)
			}
			if events[0].Kind != protocol.KindLogin || len(events) != 2 {
				t.Errorf("it became %+v", events)
			}
			if flawed := events[1].Flawed; flawed == *v.DeclaredOK {
				t.Errorf("flawed: %t", flawed)
			}
		},
	})
}

// Streams become the frames that are told, however they are cut, and what is no frame is refused.
func TestStreamsOfVectors(t *testing.T) {
	for _, v := range vectors(t) {
		if !v.FromDevice() {
			continue
		}
		for name, pieces := range map[string][][]byte{
			"whole": {v.Bytes()}, "bytewise": protocoltest.Bytewise(v.Bytes()),
		} {
			s, frames, answers := protocoltest.NewSession(t, watch.New(), nil), 0, ""
			for _, piece := range pieces {
				got := s.Send(string(piece))
				answers += got.Answers
				for _, kind := range kinds(got) {
					if kind != protocol.KindLogin {
						frames++
					}
				}
				if got.Err != nil && !errors.Is(got.Err, protocol.ErrGarbage) {
					t.Errorf("%s, %s: %v", v.ID, name, got.Err)
				}
			}
			if frames != *v.Frames || v.Answer != nil && answers != *v.Answer {
				t.Errorf("%s, %s: %d frames instead of %d, answered with %q", v.ID, name, frames,
					*v.Frames, answers)
			}
			if got := s.Send(string(v.Bytes())); frames == 0 && len(got.Events) > 0 {
				t.Errorf("%s became %+v", v.ID, got.Events)
			}
		}
	}
}

// Texts to a device say what the document says that they do.
func TestTextsOfVectors(t *testing.T) {
	for id, want := range map[string]struct{ variant, text string }{
		"watch-0980": {"3g", "text"}, "watch-0998": {"3g", "11a"},
		"watch-1016": {"3g", "Call the office, please"}, "watch-1018": {"3g", "你好，司机"},
		"watch-1020": {"3g", "[gate]*5}"}, "watch-1022": {"zj", "Hi"},
		"watch-1024": {"yw", "(gate) 5)"},
	} {
		for _, v := range vectors(t) {
			if v.ID != id {
				continue
			}
			d := protocoltest.NewDeviceStream(watch.New().NewDevice(device(t, want.variant, nil)))
			_, events, err := d.Feed(v.Bytes())
			if err != nil || len(events) != 1 || events[0].Kind != protocol.DeviceText ||
				events[0].Body != want.text {
				t.Errorf("%s became %+v, %v", id, events, err)
			}
		}
	}
}

func TestTranscripts(t *testing.T) { protocoltest.Transcripts(t, watch.New(), *update) }

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		variant  string
		settings map[string]string
		wrong    protocol.Result // a plain one is only hung up on
	}{
		{"3g", nil, protocol.OK},
		{"zj", nil, protocol.UnknownDevice},
		{"yw", nil, protocol.BadCredentials},
		{"3g", map[string]string{"text": "hexle", "part_units": "10"}, protocol.OK},
		{"zj", map[string]string{"text": "utf8", "prefix": "SG"}, protocol.UnknownDevice},
	} {
		t.Run(fmt.Sprint(c.variant, c.settings), func(t *testing.T) {
			protocoltest.RoundTrip(t, watch.New(), protocoltest.Sides{
				Config:   device(t, c.variant, c.settings),
				Up:       func(string) string { return "[voice message]" },
				Outcomes: []protocol.Outcome{protocol.AckDelivered, protocol.AckRejected},
				Wrong:    c.wrong,
			})
		})
	}
}

// What the protocol asks of its port: probes drain the battery, and a watch may be silent for long.
func TestPort(t *testing.T) {
	p := watch.New()
	if p.Port != 5093 || p.IdleTimeout != 30*time.Minute || !p.NoProbes {
		t.Errorf("port %d, idle %s, no probes %v", p.Port, p.IdleTimeout, p.NoProbes)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, variant := range watch.New().Variants {
		protocoltest.NoAllocs(t, watch.New(), device(t, variant, nil))
	}
}

func BenchmarkWatch(b *testing.B) {
	protocoltest.Benchmark(b, watch.New(), device(b, "", nil))
}

func FuzzFrame(f *testing.F) { protocoltest.FuzzFrame(f, watch.New(), vectors(f)) }

func FuzzDecode(f *testing.F) {
	protocoltest.FuzzDecode(f, watch.New(), vectors(f), map[string]string{
		"alarms": "sos", "lk_time": "+05:30",
	})
}

func FuzzDevice(f *testing.F) {
	protocoltest.FuzzDevice(f, watch.New(), vectors(f), device(f, "zj", nil))
}

func TestIdleCodecIsSmall(t *testing.T) {
	protocoltest.IdleCodec(t, watch.New(), frame("LK"), 100)
}
