package fmi_test

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

	"trackchat/protocol"
	"trackchat/protocol/fmi"
	"trackchat/protocol/protocoltest"

	"pgregory.net/rapid"
)

// bare carries frames without anything around them.
type bare struct{}

func (bare) Begin(dst []byte) []byte      { return dst }
func (bare) End(dst []byte, _ int) []byte { return dst }
func now() time.Time {
	return time.Date(2023, 11, 14, 22, 13, 20, 0,
		time.UTC)
}

func vectors(tb testing.TB) []protocoltest.Vector {
	tb.Helper()
	return protocoltest.Vectors(tb, "garmin-fmi.jsonl")
}

// frame is written by the definition, in another way than the package does it.
func frame(id byte, payload string) []byte {
	sum := int(id) + len(payload)
	for i := range len(payload) {
		sum += int(payload[i])
	}
	body := string([]byte{byte(len(payload))}) + payload + string([]byte{byte(256 - sum%256)})
	return []byte("\x10" + string([]byte{id}) + strings.ReplaceAll(body, "\x10", "\x10\x10") +
		"\x10\x03")
}

// fleet is a frame of packet A1.
func fleet(packet uint16, data string) []byte {
	return frame(0xA1, string(binary.LittleEndian.AppendUint16(nil, packet))+data)
}

// ends are a session and a client that talk to each other.
type ends struct {
	tb      testing.TB
	session *fmi.Session
	client  *fmi.Client
	events  []protocol.Event
	seen    []protocol.DeviceEvent
	rand    *rand.Rand // cuts the bytes at random places
	lose    func(up bool, frames []byte) bool
}

func newEnds(tb testing.TB, v fmi.Version, o fmi.Options) *ends {
	tb.Helper()
	shared := fmi.NewShared()
	if o.Charset == nil {
		o.Charset = protocol.UTF8()
	}
	return &ends{tb: tb, session: shared.NewSession(o), client: shared.NewClient(v, o.Charset)}
}

// ready is a pair whose handshake is over.
func ready(tb testing.TB, v fmi.Version, o fmi.Options) *ends {
	tb.Helper()
	x := newEnds(tb, v, o)
	x.poll(now())
	if x.session.Caps().NotYet {
		tb.Fatalf("the handshake does not end: %+v", x.events)
	}
	x.events, x.seen = nil, nil
	return x
}

func (x *ends) poll(at time.Time) {
	x.tb.Helper()
	out, _ := x.session.Poll(nil, bare{}, at)
	x.down(out)
}

func (x *ends) pieces(b []byte) [][]byte {
	if x.rand == nil {
		return [][]byte{b}
	}
	return protocoltest.Randomly(b, x.rand)
}

// down passes bytes to the client, its answers back, and so on.
func (x *ends) down(b []byte) {
	x.tb.Helper()
	for range 50 {
		if len(b) == 0 {
			return
		}
		var up []byte
		if x.lose == nil || !x.lose(false, b) {
			for _, piece := range x.pieces(b) {
				up = x.client.Feed(up, bare{}, piece, func(e protocol.DeviceEvent) {
					x.seen = append(x.seen, e)
				})
			}
		}
		b = x.up(up)
	}
	x.tb.Fatal("the two do not come to rest")
}

// up passes bytes to the session and returns its answers.
func (x *ends) up(b []byte) (down []byte) {
	x.tb.Helper()
	if len(b) == 0 || x.lose != nil && x.lose(true, b) {
		return nil
	}
	for _, piece := range x.pieces(b) {
		var got []protocol.Event
		if err := x.session.Decode(piece, func(e *protocol.Event) { got = append(got, *e) }); err !=
			nil {
			x.tb.Fatal(err)
		}
		for i := range got {
			down = x.session.AppendReply(down, bare{}, &got[i], protocol.OK)
		}
		x.events = append(x.events, got...)
	}
	return down
}

func (x *ends) text(t protocol.Text) {
	x.tb.Helper()
	out, err := x.session.AppendText(nil, bare{}, t)
	if err != nil {
		x.tb.Fatal(err)
	}
	x.down(out)
}

// ack lets the client acknowledge what it saw last.
func (x *ends) ack(o protocol.Outcome) {
	x.tb.Helper()
	x.down(x.up(x.client.AppendAck(nil, bare{}, x.seen[len(x.seen)-1], o)))
}

// outcomes are those of the acks so far.
func (x *ends) outcomes() (all []protocol.Outcome) {
	for _, e := range x.events {
		if e.Kind == protocol.KindAck {
			all = append(all, e.Outcome)
		}
	}
	return all
}

func decode(s *fmi.Session, pieces ...[]byte) (events []protocol.Event, errs []error) {
	for _, piece := range pieces {
		err := s.Decode(piece, func(e *protocol.Event) {
			if fmi.Owns(e) {
				events = append(events, *e)
			}
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	return events, errs
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			stream := slices.Concat(v.Bytes(), v.Bytes())
			damaged := bytes.Clone(v.Bytes())
			damaged[len(damaged)-3] ^= 1
			for name, pieces := range map[string][][]byte{
				"whole": {stream}, "bytewise": protocoltest.Bytewise(stream),
				"random": protocoltest.Randomly(stream, rand.New(rand.NewPCG(1, 2))),
			} {
				x := newEnds(t, fmi.A611, fmi.Options{})
				if !v.FromDevice() {
					x.client.Feed(nil, bare{}, damaged,
						func(e protocol.DeviceEvent) {
							t.Errorf("%s: %+v from a damaged frame",
								name, e)
						})
					answers := 0
					for _, piece := range pieces {
						out := x.client.Feed(nil, bare{}, piece, func(protocol.DeviceEvent) {})
						answers += bytes.Count(out, frame(6, "\xa1\x00"))
					}
					if answers != 2 {
						t.Errorf("%s: the client acknowledged %d of 2 packets", name, answers)
					}
					continue
				}
				if events, errs := decode(x.session, damaged); len(errs) != 1 ||
					!errors.Is(errs[0], protocol.ErrChecksum) ||
					events[0].Kind != protocol.KindRefused {
					t.Errorf("%s: damaged: %+v, %v", name, events, errs)
				}
				events, errs := decode(x.session, pieces...)
				if len(errs) != 0 || len(events) != 2 || events[0] != events[1] {
					t.Errorf("%s: %+v, %v", name, events, errs)
				}
				if text := map[string]string{
					"garmin-fmi-0814": "Need fuel",
				}[v.ID]; events[0].Text != text {
					t.Errorf("%s: text %q", name, events[0].Text)
				}
			}
		})
	}
}

func TestStreamFindsTheNextFrame(t *testing.T) {
	good := fleet(0x0260, "")
	for name, c := range map[string]struct {
		noise []byte
		errs  int
	}{
		"bytes without a mark": {bytes.Repeat([]byte{0x55}, 5000), 0},
		"marks":                {bytes.Repeat([]byte{0x10}, 5001), 0},
		"ends":                 {bytes.Repeat([]byte{0x10, 0x03}, 2000), 0},
		"a frame without an end": {append([]byte{0x10, 0xA1}, bytes.Repeat([]byte{0x55},
			5000)...), 1},
		"a frame that lost its end": {good[:len(good)-2], 1},
		"a frame cut in two":        {good[:3], 1},
		"a tail":                    {good[3:], 0},
		"a wrong size":              {[]byte("\x10\xA1\x07\x60\x02\xfb\x10\x03"), 1},
		"a frame of nothing":        {[]byte("\x10\xA1\x10\x03"), 1},
		"the greatest payload":      {frame(0x33, strings.Repeat("\x10", 255)), 0},
		"more than that": {append(append([]byte("\x10\x33\xff"),
			bytes.Repeat([]byte{0x20}, 260)...), 0x10, 0x03), 1},
	} {
		stream := slices.Concat(c.noise, good)
		for _, pieces := range [][][]byte{{stream}, protocoltest.Bytewise(stream)} {
			events, errs := decode(newEnds(t, 0, fmi.Options{}).session, pieces...)
			if len(errs) != c.errs || len(events) == 0 ||
				events[len(events)-1].Kind != protocol.KindHeartbeat {
				t.Errorf("%s in %d pieces: %+v, %v", name, len(pieces), events, errs)
			}
		}
	}
}

func TestShortPacketsAreRefused(t *testing.T) {
	for packet, least := range map[uint16]int{
		0x20: 28, 0x24: 8, 0x26: 36, 0x29: 20, 0x2B: 24,
		0x2E: 20, 0x32: 5, 0x41: 20, 0x56: 24,
	} {
		s := newEnds(t, 0, fmi.Options{LinkACK: true}).session
		events, errs := decode(s, fleet(packet, strings.Repeat("a", least-1)))
		if len(errs) != 1 || !errors.Is(errs[0], protocol.ErrMalformed) || len(events) != 1 ||
			events[0].Kind != protocol.KindRefused {
			t.Errorf("%04x: %+v, %v", packet, events, errs)
		}
		if out := s.AppendReply(nil, bare{}, &events[0], protocol.OK); len(out) != 0 {
			t.Errorf("%04x was answered with %x", packet, out)
		}
		if events, errs := decode(s, fleet(packet, strings.Repeat("a", least))); len(errs) != 0 ||
			len(events) != 1 {
			t.Errorf("%04x: %+v, %v", packet, events, errs)
		}
	}
	if _, errs := decode(newEnds(t, 0, fmi.Options{}).session, frame(0xA1, "\x01")); len(
		errs) != 1 {
		t.Errorf("half a packet id: %v", errs)
	}
}

func TestConversationsCutAnywhere(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := rapid.SampledFrom([]fmi.Version{fmi.A604, fmi.A611}).Draw(r, "version")
		x := ready(t, v, fmi.Options{AskA1: true, LinkACK: rapid.Bool().Draw(r, "link")})
		x.rand = rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "cuts"), 0))
		body := rapid.StringMatching(`[\x10\x03a-z好]{1,66}`).Draw(r, "body")
		if v == fmi.A611 {
			body = strings.Repeat(body, rapid.IntRange(1, 10).Draw(r, "times"))
		}
		ref := rapid.Uint64().Draw(r, "ref")
		x.text(protocol.Text{Ref: ref, Parts: 1, Body: body})
		if want := body; len(x.seen) != 1 || strings.TrimSuffix(x.seen[0].Body, " ") != want ||
			x.seen[0].Ref != ref {
			r.Fatalf("%q became %+v", body, x.seen)
		}
		x.ack(protocol.AckDelivered)
		last := x.events[len(x.events)-1]
		for i := len(x.events) - 1; last.Kind != protocol.KindAck && i >= 0; i-- {
			last = x.events[i]
		}
		if last.Outcome != protocol.AckDelivered || last.Ref != ref {
			r.Fatalf("%+v", x.events)
		}
	})
}

// A receipt that is lost costs a status request, not a second text on the screen.
func TestLostReceipt(t *testing.T) {
	for _, v := range []fmi.Version{fmi.A604, fmi.A611} {
		x := ready(t, v, fmi.Options{AskA1: true})
		text := protocol.Text{Ref: 5, Parts: 1, Body: "Call us"}
		x.text(text)
		x.lose = func(up bool, _ []byte) bool { return up }
		x.ack(protocol.AckDelivered)
		x.lose = nil
		if got := x.outcomes(); len(got) != 0 {
			t.Fatalf("%v", got)
		}
		x.text(text)
		x.ack(protocol.AckDelivered)
		if got := x.outcomes(); !slices.Equal(got, []protocol.Outcome{
			protocol.AckLater,
			protocol.AckDelivered,
		}) {
			t.Errorf("%d: %v", v, got)
		}
	}
}

func TestRefusedTextIsTriedUnderAnotherName(t *testing.T) {
	for v, want := range map[fmi.Version][]protocol.Outcome{
		fmi.A604: {protocol.AckLater, protocol.AckFailed, protocol.AckDelivered},
		fmi.A611: {protocol.AckLater, protocol.AckFailed, protocol.AckDelivered},
	} {
		x := ready(t, v, fmi.Options{AskA1: true})
		text := protocol.Text{Ref: 5, Parts: 1, Body: "Call us"}
		x.text(text)
		x.ack(protocol.AckFailed)
		x.text(text)
		x.ack(protocol.AckDelivered)
		if got := x.outcomes(); !slices.Equal(got, want) {
			t.Errorf("%d: %v", v, got)
		}
	}
	x := ready(t, fmi.A611, fmi.Options{AskA1: true})
	x.text(protocol.Text{Ref: 5, Parts: 1, Body: "Call us"})
	x.ack(protocol.AckRejected)
	x.ack(protocol.AckRejected)
	if got := x.outcomes(); len(x.seen) != 2 ||
		!slices.Equal(got, []protocol.Outcome{
			protocol.AckLater, protocol.AckLater,
			protocol.AckRejected,
		}) {
		t.Errorf("%+v, %v", x.seen, got)
	}
}

func TestReadText(t *testing.T) {
	x := ready(t, fmi.A611, fmi.Options{AskA1: true})
	x.text(protocol.Text{Ref: 5, Parts: 1, Body: "Call us"})
	x.ack(protocol.AckOpened)
	if got := x.outcomes(); !slices.Equal(got, []protocol.Outcome{
		protocol.AckDelivered,
		protocol.AckOpened,
	}) {
		t.Errorf("%v", got)
	}
}

func TestLongChoicesAreCutBetweenCharacters(t *testing.T) {
	x := ready(t, fmi.A604, fmi.Options{AskA1: true})
	x.text(protocol.Text{Ref: 5, Parts: 1, Body: "?", Choices: []string{
		strings.Repeat("好", 20),
		"a\x00b",
	}})
	if want := []string{strings.Repeat("好", 16), "a b"}; len(x.seen) != 1 ||
		!slices.Equal(x.seen[0].Choices, want) {
		t.Errorf("%+v", x.seen)
	}
}

// What the charset lacks is replaced before the room is measured.
func TestChoicesAreFoldedBeforeTheyAreCut(t *testing.T) {
	x := ready(t, fmi.A604, fmi.Options{AskA1: true, Charset: protocol.ASCII()})
	x.text(protocol.Text{
		Ref: 5, Parts: 1, Body: "Płońsk →", Choices: []string{"Größe ✓", strings.Repeat("ß", 30)},
	})
	want := []string{"Grosse OK", strings.Repeat("s", 49)}
	if len(x.seen) != 1 || x.seen[0].Body != "Plonsk ->" || !slices.Equal(x.seen[0].Choices, want) {
		t.Errorf("%+v", x.seen)
	}
}

func TestTextsThatDoNotFit(t *testing.T) {
	for v, most := range map[fmi.Version]int{fmi.A602: 199, fmi.A604: 199, fmi.A611: 1999} {
		x := ready(t, v, fmi.Options{Version: v})
		if got := x.session.Caps().PartBytes; got != most {
			t.Errorf("%d: %d bytes", v, got)
		}
		if out, err := x.session.AppendText([]byte("kept"), bare{}, protocol.Text{
			Parts: 1,
			Body:  strings.Repeat("a", most+1),
		}); !errors.Is(err, protocol.ErrNotText) ||
			string(out) != "kept" {
			t.Errorf("%d: %x, %v", v, out, err)
		}
		body := strings.Repeat("b", most-1) + "\x00"
		x.text(protocol.Text{Parts: 1, Body: body})
		if len(x.seen) != 1 || x.seen[0].Body != strings.ReplaceAll(body, "\x00", " ") {
			t.Errorf("%d: %+v", v, x.seen)
		}
	}
	x := ready(t, fmi.A604, fmi.Options{})
	if _, err := x.session.AppendText(nil, bare{}, protocol.Text{
		Parts: 1, Body: "?",
		Choices: make([]string, 9),
	}); !errors.Is(err, protocol.ErrNotText) {
		t.Errorf("nine choices: %v", err)
	}
}

func TestTimesOfTexts(t *testing.T) {
	for at, want := range map[time.Time]string{
		now(): "\x00\xa5\xb6\x3f", time.Unix(0, 0): "\xff\xff\xff\xff", time.Date(2300, 1, 1, 0, 0,
			0, 0, time.UTC): "\xff\xff\xff\xff",
	} {
		x := ready(t, fmi.A604, fmi.Options{})
		out, err := x.session.AppendText(nil, bare{}, protocol.Text{
			Parts: 1, Body: "a",
			AtMs: at.UnixMilli(),
		})
		if err != nil || string(out[5:9]) != want {
			t.Errorf("%v: %x, %v", at, out, err)
		}
	}
}

func TestNewerTextTakesTheOlderOnesPlace(t *testing.T) {
	x := ready(t, fmi.A611, fmi.Options{AskA1: true})
	x.lose = func(up bool, _ []byte) bool { return up }
	x.text(protocol.Text{Ref: 1, Parts: 1, Body: strings.Repeat("a", 300)})
	x.lose = nil
	x.text(protocol.Text{Ref: 2, Parts: 1, Body: strings.Repeat("b", 300)})
	if len(x.seen) != 1 || x.seen[0].Ref != 2 || x.seen[0].Body != strings.Repeat("b", 300) {
		t.Errorf("%+v", x.seen)
	}
}

func TestClientForgetsTheOldest(t *testing.T) {
	x := ready(t, fmi.A604, fmi.Options{})
	for ref := range uint64(200) {
		x.text(protocol.Text{Ref: ref + 1, Parts: 1, Body: "a", Choices: []string{"x"}})
		x.ack(protocol.AckDelivered)
	}
	if out := x.client.AppendAck(nil, bare{}, protocol.DeviceEvent{
		Kind: protocol.DeviceText,
		Ref:  1,
	}, protocol.AckDelivered); len(out) != 0 {
		t.Errorf("the first of 200 is still known: %x", out)
	}
	if out := x.client.AppendChoice(nil, bare{}, protocol.DeviceEvent{
		Kind: protocol.DeviceText,
		Ref:  200,
	}, 1); len(out) == 0 {
		t.Error("the last one is not")
	}
}

func TestIdleSessionIsSmall(t *testing.T) {
	const n, most = 20_000, 120
	shared := fmi.NewShared()
	sessions := make([]*fmi.Session, n)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools held is gone after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	x := ready(t, fmi.A604, fmi.Options{})
	utf8 := protocol.UTF8()
	before := heap()
	for i := range sessions {
		sessions[i] = shared.NewSession(fmi.Options{Charset: utf8})
		x.session = sessions[i]
		x.poll(now())
		x.text(protocol.Text{Ref: uint64(i) + 1, Parts: 1, Body: "Call us"})
		x.ack(protocol.AckDelivered)
		x.events, x.seen = x.events[:0], x.seen[:0]
	}
	each := (int64(heap()) - int64(before)) / n
	runtime.KeepAlive(sessions)
	t.Logf("%d bytes", each)
	if each > most {
		t.Errorf("an idle session takes %d bytes, more than %d", each, most)
	}
}

// That nobody answers 0000 is learnt once for a tracker, and forgotten with the first answer.
func TestMuteTracker(t *testing.T) {
	shared := fmi.NewShared()
	first := shared.NewSession(fmi.Options{Charset: protocol.UTF8()})
	if learnt, news := first.Learnt(now().Add(time.Hour)); learnt != 0 || news {
		t.Errorf("before anything was asked: %d, %v", learnt, news)
	}
	out, _ := first.Poll(nil, bare{}, now())
	for after, mute := range map[time.Duration]bool{
		0: false, 2 * time.Second: false,
		3 * time.Second: true,
	} {
		s := *first
		learnt, news := s.Learnt(now().Add(after))
		if news != mute || learnt == fmi.Mute != mute {
			t.Errorf("%v after 0000: %d, %v", after, learnt, news)
		}
		if _, news := s.Learnt(now().Add(after)); news {
			t.Errorf("%v after 0000: told twice", after)
		}
	}
	if first.Poll(nil, bare{}, now().Add(10*time.Second)); len(out) == 0 { // once more
		t.Error("nothing was asked")
	}
	if learnt, _ := first.Learnt(now().Add(10 * time.Second)); learnt != fmi.Mute {
		t.Error("the second 0000 makes the first forgotten")
	}
	second := shared.NewSession(fmi.Options{Charset: protocol.UTF8(), Mute: true})
	again, next := second.Poll(nil, bare{}, now())
	if !bytes.Equal(again, out) || !second.Caps().NotYet || !next.Equal(now().Add(3*time.Second)) {
		t.Errorf("%x, not yet: %v, again at %v", again, second.Caps().NotYet, next)
	}
	again, next = second.Poll(nil, bare{}, next)
	if !bytes.Equal(again, out) || second.Caps().NotYet || next.Before(now().Add(time.Minute)) {
		t.Errorf("%x, not yet: %v, again at %v", again, second.Caps().NotYet, next)
	}
	if _, news := second.Learnt(next); news {
		t.Error("what was known is told as new")
	}
	decode(second, fleet(0x0041, strings.Repeat("a", 20)))
	if learnt, news := second.Learnt(now()); learnt != 0 || !news {
		t.Errorf("after a word: %d, %v", learnt, news)
	}
}

// A client that wakes up within the moment that it is given is asked as any other.
func TestMuteTrackerSpeaks(t *testing.T) {
	x := newEnds(t, fmi.A611, fmi.Options{AskA1: true, Mute: true})
	x.poll(now())
	if x.session.Caps().NotYet || x.session.Caps().PartBytes != 1999 {
		t.Errorf("%+v", x.session.Caps())
	}
}
