package fmi_test

import (
	"slices"
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

// What needs an answer of the client is what it has to say more about than the link does.
func TestFramesThatWait(t *testing.T) {
	x := ready(t, fmi.A604, fmi.Options{LinkACK: true})
	text := func(body string) []byte {
		out, err := x.session.AppendText(nil, bare{}, protocol.Text{Ref: 1, Parts: 1, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if !fmi.Waits(text("Hi")) || !fmi.Waits(x.session.AppendWithdraw(nil, bare{}, 1)) {
		t.Error("a text, or its withdrawal, waits for nothing")
	}
	for n := range 40 { // sizes that are doubled among them
		if !fmi.Waits(text(strings.Repeat("a", 1+n))) {
			t.Errorf("a text of %d bytes waits for nothing", 1+n)
		}
	}
	events, err := decode(x.session, []byte("\x10\xa1\x14\x24\x00\x00\xa5\xb6\x3f\x10\x10\x00\x00\x00Need fuel\x005\x10\x03"))
	if err != nil || len(events) != 1 {
		t.Fatalf("%+v, %v", events, err)
	}
	out := x.session.AppendReply(nil, bare{}, &events[0], protocol.OK)
	first := slices.Index(out, 0x03) + 1 // the link's ack, then the receipt
	for _, frame := range [][]byte{
		out[:first], out[first:], nil, {0x10}, {0x10, 0xA1}, {0x10, 0xA1, 0x10, 0x10},
	} {
		if fmi.Waits(frame) {
			t.Errorf("%x waits", frame)
		}
	}
}

func TestIsFrames(t *testing.T) {
	for payload, want := range map[string]bool{
		"": false, "\x10": false, "getver": false, "\x10\xa1": true, "\x10\xa1\x08\x00": true,
		"\x10\x06\x02\xa1\x00\x57\x10\x03": true, "\x10\x06\x02\xa1\x00\x58\x10\x03": false,
		"\x10\x06\x02\xa1": false, "\x10\x10\x03": false, "\x10\x03": false,
		"x\x10\x06\x02\xa1\x00\x57\x10\x03": false,
	} {
		if got := fmi.IsFrames([]byte(payload)); got != want {
			t.Errorf("%x: %v", payload, got)
		}
	}
}

// FuzzShared: what is not for the session has neither effect nor answer, and Look says before what
// DecodeShared makes of it.
func FuzzShared(f *testing.F) {
	for i, v := range vectors(f) {
		f.Add(v.Bytes(), uint64(i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, ref uint64) {
		x := ready(t, fmi.A604, fmi.Options{})
		var w fmi.Words
		if ref&1 != 0 {
			w.Spoke()
		}
		for i := range ref & 0x7F {
			w.Wrote(i)
		}
		look := x.session.Look(&w, stream)
		ours, others := 0, 0
		err := x.session.DecodeShared(&w, stream, func(e *protocol.Event) {
			switch {
			case fmi.Owns(e):
				ours++
			case e.Kind == protocol.KindUnknown || e.Kind == protocol.KindOther:
				others++
			default:
				t.Fatalf("%+v", e)
			}
			if e.Kind == protocol.KindAck && ref&0x7F == 0 {
				t.Fatalf("without a text: %+v", e)
			}
		})
		switch {
		case look.Ours && (ours == 0 || others > 0 || err != nil || !look.Frames):
			t.Fatalf("%d for us, %d not, %v", ours, others, err)
		case !look.Frames && ours > 0:
			t.Fatalf("%d for us in what is no FMI", ours)
		}
	})
}
