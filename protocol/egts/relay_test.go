package egts_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"
)

// link is a relay between a terminal and its server, with what each side has got.
type link struct {
	protocol.Relay
	tb     testing.TB
	w      protocol.Ways
	result protocol.Result
}

func newLink(tb testing.TB, values map[string]string, o protocol.RelayOptions) *link {
	tb.Helper()
	return &link{Relay: egts.New().NewRelay(settingsOf(tb, values), o), tb: tb}
}

// admitted is a link whose terminal has logged in.
func admitted(tb testing.TB, values map[string]string, o protocol.RelayOptions) *link {
	tb.Helper()
	l := newLink(tb, values, o)
	l.up(terminal(1024))
	if got := l.down(resultCode(9, 9, 0)); got != "admitted" {
		tb.Fatalf("the login became %s", got)
	}
	l.w = protocol.Ways{}
	return l
}

// up sends frames of the terminal and returns the events, "!" before those that do not pass.
func (l *link) up(frames ...[]byte) string {
	return l.read(frames, l.Up)
}

// down sends frames of the server.
func (l *link) down(frames ...[]byte) string {
	return l.read(frames, l.Down)
}

func (l *link) read(frames [][]byte, one func(*protocol.Ways, []byte, time.Time,
	func(*protocol.Event)) error,
) string {
	var all []string
	for _, f := range frames {
		var events []protocol.Event
		err := one(&l.w, bytes.Clone(f), time.Time{}, func(e *protocol.Event) {
			events = append(events, *e)
		})
		if err != nil {
			all = append(all, "error")
		}
		for i := range events {
			all = append(all, describe(&events[i]))
			l.w.Device = l.AppendReply(l.w.Device, &events[i], l.result)
		}
	}
	return strings.Join(all, ", ")
}

func describe(e *protocol.Event) string {
	s := ""
	if !e.Passed {
		s = "!"
	}
	switch e.Kind {
	case protocol.KindLogin:
		return s + "login " + e.DeviceID
	case protocol.KindAdmitted:
		return s + "admitted"
	case protocol.KindDenied:
		return s + "denied"
	case protocol.KindAck:
		return fmt.Sprintf("%sack %d %s", s, e.Ref, outcomeWord(e.Outcome))
	case protocol.KindEvidence:
		return fmt.Sprintf("%sevidence %d %s", s, e.Ref, outcomeWord(e.Outcome))
	case protocol.KindText:
		return s + "text " + e.Text
	case protocol.KindPosition:
		return fmt.Sprintf("%spositions %d", s, e.Count)
	case protocol.KindKnown:
		return s + "known"
	case protocol.KindHeartbeat:
		return s + "heartbeat"
	case protocol.KindRefused:
		return s + "refused"
	case protocol.KindUnknown:
		return s + "unknown"
	case protocol.KindOther:
		return s + "other"
	default:
		return fmt.Sprintf("%skind %d", s, e.Kind)
	}
}

func outcomeWord(o protocol.Outcome) string {
	switch o {
	case protocol.AckDelivered:
		return "delivered"
	case protocol.Linked:
		return "linked"
	case protocol.Accepted:
		return "accepted"
	default:
		return fmt.Sprint(o)
	}
}

// write writes a text and returns its packet.
func (l *link) write(ref uint64, body string) packet {
	l.tb.Helper()
	out, err := l.AppendText(nil, text(ref, body))
	if err != nil {
		l.tb.Fatal(err)
	}
	return unframe(l.tb, out)[0]
}

// got checks what both sides have got since the last time.
func (l *link) got(when string, device, server []byte) {
	l.tb.Helper()
	if !bytes.Equal(l.w.Device, device) {
		l.tb.Errorf("%s: the terminal got\n%x instead of\n%x", when, l.w.Device, device)
	}
	if !bytes.Equal(l.w.Server, server) {
		l.tb.Errorf("%s: the server got\n%x instead of\n%x", when, l.w.Server, server)
	}
	l.w.Device, l.w.Server = nil, nil
}

// platform writes a record from the server.
func platform(number uint16, service byte, subs ...sub) []byte {
	b := rec(number, service, subs...)
	b[4] = 0x40
	return b
}

func resultCode(pid, rn uint16, code byte) []byte {
	return frame(1, pid, platform(rn, 1, sub{9, string([]byte{code})}))
}

// confirms is a RESPONSE to a packet and to one of its records, from the terminal.
func confirms(pid, answered, rn uint16, service byte) []byte {
	return frame(0, pid, append(le16(answered, 0), rec(7, service, sub{0, string(le16(rn, 0))})...))
}

// accepts is one from the server.
func accepts(pid, answered, rn uint16, service byte) []byte {
	return frame(0, pid, append(le16(answered, 0),
		platform(7, service, sub{0, string(le16(rn, 0))})...))
}

func deliv(pid, rn uint16, cid uint32) []byte {
	return frame(1, pid, rec(rn, 4, command(8, 0, cid, 0, "\x00")))
}

func msgTo(pid, rn uint16, cid uint32, body string) []byte {
	return frame(1, pid, platform(rn, 4, command(4, 0, cid, 0, "\x00"+body)))
}

func position(pid, rn uint16) []byte {
	return frame(1, pid, recOf(4711, rn, 2, sub{16, strings.Repeat("\x00", 21)}))
}

// signed is a packet with a signature before its records.
func signed(pid uint16, records []byte) []byte {
	return frame(2, pid, append([]byte{2, 0, 0xAA, 0xBB}, records...))
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// One session, both ways. A driver's text travels with telemetry, so that it passes in any case.
func TestRelaySession(t *testing.T) {
	for _, only := range []bool{false, true} {
		session(t, protocol.RelayOptions{OnlyChat: only})
	}
}

func session(t *testing.T, o protocol.RelayOptions) {
	t.Helper()
	l := newLink(t, nil, o)
	ours := msgTo(0x8000, 0x8000, 100, "one")
	for _, s := range []struct {
		name           string
		from           byte // d: terminal, s: server, t: the text 100 is written
		in             []byte
		device, server []byte
		events         string
	}{
		{"telemetry before the login", 'd', position(1, 1), nil, position(1, 1), "positions 1"},
		{"login", 'd', terminal(1024), nil, terminal(1024), "login 4711"},
		{"its RESPONSE", 's', accepts(1, 1, 1, 1), accepts(1, 1, 1, 1), nil, ""},
		{"in progress", 's', resultCode(2, 2, 1), resultCode(2, 2, 1), nil, ""},
		{"refused", 's', resultCode(2, 2, 151), resultCode(2, 2, 151), nil, "denied"},
		{"login again", 'd', terminal(1024), nil, terminal(1024), "login 4711"},
		{"verdict", 's', resultCode(3, 3, 0), resultCode(3, 3, 0), nil, "admitted"},
		{"verdict again", 's', resultCode(3, 3, 0), resultCode(3, 3, 0), nil, ""},
		{"it is confirmed", 'd', confirms(2, 3, 3, 1), nil, confirms(2, 3, 3, 1), "other"},
		{"an ack of a text that was never written", 'd', deliv(3, 2, 100), nil, deliv(3, 2, 100), "other"},
		{"a text", 't', nil, ours, nil, ""},
		{"it arrived", 'd', confirms(4, 0x8000, 0x8000, 4), nil, nil, "!evidence 100 linked, !evidence 100 accepted"},
		{"a position", 'd', position(5, 3), nil, position(5, 3), "positions 1"},
		{"the server's text", 's', msgTo(4, 4, 7, "theirs"), msgTo(4, 4, 7, "theirs"), nil, ""},
		{"its ack", 'd', deliv(6, 4, 7), nil, deliv(6, 4, 7), "other"},
		{"the ack of ours", 'd', deliv(7, 5, 100), nil, deliv(7, 5, 100), "ack 100 delivered"},
		{"it is answered", 's', accepts(5, 7, 5, 4), accepts(5, 7, 5, 4), nil, ""},
		{
			"a driver's text", 'd', frame(1, 8, rec(6, 4, command(3, 0, 55, 9, "\x00hi"))),
			frame(1, 0x8001, platform(0x8001, 4, command(8, 0, 55, 9, "\x00"))),
			frame(1, 8, rec(6, 4, command(3, 0, 55, 9, "\x00hi"))), "text hi",
		},
		{"it is answered", 's', accepts(6, 8, 6, 4), accepts(6, 8, 6, 4), nil, ""},
		{"CT_DELIV is confirmed", 'd', confirms(9, 0x8001, 0x8001, 4), nil, nil, "!known, !other"},
		{"once more", 'd', confirms(9, 0x8001, 0x8001, 4), nil, nil, "!other"},
		{"nonsense", 'd', frame(9, 9, []byte{1}), nil, frame(9, 9, []byte{1}), "unknown"},
		{"damage", 'd', frame(1, 9, []byte{1}), nil, frame(1, 9, []byte{1}), "error, refused"},
	} {
		got := ""
		switch s.from {
		case 'd':
			got = l.up(s.in)
		case 's':
			got = l.down(s.in)
		default:
			var err error
			if l.w.Device, err = l.AppendText(l.w.Device, text(100, "one")); err != nil {
				t.Fatal(err)
			}
		}
		if got != s.events {
			t.Errorf("%s: %s instead of %s", s.name, got, s.events)
		}
		l.got(s.name, s.device, s.server)
	}
	if l.w.Mapped != 0 {
		t.Errorf("%d frames were changed", l.w.Mapped)
	}
}

// What is not about ours alone passes, and with PassAcks that as well.
func TestRelayTakesOnlyBareResponsesToItsOwn(t *testing.T) {
	response := func(answered uint16, records ...[]byte) []byte {
		return frame(0, 4, append(le16(answered, 0), join(records...)...))
	}
	crn := func(rn uint16) []byte { return rec(7, 4, sub{0, string(le16(rn, 0))}) }
	for name, c := range map[string]struct {
		in    []byte
		taken bool
	}{
		"alone":                  {response(0x8000), true},
		"with its record":        {response(0x8000, crn(0x8000)), true},
		"with a foreign record":  {response(0x8000, crn(0x8001)), false},
		"with both":              {response(0x8000, crn(0x8000), crn(3)), false},
		"with a position":        {response(0x8000, crn(0x8000), rec(8, 2, sub{16, "x"})), false},
		"with an empty record":   {response(0x8000, rec(8, 2)), false},
		"half a confirmation":    {response(0x8000, rec(8, 4, sub{0, "\x00\x80"})), false},
		"damaged records":        {response(0x8000, []byte{1, 2, 3}), false},
		"to the server's packet": {response(0, crn(0x8000)), false},
		"to one to come":         {response(0x8001, crn(0x8000)), false},
		"not a RESPONSE":         {frame(1, 4, crn(0x8000)), false},
	} {
		for _, pass := range []bool{false, true} {
			l := admitted(t, nil, protocol.RelayOptions{PassAcks: pass})
			l.write(100, "one")
			events := l.up(c.in)
			want := c.in
			if c.taken && !pass {
				want = nil
			}
			if strings.Contains(events, "!") != (want == nil) {
				t.Errorf("%s: %s", name, events)
			}
			l.got(name, nil, want)
		}
	}
}

// All collected frames pass as they are while nothing of ours is out, as does what is no frame of
// the kind.
func TestRelayPassesEverything(t *testing.T) {
	for _, lenient := range []string{"false", "true"} {
		values := map[string]string{"lenient": lenient}
		l := newLink(t, values, protocol.RelayOptions{Replay: true})
		var up, down []byte
		for _, v := range protocoltest.Vectors(t, vectorsFile) {
			b := v.Bytes()
			if v.FromDevice() {
				up = append(up, b...)
				l.result = protocol.UnknownDevice // nothing is said to a driver
				l.up(b)
			}
			if v.ToDevice() {
				down = append(down, b...)
				if n, _, err := l.CutDown(b, 0); err != nil || n != len(b) {
					t.Fatalf("%s was cut at %d, %v", v.ID, n, err)
				}
				l.down(b)
			}
		}
		l.got("vectors", down, up)
	}
	good := position(3, 3)
	damaged := bytes.Clone(good)
	damaged[20]++
	header := bytes.Clone(good)[:11]
	header[10]++
	for name, in := range map[string][]byte{
		"damaged data":   damaged,
		"damaged header": header,
		"garbage":        []byte("garbage that is no packet"),
		"a few bytes":    {1, 2},
		"nothing":        {},
		"encrypted":      sealed(headerOf(0x08), []byte{1}),
		"compressed":     sealed(headerOf(0x04), []byte{1}),
	} {
		l := admitted(t, nil, protocol.RelayOptions{})
		l.write(100, "one")
		err := l.Up(&l.w, in, time.Time{}, func(*protocol.Event) {})
		other := l.Down(&l.w, in, time.Time{}, func(*protocol.Event) {})
		if err == nil || other == nil {
			t.Errorf("%s: %v, %v", name, err, other)
		}
		l.got(name, in, in)
	}
}

func headerOf(flags byte) []byte { return header(1, flags, nil, 1, 0x1234) }

// Packets of ours that the terminal leaves unanswered are repeated, those of the server are its own
// matter.
func TestRelayRepeatsItsOwn(t *testing.T) {
	l := admitted(t, nil, protocol.RelayOptions{})
	l.down(msgTo(4, 4, 7, "theirs"))
	if out, next := l.Poll(nil, time.Unix(0, 0)); len(out) != 0 || !next.IsZero() {
		t.Errorf("%x, and more at %v", out, next)
	}
	out, err := l.AppendText(nil, text(100, "one"))
	if err != nil {
		t.Fatal(err)
	}
	quitter, ok := l.Relay.(protocol.Quitter)
	if !ok {
		t.Fatal("it never gives up")
	}
	for i := range int64(5) {
		again, _ := l.Poll(nil, time.Unix(5*i, 0))
		if (i > 0 && i < 4) != bytes.Equal(again, out) || quitter.Gone() != (i == 4) {
			t.Errorf("after %d s: %x, %v", 5*i, again, quitter.Gone())
		}
	}
}
