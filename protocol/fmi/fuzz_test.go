package fmi_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
	"trackchat/protocol/protocoltest"
)

// FuzzSession: whatever comes, however it is cut, means the same, and answers stay small.
func FuzzSession(f *testing.F) {
	for i, v := range vectors(f) {
		f.Add(v.Bytes(), uint64(i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var first []protocol.Event
		for i, pieces := range [][][]byte{
			{stream},
			protocoltest.Bytewise(stream),
			protocoltest.Randomly(stream, rnd),
		} {
			s := newEnds(t, 0, fmi.Options{LinkACK: seed&1 != 0, AskA1: seed&2 != 0}).session
			s.Poll(nil, bare{}, now())
			var events []protocol.Event
			for _, piece := range pieces {
				got, _ := decode(s, piece)
				events = append(events, got...)
			}
			// Of the damaged frames in one piece only the first is told.
			events = slices.DeleteFunc(events,
				func(e protocol.Event) bool { return e.Kind == protocol.KindRefused })
			if i == 0 {
				first = events
			}
			if !slices.Equal(events, first) {
				t.Fatalf("%+v and %+v", first, events)
			}
			for j := range events {
				e := &events[j]
				if !utf8.ValidString(e.Text) || e.Kind == 0 || e.Kind == protocol.KindText &&
					e.Text == "" || e.Choice < 0 {
					t.Fatalf("%+v", e)
				}
				if out := s.AppendReply(nil, bare{}, e, protocol.Result(seed>>2%6)); len(
					out) > 1024 {
					t.Fatalf("%d bytes in answer to %+v", len(out), e)
				}
			}
			s.Poll(nil, bare{}, now().AddDate(0, 0, 1))
		}
	})
}

// FuzzTextInFlight: no word of the client about a text in flight breaks the session.
func FuzzTextInFlight(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Bytes(), uint8(0))
	}
	x := ready(f, fmi.A611, fmi.Options{AskA1: true})
	out, err := x.session.AppendText(nil, bare{}, protocol.Text{
		Ref: 1, Parts: 1,
		Body: string(make([]byte, 500)), Choices: []string{"a"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(x.client.Feed(nil, bare{}, out, func(protocol.DeviceEvent) {}), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, version uint8) {
		x := ready(t, fmi.Version(version%4), fmi.Options{Version: fmi.Version(version % 4)})
		text := protocol.Text{Ref: 1, Parts: 1, Body: "Loaded?", Choices: []string{
			"Yes",
			"No",
		}[:2*int(version>>7)]}
		for range 4 {
			if _, err := x.session.AppendText(nil, bare{}, text); err != nil {
				return // a handshake is running
			}
			events, _ := decode(x.session, stream)
			for i := range events {
				x.session.AppendReply(nil, bare{}, &events[i], protocol.OK)
			}
		}
	})
}

// FuzzClient: nothing that comes down panics.
func FuzzClient(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Bytes())
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		x := newEnds(t, 0, fmi.Options{})
		for range 2 {
			var seen []protocol.DeviceEvent
			x.client.Feed(nil, bare{}, stream, func(e protocol.DeviceEvent) {
				seen = append(seen,
					e)
			})
			for _, e := range seen {
				if !utf8.ValidString(e.Body) {
					t.Fatalf("%+v", e)
				}
				x.client.AppendAck(nil, bare{}, e, protocol.AckOpened)
				x.client.AppendChoice(nil, bare{}, e, 1)
			}
		}
	})
}
