package jt808_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

// played is what a terminal was answered and what of it was stored.
type played struct {
	ids     []uint16 // messages of the platform
	results []byte   // of its 0x8001
	texts   []string
	last    message // of the platform
}

// play lets a terminal say frames one by one.
func play(t *testing.T, frames [][]byte) (p played) {
	t.Helper()
	settings := protocoltest.NewSettings(t, jt808.New(), nil)
	c := jt808.New().NewCodec(settings)
	for _, f := range frames {
		events, err := protocoltest.Decode(c, f)
		if err != nil {
			t.Errorf("% x: %v", f, err)
		}
		var down []byte
		for i := range events {
			e := &events[i]
			if e.Kind == protocol.KindText {
				p.texts = append(p.texts, e.Text)
			}
			if e.Kind == protocol.KindRegister {
				e.Secret = protocoltest.Secret
			}
			down = c.AppendReply(down, e, protocol.OK)
		}
		down, _ = c.Poll(down, time.Date(2026, 11, 28, 12, 34, 56, 0, time.UTC))
		for _, m := range unframe(t, down) {
			p.ids, p.last = append(p.ids, m.id), m
			if m.id == 0x8001 {
				p.results = append(p.results, m.body[4])
			}
		}
	}
	return p
}

func (p *played) want(t *testing.T, ids []uint16, results []byte, texts ...string) {
	t.Helper()
	answered := slices.Equal(p.ids, ids) && slices.Equal(p.results, results)
	if !answered || !slices.Equal(p.texts, texts) {
		t.Errorf("answered %04x with %d, stored %d texts %q", p.ids, p.results, len(p.texts),
			p.texts)
	}
}

func TestTrials(t *testing.T) {
	all := protocoltest.Trials(t, vectorsFile)
	for id, check := range map[string]func(*testing.T, [][]byte){
		"jt808-parts_gap_text": func(t *testing.T, frames [][]byte) {
			t.Helper()
			p := play(t, frames)
			p.want(t, slices.Repeat([]uint16{0x8001}, 4), make([]byte, 4), strings.Repeat("请在三号门卸货",
				100))
		},
		"jt808-parts_resent_new_serial": func(t *testing.T, frames [][]byte) {
			t.Helper()
			p := play(t, frames)
			ids := []uint16{0x8001, 0x8001, 0x8001, 0x8003, 0x8001}
			p.want(t, ids, make([]byte, 4), strings.Repeat("ABCDEFGHIJ", 150))
		},
		"jt808-answered_by_1300": answeredBy1300,
		"jt808-text_after_logout": func(t *testing.T, frames [][]byte) {
			t.Helper()
			p := play(t, frames)
			p.want(t, slices.Repeat([]uint16{0x8001}, 4), make([]byte, 4), strings.Repeat("LONG",
				300))
		},
		"jt808-time_sync_0109": func(t *testing.T, frames [][]byte) {
			t.Helper()
			p := play(t, frames)
			p.want(t, []uint16{0x8001, 0x8109, 0x8001, 0x8001}, make([]byte, 3))
			p = play(t, frames[:2])
			if want := "\x07\xea\x0b\x1c\x0c\x22\x38\x00"; string(p.last.body) != want {
				t.Errorf("the time is % x", p.last.body)
			}
		},
		"jt808-bit14_2013": func(t *testing.T, frames [][]byte) {
			t.Helper()
			p := play(t, frames)
			p.want(t, []uint16{0x8100, 0x8001}, []byte{0})
			if p.last.long || string(p.last.phone) != "\x01\x38\x00\x00\x01\x05" {
				t.Errorf("%+v", p.last)
			}
		},
		"jt808-text_6006_utf8": func(t *testing.T, frames [][]byte) {
			t.Helper()
			p := play(t, frames)
			p.want(t, []uint16{0x8001, 0x8001}, []byte{0, 0}, "返回:收到")
		},
	} {
		t.Run(id, func(t *testing.T) {
			if len(all[id].Frames()) == 0 {
				t.Fatal("not there")
			}
			check(t, all[id].Frames())
		})
	}
}

// answeredBy1300: the text was written under the number that the frames name.
func answeredBy1300(t *testing.T, frames [][]byte) {
	t.Helper()
	c := jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), nil))
	if _, _, err := receive(c, frames[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AppendText(nil, protocol.Text{Ref: 0x3C6E, Parts: 1, Body: "where#"}); err !=
		nil {
		t.Fatal(err)
	}
	keys := map[uint64]bool{}
	for _, f := range frames[1:] {
		events, reply, err := receive(c, f)
		if err != nil || len(events) != 2 || len(unframe(t, reply)) != 1 {
			t.Fatalf("%+v, % x, %v", events, reply, err)
		}
		ack, text := events[0], events[1]
		if ack.Kind != protocol.KindAck || ack.Ref != 0x3C6E ||
			ack.Outcome != protocol.AckDelivered {
			t.Errorf("%+v", ack)
		}
		if text.Text != "Set OK!" || text.ReplyTo != 0x3C6E || !text.Replies {
			t.Errorf("%+v", text)
		}
		keys[text.Key] = true
	}
	if len(keys) != 1 {
		t.Errorf("it is stored %d times", len(keys))
	}
}
