package egts_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"trackchat/protocol"
)

// The numbers of a text of ours that waits for its ack come from the server as well: it gets its
// answers under its own, and nothing counts for ours.
func TestRelayCollision(t *testing.T) {
	const pid, rn = 0x8000, 0x8000
	l := admitted(t, map[string]string{"delivered_on": "record"}, protocol.RelayOptions{})
	l.write(100, "one")
	for i := range 2 { // the server repeats its packet
		if got := l.down(msgTo(pid, rn, 7, "theirs")); got != "" || l.w.Mapped != 3*i+1 {
			t.Errorf("%s, %d changed", got, l.w.Mapped)
		}
		l.got("theirs", msgTo(0xC000, 0xC000, 7, "theirs"), nil)
		if got := l.up(confirms(4, 0xC000, 0xC000, 4)); got != "other" || l.w.Mapped != 3*i+2 {
			t.Errorf("%s, %d changed", got, l.w.Mapped)
		}
		l.got("its confirmation", nil, confirms(4, pid, rn, 4))
		apart := frame(1, 5, rec(9, 4, sub{0, string(le16(0xC000, 0))}))
		if got := l.up(apart); got != "other" || l.w.Mapped != 3*i+3 {
			t.Errorf("%s, %d changed", got, l.w.Mapped)
		}
		l.got("apart", nil, frame(1, 5, rec(9, 4, sub{0, string(le16(rn, 0))})))
	}
	// the number that stands in is used by the server itself
	l.down(msgTo(0xC000, 1, 8, "theirs"))
	l.got("the other one", msgTo(0x8001, 1, 8, "theirs"), nil)
	if got := l.up(frame(0, 6, le16(0x8001, 0))); got != "other" {
		t.Error(got)
	}
	l.got("its answer", nil, frame(0, 6, le16(0xC000, 0)))
	// ours is still waiting, and the next of ours has numbers of its own
	if got := l.up(confirms(7, pid, rn, 4)); got != "!evidence 100 linked, !ack 100 delivered" {
		t.Error(got)
	}
	if p := l.write(101, "two"); p.pid != 0x8002 || p.records[0].number != 0x8001 {
		t.Errorf("%+v", p)
	}
	// a number of the server's that nobody had is left to it
	l.down(msgTo(0x8003, 0x8002, 9, "theirs"))
	l.w.Device = nil
	if p := l.write(102, "three"); p.pid != 0x8004 || p.records[0].number != 0x8003 {
		t.Errorf("%+v", p)
	}
}

// A packet of the server that is damaged passes as it is. The terminal may still make something of
// it, so its numbers are the server's.
func TestRelayCollisionWithADamagedPacket(t *testing.T) {
	whole := msgTo(0x8000, 0x8000, 100, "theirs")
	checksum := bytes.Clone(whole)
	checksum[len(checksum)-1]++
	for name, in := range map[string][]byte{
		"checksum": checksum,
		"tail":     frame(1, 0x8000, append(whole[11:len(whole)-2], 9)),
	} {
		l := admitted(t, nil, protocol.RelayOptions{})
		l.write(100, "one")
		if got := l.down(in); got != "error" {
			t.Errorf("%s: %s", name, got)
		}
		l.got(name, in, nil)
		up := join(frame(0, 8, le16(0x8000, 138)), confirms(9, 0x8000, 0x8000, 4), deliv(9, 9, 100))
		if got := l.up(frame(0, 8, le16(0x8000, 138)), confirms(9, 0x8000, 0x8000, 4),
			deliv(9, 9, 100)); got != "other, other, other" {
			t.Errorf("%s: %s", name, got)
		}
		l.got(name, nil, up)
		if l.Caps().NotYet {
			t.Errorf("%s: texts wait", name)
		}
		again := l.write(100, "one")
		if cid := le32(again.records[0].subs[0].data[1:]); cid == 100 || again.pid != 0x8001 ||
			again.records[0].number != 0x8001 {
			t.Errorf("%s: %+v", name, again)
		}
	}
}

// A RESPONSE of the server is not answered, so its numbers collide with none, but for the records
// of its own that it may hold.
func TestRelayCollisionInAResponse(t *testing.T) {
	l := admitted(t, nil, protocol.RelayOptions{})
	l.write(100, "one")
	bare := frame(0, 0x8000, append(le16(3, 0),
		platform(0x8000, 2, sub{0, string(le16(3, 0))})...))
	l.down(bare)
	l.got("a confirmation", bare, nil)
	response := func(rn uint16) []byte {
		return frame(0, 0x8000, append(le16(3, 0),
			platform(rn, 4, command(4, 0, 7, 0, "\x00theirs"))...))
	}
	l.down(response(0x8000))
	l.got("a text", response(0xC000), nil)
	if got := l.up(confirms(4, 0x8000, 0x8000, 4)); got !=
		"!evidence 100 linked, !evidence 100 accepted" {
		t.Error(got)
	}
}

// A signed packet is not touched: each of its numbers that was ours is the server's from then on.
func TestRelayCollisionWithASignedPacket(t *testing.T) {
	record := frame(1, 5, rec(9, 4, sub{0, string(le16(0x8000, 0))}))
	response := frame(0, 5, le16(0x8000, 0))
	for name, c := range map[string]struct {
		in             []byte
		record, packet string // what an answer to that number means
	}{
		"PID":  {signed(0x8000, platform(4, 4)), "other", "other"},
		"RN":   {signed(4, platform(0x8000, 4)), "other", "!other"},
		"none": {signed(4, platform(4, 4)), "evidence 100 accepted", "!evidence 100 linked"},
	} {
		l := admitted(t, nil, protocol.RelayOptions{})
		l.write(100, "one")
		l.down(c.in)
		l.got(name, c.in, nil)
		if a, b := l.up(record), l.up(response); a != c.record || b != c.packet {
			t.Errorf("%s: %s, %s", name, a, b)
		}
	}
}

// routed is a packet with addresses.
func routed(packet []byte, from, to byte) []byte {
	data := packet[11 : len(packet)-2]
	return sealed(header(packet[9], 0x20, []byte{from, 0, to, 0, 16}, len(data),
		uint16(packet[7])|uint16(packet[8])<<8), bytes.Clone(data))
}

// Through routers, ours goes back the way that the terminal's packets came, and numbers are
// replaced behind the longer header as well.
func TestRelayCollisionThroughRouters(t *testing.T) {
	l := admitted(t, nil, protocol.RelayOptions{Replay: true})
	l.up(routed(position(2, 2), 1, 2))
	l.got("telemetry", nil, routed(position(2, 2), 1, 2))
	out, err := l.AppendText(nil, text(100, "one"))
	if err != nil || !bytes.Equal(out, routed(msgTo(0x8000, 0x8000, 100, "one"), 2, 1)) {
		t.Errorf("%x, %v", out, err)
	}
	l.down(routed(msgTo(0x8000, 0x8000, 7, "theirs"), 2, 1))
	l.got("theirs", routed(msgTo(0xC000, 0xC000, 7, "theirs"), 2, 1), nil)
	l.up(routed(confirms(3, 0xC000, 0xC000, 4), 1, 2))
	l.got("its answer", nil, routed(confirms(3, 0x8000, 0x8000, 4), 1, 2))
	if got := l.up(routed(confirms(4, 0x8000, 0x8000, 4), 1, 2)); got !=
		"!evidence 100 linked, !evidence 100 accepted" {
		t.Error(got)
	}
	// a packet without data has no second checksum
	bare := sealed(header(1, 0, nil, 0, 0x8000), nil)
	l.down(bare)
	l.got("no data", sealed(header(1, 0, nil, 0, 0xC000), nil), nil)
	l.Replay(&l.w)
	l.w = protocol.Ways{}
	l.down(routed(resultCode(5, 6, 0), 2, 1))
	l.got("verdict", nil, routed(standIn(0x8001, 5, 6), 1, 2))
}

// The server uses the CID of a text of ours that waits for its ack, as any of its commands: ours
// counts no ack and goes out under another CID, and its own ack counts.
func TestRelayCollisionOfCID(t *testing.T) {
	for kind := range byte(16) {
		l := admitted(t, nil, protocol.RelayOptions{})
		first := l.write(100, "one")
		theirs := frame(1, 4, platform(4, 4, command(kind, 0, 100, 0, "\x00theirs")))
		l.down(theirs)
		l.got("theirs", theirs, nil)
		l.Poll(nil, time.Unix(0, 0))
		repeated, _ := l.Poll(nil, time.Unix(5, 0))         // is for one that still means ours
		confirmation := kind == 1 || kind == 2 || kind == 8 // of what the terminal sent
		if (len(repeated) > 0) != confirmation {
			t.Errorf("type %d: %x was sent again", kind, repeated)
		}
		got := l.up(frame(0, 8, le16(first.pid, 0)), deliv(9, 9, 100))
		if want := map[bool]string{
			false: "!other, other", true: "!evidence 100 linked, ack 100 delivered",
		}[confirmation]; got != want {
			t.Errorf("type %d: %s", kind, got)
		}
		l.got("the ack", nil, deliv(9, 9, 100))
		again := l.write(100, "one")
		cid := le32(again.records[0].subs[0].data[1:])
		if confirmation != (cid == 100) || confirmation != (again.pid == first.pid) {
			t.Errorf("type %d: the text has CID %d and PID %d", kind, cid, again.pid)
		}
		if repeated := l.write(100, "one"); le32(repeated.records[0].subs[0].data[1:]) != cid ||
			repeated.pid != again.pid {
			t.Errorf("type %d: repeated as %+v", kind, repeated)
		}
		if other := le32(l.write(uint64(cid)+7, "x").records[0].subs[0].data[1:]); other != cid+7 {
			t.Errorf("type %d: text %d has CID %d", kind, cid+7, other)
		}
		if other := le32(l.write(uint64(cid), "x").records[0].subs[0].data[1:]); !confirmation &&
			other == cid {
			t.Errorf("type %d: two texts have CID %d", kind, cid)
		}
		if got := l.up(deliv(10, 10, 100)); !confirmation && got != "other" {
			t.Errorf("type %d: %s", kind, got)
		}
		if got := l.up(deliv(11, 11, cid)); got != "ack 100 delivered" {
			t.Errorf("type %d: %s", kind, got)
		}
	}
	// the server was there first
	l := admitted(t, nil, protocol.RelayOptions{})
	l.down(msgTo(4, 4, 100, "theirs"))
	if cid := le32(l.write(100, "one").records[0].subs[0].data[1:]); cid == 100 {
		t.Error("the CID of the server's text was used")
	} else if got := l.up(deliv(9, 9, 100), deliv(10, 10, cid)); got != "other, ack 100 delivered" {
		t.Error(got)
	}
}

func le32(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// A text is withdrawn only under a CID that cannot be the server's.
func TestRelayWithdraws(t *testing.T) {
	l := admitted(t, nil, protocol.RelayOptions{})
	withdraw := func() []byte {
		w, ok := l.Relay.(protocol.Withdrawer)
		if !ok {
			t.Fatal("texts cannot be withdrawn")
		}
		return w.AppendWithdraw(nil, 100)
	}
	if out := withdraw(); len(out) != 0 {
		t.Errorf("%x withdraws what was never written", out)
	}
	l.write(100, "one")
	if p := unframe(t, withdraw())[0]; p.pid != 0x8001 ||
		p.records[0].subs[0] != command(6, 0, 100, 0, "\x00") {
		t.Errorf("%+v", p)
	}
	l.down(msgTo(4, 4, 100, "theirs"))
	if out := withdraw(); len(out) != 0 {
		t.Errorf("%x withdraws the server's text", out)
	}
}

// Nothing of ours goes to a terminal whose server signs or hides what it sends, and such packets
// are not touched.
func TestRelayKeepsAwayFromOpaqueServers(t *testing.T) {
	for name, c := range map[string]struct {
		in  []byte
		ack string // of the text that was written before
	}{
		"signed":     {signed(0x8000, platform(0x8000, 4, command(4, 0, 7, 0, "\x00x"))), "ack 100 delivered"},
		"same CID":   {signed(4, platform(4, 4, command(4, 0, 100, 0, "\x00x"))), "other"},
		"encrypted":  {sealed(headerOf(0x08), []byte{1}), "other"},
		"compressed": {sealed(headerOf(0x04), []byte{1}), "other"},
	} {
		l := admitted(t, nil, protocol.RelayOptions{})
		l.write(100, "one")
		if l.Caps().NotYet {
			t.Fatal("it cannot be written to")
		}
		l.down(c.in)
		l.got(name, c.in, nil)
		if !l.Caps().NotYet {
			t.Errorf("%s: texts do not wait", name)
		}
		if out, err := l.AppendText(nil, text(101, "two")); len(out) != 0 ||
			!errors.Is(err, protocol.ErrNotText) {
			t.Errorf("%s: %x, %v", name, out, err)
		}
		if name == "signed" {
			answer := confirms(5, 0x8000, 0x8000, 4) // is the server's
			if got := l.up(answer); got != "other" {
				t.Errorf("%s: %s", name, got)
			}
			l.got(name, nil, answer)
		}
		if got := l.up(deliv(9, 9, 100)); got != c.ack {
			t.Errorf("%s: %s", name, got)
		}
		said := frame(1, 8, rec(6, 4, command(3, 0, 55, 9, "\x00hi")))
		l.w.Server = nil
		if got := l.up(said); got != "text hi" {
			t.Errorf("%s: %s", name, got)
		}
		l.got(name, nil, said)
		for s := range int64(30) {
			if out, _ := l.Poll(nil, time.Unix(s, 0)); len(out) != 0 {
				t.Errorf("%s: %x", name, out)
			}
		}
	}
	l := admitted(t, nil, protocol.RelayOptions{})
	if _, _, err := l.CutDown([]byte("HTTP/1.1"), 0); !errors.Is(err, protocol.ErrFraming) ||
		!l.Caps().NotYet {
		t.Errorf("%v, and texts do not wait", err)
	}
}
