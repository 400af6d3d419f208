package jt808_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"trackchat/protocol"
)

func TestRelayPassesAcksWhereWanted(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{PassAcks: true})
	wire := b.text(7)
	b.up(ack(wire, 0x8300, 1)).expect(t, "ack", ack(wire, 0x8300, 1), nil, "ack 7 >")
	// Not where the server would take it for that of a text of its own.
	b.down(frame(0x8300, wire, []byte("\x04T")))
	b.up(ack(wire, 0x8300, 0)).expect(t, "ack", nil, nil, "ack 7")
}

// A plain relay once took the ack of the server's text for that of ours.
func TestRelayTellsTextsOfOneNumberApart(t *testing.T) {
	const number = 54423
	for name, variant := range map[string]func(id, serial uint16, body []byte) []byte{
		"2013": frame,
		"2019": func(id, serial uint16, body []byte) []byte {
			return frameFrom([]byte{0, 0, 0, 0, 1, 0x38, 0x12, 0x34, 0x56, 0x78}, id, serial, body)
		},
	} {
		b := relayed(t, nil, protocol.RelayOptions{})
		b.up(variant(0x0102, 1, []byte("\x01A")))
		b.down(variant(0x8001, 1, []byte{0, 1, 1, 2, 0}))
		if wire := b.text(number); wire != number {
			t.Fatalf("%s: written under %d", name, wire)
		}
		theirs := variant(0x8300, number, []byte("\x04\x02Call home"))
		got := b.down(theirs)
		m := unframe(t, got.device)
		if len(m) != 1 || m[0].serial == number || string(m[0].body) != "\x04\x02Call home" ||
			got.mapped != 1 || m[0].id != 0x8300 {
			t.Fatalf("%s: the terminal got %+v", name, m)
		}
		substitute := m[0].serial
		if again := b.down(theirs); !bytes.Equal(again.device, got.device) {
			t.Errorf("%s: repeated as %x", name, again.device)
		}
		acked := func(n uint16) []byte {
			return variant(0x0001, 9, []byte{byte(n >> 8), byte(n), 0x83, 0, 0})
		}
		got = b.up(acked(substitute))
		got.expect(t, name, acked(number), nil, "other >")
		if got.mapped != 1 {
			t.Errorf("%s: mapped %d", name, got.mapped)
		}
		b.up(acked(number)).expect(t, name, nil, nil, "ack 54423")
		// Answers that name the server's go back under its number as well.
		for _, id := range []uint16{0x1300, 0x0302} {
			up := variant(id, 9, []byte{byte(substitute >> 8), byte(substitute), 0, 'O'})
			want := variant(id, 9, []byte{number >> 8, number & 0xFF, 0, 'O'})
			b.up(up).expect(t, name, want, nil, "other >")
		}
	}
}

func TestRelayWritesUnderNumbersOfItsOwn(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{})
	text := frame(0x8300, 7, []byte("\x04T"))
	b.down(text).expect(t, "theirs", nil, text, "")
	wire := b.text(7, "Yes")
	if again := b.text(7, "Yes"); wire == 7 || again != wire {
		t.Fatalf("written under %d, then %d", wire, again)
	}
	b.up(ack(7, 0x8300, 0)).expect(t, "their ack", ack(7, 0x8300, 0), nil, "other >")
	b.down(text).expect(t, "theirs again", nil, text, "")
	b.up(ack(wire, 0x8302, 0)).expect(t, "our ack", nil, nil, "ack 7")
	b.up(naming(0x0302, wire, "\x01")).expect(t, "our answer", nil, answered(0, 801, 0x0302),
		"answer 7")
	b.up(naming(0x1300, wire, "\x00O")).expect(t, "our reply", nil, answered(1, 801, 0x1300),
		"ack 7, text O to 7")
	b.up(naming(0x1300, 7, "\x00O")).expect(t, "their reply", naming(0x1300, 7, "\x00O"), nil,
		"other >")
	// 0 is what terminals say that do not know what they answer.
	if wire = b.text(0); wire == 0 {
		t.Error("written under 0")
	}
	b.up(ack(wire, 0x8300, 0)).expect(t, "0", nil, nil, "ack 0")
}

func TestRelayOfTextsThatCannotBeRenumbered(t *testing.T) {
	encrypted := frame(0x8300, 7, []byte("\x04T"))
	encrypted[3] |= 4 // the attributes' bit 10
	encrypted[len(encrypted)-2] ^= 4
	damaged := frame(0x8300, 7, []byte("\x04T"))
	damaged[len(damaged)-2] ^= 1
	for name, theirs := range map[string][]byte{
		"in parts":  frameFrom(phone2013, 0x8300, 7, []byte("\x04T"), 2, 1),
		"encrypted": encrypted, "damaged": damaged,
		"longer than it says": overstated(7, "\x04T", 1),
	} {
		if name == "longer than it says" {
			theirs = bytes.Replace(theirs, []byte{0x60, 0x06}, []byte{0x83, 0x00}, 1)
			theirs[len(theirs)-2] ^= 0x60 ^ 0x06 ^ 0x83
		}
		b := bound(t, nil, protocol.RelayOptions{})
		b.text(7)
		if got := b.down(theirs); !bytes.Equal(got.device, theirs) || got.mapped != 0 {
			t.Fatalf("%s: %x", name, got.device)
		}
		b.up(ack(7, 0x8300, 0)).expect(t, name, ack(7, 0x8300, 0), nil, "other >")
		wire := b.text(7)
		if wire == 7 {
			t.Fatalf("%s: written again under a number that means two texts", name)
		}
		b.up(ack(7, 0x8300, 0)).expect(t, name, ack(7, 0x8300, 0), nil, "other >")
		b.up(naming(0x0302, 7, "\x01")).expect(t, name, naming(0x0302, 7, "\x01"), nil, "other >")
		b.up(ack(wire, 0x8300, 0)).expect(t, name, nil, nil, "ack 7")
	}
}

// Numbers all over, among them all with bytes that have to be escaped, are mapped and mapped back.
func TestRelayMapsNumbersWithEscapes(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{})
	special := func(b uint16) bool { return b == 0x7D || b == 0x7E || b == 0xFD || b == 0xFE }
	for n := range uint16(0xFFFF) {
		n++
		if n%61 != 0 && !special(n&0xFF) && !special(n>>8) {
			continue
		}
		wire := b.text(n)
		got := b.down(frame(0x8300, wire, []byte("\x04T")))
		m := unframe(t, got.device)
		if len(m) != 1 || m[0].serial == wire || m[0].serial == 0 || string(m[0].body) != "\x04T" {
			t.Fatalf("%d: %+v", wire, m)
		}
		b.up(ack(m[0].serial, 0x8300, 0)).expect(t, "theirs", ack(wire, 0x8300, 0), nil, "other >")
		b.up(ack(wire, 0x8300, 0)).expect(t, "ours", nil, nil, fmt.Sprint("ack ", n))
	}
}

func TestRelayRemembersWhatWasNeverAcknowledged(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{})
	for n := range uint16(3000) {
		b.down(frame(0x8300, n, []byte("\x04T")))
	}
	for _, ref := range []uint16{0, 1, 1500, 2999} {
		if wire := b.text(ref); wire < 3000 {
			t.Errorf("written under %d, which the server has used", wire)
		}
		b.up(ack(ref, 0x8300, 0)).expect(t, "theirs", ack(ref, 0x8300, 0), nil, "other >")
	}
	for n := range 1 << 16 {
		b.down(frame(0x8300, uint16(n), []byte("\x04T")))
	}
	if _, err := b.AppendText(nil, protocol.Text{Ref: 77, Parts: 1, Body: "x"}); err == nil {
		t.Error("written although the server has used every number")
	}
}

func TestRelayedImpliedAcks(t *testing.T) {
	for setting, up := range map[string][]byte{
		"1300": naming(0x1300, 0, "\x00O"), "6006": frame(0x6006, 5, unicodeText("O")),
		"next_frame": frame(0x0002, 6, nil),
	} {
		b := bound(t, map[string]string{"ack": setting}, protocol.RelayOptions{})
		b.text(7)
		if got := b.up(up); !strings.HasPrefix(kinds(got.events), "ack 7 >, ") ||
			!bytes.Equal(got.server, up) {
			t.Errorf("%s: %q", setting, kinds(got.events))
		}
		b.text(8)
		b.down(frame(0x8300, 9, []byte("\x04T")))
		if got := b.up(up); strings.Contains(kinds(got.events), "ack") {
			t.Errorf("%s: %q although the server has a text out", setting, kinds(got.events))
		}
	}
}

func TestRelayForgetsWhatWasAcknowledgedFirst(t *testing.T) {
	b := bound(t, nil, protocol.RelayOptions{})
	text := []byte("\x04T")
	b.down(frame(0x8300, 5, text))
	b.up(ack(5, 0x8300, 0))
	b.down(frame(0x8300, 5, text)) // once more, and not acknowledged
	for n := range uint16(200) {
		b.down(frame(0x8300, 100+n, text))
		b.up(ack(100+n, 0x8300, 0))
	}
	if wire := b.text(5); wire == 5 {
		t.Error("written under a number that the terminal may still acknowledge")
	}
	if wire := b.text(100); wire != 100 {
		t.Errorf("written under %d instead of one that is long done with", wire)
	}
	if wire := b.text(299); wire == 299 {
		t.Error("written under a number for which there is room")
	}
}

// What stands in for a number of the server's may come from the server as well.
func TestRelaySubstitutesAreNumbersToo(t *testing.T) {
	substituted := func() (*between, uint16) {
		b := bound(t, nil, protocol.RelayOptions{})
		b.text(7)
		return b, unframe(t, b.down(frame(0x8300, 7, []byte("\x04T"))).device)[0].serial
	}
	b, first := substituted()
	second := unframe(t, b.down(frame(0x8300, first, []byte("\x04U"))).device)[0].serial
	if second == first || second == 7 {
		t.Fatalf("two texts under %d", first)
	}
	b.up(ack(second, 0x8300, 0)).expect(t, "second", ack(first, 0x8300, 0), nil, "other >")
	b.up(ack(first, 0x8300, 0)).expect(t, "first", ack(7, 0x8300, 0), nil, "other >")
	// In a frame that cannot be changed it means what the server means.
	b, first = substituted()
	b.down(frameFrom(phone2013, 0x8300, first, []byte("\x04T"), 2, 1))
	b.up(ack(first, 0x8300, 0)).expect(t, "both", ack(first, 0x8300, 0), nil, "other >")
}
