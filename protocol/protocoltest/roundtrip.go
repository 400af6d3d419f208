package protocoltest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"trackchat/protocol"

	"pgregory.net/rapid"
)

// Sides say what RoundTrip needs to know about the two ends.
type Sides struct {
	Config protocol.DeviceConfig
	// Alphabet is what texts are made of, as a regular expression for one character; empty: Latin,
	// Cyrillic, Chinese, punctuation, an emoji.
	Alphabet string
	// Down and Up say what becomes of a text on its way, beyond what the charset cannot carry
	// (Down); nil: nothing.
	Down, Up func(text string) string
	// Outcomes are those that an ack can express.
	Outcomes []protocol.Outcome
	// Wrong is a result for a login that the device sees as a refusal; OK: the protocol has none.
	Wrong protocol.Result
	// Unanswered says that drivers' texts are not acknowledged to the device.
	Unanswered bool
}

const alphabet = `[ -~А-яё好司机亊亇é€😀]`

// RoundTrip checks that what one side writes the other one understands: logins, texts and acks,
// texts of drivers, choices, signs of life, refusals.
func RoundTrip(t *testing.T, p *protocol.Protocol, s Sides) {
	t.Helper()
	if s.Alphabet == "" {
		s.Alphabet = alphabet
	}
	t.Run("login", s.login(p))
	t.Run("refused login", s.refusal(p))
	t.Run("text", rapid.MakeCheck(s.text(p)))
	t.Run("driver text", rapid.MakeCheck(s.driverText(p)))
	t.Run("refused driver text", s.refusedText(p))
	t.Run("choices", s.choices(p))
	t.Run("signs of life", s.life(p))
}

func (s Sides) pair(t rapid.TB, p *protocol.Protocol) *Pair {
	t.Helper()
	x := NewPair(p, s.Config)
	_, seen, err := x.Login()
	if err != nil || !has(seen, protocol.DeviceLoggedIn) {
		t.Fatalf("login: %+v, %v", seen, err)
	}
	return x
}

func has(seen []protocol.DeviceEvent, k protocol.DeviceEventKind) bool {
	return slices.ContainsFunc(seen, func(e protocol.DeviceEvent) bool { return e.Kind == k })
}

func find(events []protocol.Event, k protocol.Kind) *protocol.Event {
	i := slices.IndexFunc(events, func(e protocol.Event) bool { return e.Kind == k })
	if i < 0 {
		return nil
	}
	return &events[i]
}

func (s Sides) login(p *protocol.Protocol) func(*testing.T) {
	return func(t *testing.T) {
		x := NewPair(p, s.Config)
		x.Rand = rand.New(rand.NewPCG(1, 2))
		events, seen, err := x.Login()
		e := find(events, protocol.KindLogin)
		if err != nil || !has(seen, protocol.DeviceLoggedIn) || e == nil {
			t.Fatalf("codec saw %+v, device %+v, %v", events, seen, err)
		}
		if e.DeviceID == "" {
			t.Error("the login has no device id")
		}
		if s.Config.Password != "" && e.Secret != s.Config.Password {
			t.Errorf("the login presents %q instead of %q", e.Secret, s.Config.Password)
		}
	}
}

func (s Sides) refusal(p *protocol.Protocol) func(*testing.T) {
	return func(t *testing.T) {
		if s.Wrong == protocol.OK {
			return
		}
		x := NewPair(p, s.Config)
		x.Result = func(*protocol.Event) protocol.Result { return s.Wrong }
		_, seen, err := x.Login()
		if err != nil || !has(seen, protocol.DeviceRefused) || has(seen, protocol.DeviceLoggedIn) {
			t.Fatalf("device saw %+v, %v", seen, err)
		}
	}
}

func drawText(t *rapid.T, alphabet string, most int) string {
	const mostRepeats = 1000 // what a regular expression may say
	return rapid.StringMatching(fmt.Sprintf(`[!-~](%s{0,%d}[!-~])?`, alphabet,
		min(most, mostRepeats))).Draw(t, "text")
}

func (s Sides) text(p *protocol.Protocol) func(*rapid.T) {
	return func(t *rapid.T) {
		x := s.pair(t, p)
		x.Rand = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "cuts"), 0))
		caps := x.Codec.Caps()
		text := drawText(t, s.Alphabet, 3*caps.PartBytes/2)
		parts, err := protocol.Split(text, caps)
		if err != nil {
			t.Fatal(err)
		}
		id, urgent := rapid.Int64Range(1, 1<<52).Draw(t, "id"), rapid.Bool().Draw(t, "urgent")
		for i, body := range parts {
			part := protocol.Text{Part: i, Parts: len(parts), Body: body, Urgent: urgent}
			if caps.RefBits > 0 {
				part.Ref = protocol.Reference(id, i, caps.RefBits)
			}
			s.part(t, x, part)
		}
	}
}

// part sends one part both ways: the text down, its ack up.
func (s Sides) part(t *rapid.T, x *Pair, part protocol.Text) {
	caps := x.Codec.Caps()
	frame, err := x.Codec.AppendText(nil, part)
	if err != nil {
		t.Fatalf("AppendText %+v: %v", part, err)
	}
	if again, err := x.Codec.AppendText(nil, part); err != nil || !bytes.Equal(again, frame) {
		t.Fatalf("repeating %+v gave %x after %x, %v", part, again, frame, err)
	}
	if !caps.Urgent && part.Urgent {
		part.Urgent = false
		if same, err := x.Codec.AppendText(nil, part); err != nil || !bytes.Equal(same, frame) {
			t.Fatalf("%x without being urgent, with it %x, %v", same, frame, err)
		}
	}
	seen, err := x.ToDevice(frame)
	if err != nil || len(seen) != 1 || seen[0].Kind != protocol.DeviceText {
		t.Fatalf("%x became %+v, %v", frame, seen, err)
	}
	var shown []byte
	if caps.Prefix {
		shown = protocol.AppendPrefix(shown, part)
	}
	want, err := caps.Charset.Decode(caps.Charset.Append(shown, part.Body))
	if err != nil {
		t.Fatal(err)
	}
	if s.Down != nil {
		want = s.Down(want)
	}
	if seen[0].Body != want || seen[0].Urgent != part.Urgent ||
		(caps.RefBits > 0 && seen[0].Ref != part.Ref) {
		t.Fatalf("%+v arrived as %+v", part, seen[0])
	}
	outcome := rapid.SampledFrom(s.Outcomes).Draw(t, "outcome")
	events, _, err := x.FromDevice(x.Device.AppendAck(nil, seen[0], outcome))
	ack := find(events, protocol.KindAck)
	if err != nil || ack == nil || ack.Outcome != outcome ||
		(caps.RefBits > 0 && ack.Ref != part.Ref) {
		t.Fatalf("outcome %d for %x became %+v, %v", outcome, part.Ref, events, err)
	}
}

func (s Sides) driverText(p *protocol.Protocol) func(*rapid.T) {
	return func(t *rapid.T) {
		x := s.pair(t, p)
		x.Rand = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "cuts"), 0))
		for range 2 {
			text := drawText(t, s.Alphabet, 60)
			frame, err := x.Device.AppendText(nil, text)
			if err != nil {
				t.Fatal(err)
			}
			want := text
			if s.Up != nil {
				want = s.Up(text)
			}
			events, seen, err := x.FromDevice(frame)
			e := find(events, protocol.KindText)
			if err != nil || e == nil || e.Text != want {
				t.Fatalf("%q became %+v, %v", text, events, err)
			}
			if has(seen, protocol.DeviceTextAck) == s.Unanswered {
				t.Fatalf("acknowledgement of %q: %+v", text, seen)
			}
			// A repetition is the same bytes, and must be recognisable where the protocol has a
			// way.
			if again, _, err := x.FromDevice(frame); err != nil ||
				find(again, protocol.KindText) == nil ||
				find(again, protocol.KindText).Key != e.Key {
				t.Fatalf("the repetition of %+v became %+v, %v", e, again, err)
			}
		}
	}
}

func (s Sides) refusedText(p *protocol.Protocol) func(*testing.T) {
	return func(t *testing.T) {
		for _, result := range []protocol.Result{protocol.Invalid, protocol.Later} {
			x := s.pair(t, p)
			frame, err := x.Device.AppendText(nil, "hello")
			if err != nil {
				t.Fatal(err)
			}
			x.Result = func(*protocol.Event) protocol.Result { return result }
			if _, seen, err := x.FromDevice(frame); err != nil ||
				has(seen, protocol.DeviceTextAck) {
				t.Errorf("result %d: the device saw %+v, %v", result, seen, err)
			}
		}
	}
}

func (s Sides) choices(p *protocol.Protocol) func(*testing.T) {
	return func(t *testing.T) {
		x := s.pair(t, p)
		caps := x.Codec.Caps()
		if caps.Choices == 0 {
			return
		}
		answers := []string{"Yes", "No", "Later", "4", "5", "6", "7", "8"}[:min(8, caps.Choices)]
		frame, err := x.Codec.AppendText(nil, protocol.Text{
			Ref: 7, Parts: 1, Body: "Loaded?",
			Choices: answers,
		})
		if err != nil {
			t.Fatal(err)
		}
		seen, err := x.ToDevice(frame)
		if err != nil || len(seen) != 1 || seen[0].Kind != protocol.DeviceText ||
			seen[0].Body != "Loaded?" || !slices.Equal(seen[0].Choices, answers) {
			t.Fatalf("the question arrived as %+v, %v", seen, err)
		}
		if events, _, err := x.FromDevice(x.Device.AppendAck(nil, seen[0],
			protocol.AckDelivered)); err != nil || find(events, protocol.KindAck) == nil ||
			find(events, protocol.KindAck).Ref != 7 {
			t.Fatalf("the question's ack became %+v, %v", events, err)
		}
		for choice := 1; choice <= len(answers); choice++ {
			events, _, err := x.FromDevice(x.Device.AppendChoice(nil, seen[0], choice))
			e := find(events, protocol.KindAnswer)
			if err != nil || e == nil || e.Choice != choice || e.Ref != 7 {
				t.Errorf("choice %d became %+v, %v", choice, events, err)
			}
		}
	}
}

func (s Sides) life(p *protocol.Protocol) func(*testing.T) {
	return func(t *testing.T) {
		x := s.pair(t, p)
		at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
		for range 3 {
			events, seen, err := x.FromDevice(x.Device.AppendHeartbeat(nil))
			if err != nil || find(events, protocol.KindHeartbeat) == nil {
				t.Fatalf("a heartbeat became %+v, %+v, %v", events, seen, err)
			}
			events, seen, err = x.FromDevice(x.Device.AppendPosition(nil, -33.865, 151.21, at))
			if e := find(events, protocol.KindPosition); err != nil || e == nil || e.Count != 1 {
				t.Fatalf("a position became %+v, %+v, %v", events, seen, err)
			}
		}
	}
}
