package jt808_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

// between is a relay between a terminal and a server; the test plays both, and the gateway, which
// finds everything as result says.
type between struct {
	protocol.Relay

	t      *testing.T
	now    time.Time
	result protocol.Result
}

// came is what one frame brought.
type came struct {
	server, device []byte
	events         []protocol.Event
	err            error
	mapped         int
}

func relayed(t *testing.T, values map[string]string, o protocol.RelayOptions) *between {
	t.Helper()
	p := jt808.New()
	return &between{
		Relay: p.NewRelay(protocoltest.NewSettings(t, p, values), o), t: t,
		now: time.Unix(1_700_000_000, 0),
	}
}

// bound returns a relay whose terminal of 2013 the server has accepted.
func bound(t *testing.T, values map[string]string, o protocol.RelayOptions) *between {
	t.Helper()
	b := relayed(t, values, o)
	b.up(frame(0x0102, 1, []byte("A")))
	if got := b.down(general(1, 0x0102, 0)); len(got.events) != 1 || b.Caps().NotYet {
		t.Fatalf("%+v", got)
	}
	return b
}

// general is a general reply of the server's.
func general(serial, id uint16, result byte) []byte {
	return frame(0x8001, 900, []byte{
		byte(serial >> 8), byte(serial), byte(id >> 8), byte(id), result,
	})
}

// ack is a general reply of the terminal's.
func ack(serial, id uint16, result byte) []byte {
	return frame(0x0001, 800, []byte{
		byte(serial >> 8), byte(serial), byte(id >> 8), byte(id), result,
	})
}

// naming is a message whose body begins with the number of a text.
func naming(id, serial uint16, rest string) []byte {
	return frame(id, 801, append([]byte{byte(serial >> 8), byte(serial)}, rest...))
}

func (b *between) passes(
	pass func(*protocol.Ways, []byte, time.Time, func(*protocol.Event)) error, frame []byte,
) (got came) {
	b.t.Helper()
	var w protocol.Ways
	got.err = pass(&w, frame, b.now, func(e *protocol.Event) {
		got.events = append(got.events, *e)
	})
	for i := range got.events {
		w.Device = b.AppendReply(w.Device, &got.events[i], b.result)
	}
	got.server, got.device, got.mapped = w.Server, w.Device, w.Mapped
	return got
}

func (b *between) up(frame []byte) came { b.t.Helper(); return b.passes(b.Up, frame) }

func (b *between) down(frame []byte) came { b.t.Helper(); return b.passes(b.Down, frame) }

// text writes a text and returns the number under which it went out.
func (b *between) text(ref uint16, choices ...string) uint16 {
	b.t.Helper()
	out, err := b.AppendText(nil, protocol.Text{
		Ref: uint64(ref), Parts: 1, Body: "Hi", Choices: choices,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return unframe(b.t, out)[0].serial
}

// poll returns what the relay says by itself after a time.
func (b *between) poll(after time.Duration) []byte {
	b.t.Helper()
	b.now = b.now.Add(after)
	out, _ := b.Poll(nil, b.now)
	return out
}

// kinds are the events in words: kind, whether it passed, and what it says.
func kinds(events []protocol.Event) string {
	names := map[protocol.Kind]string{
		protocol.KindLogin: "login", protocol.KindRegister: "register", protocol.KindAck: "ack",
		protocol.KindAnswer: "answer", protocol.KindText: "text", protocol.KindOther: "other",
		protocol.KindUnknown: "unknown", protocol.KindHeartbeat: "beat",
		protocol.KindPosition: "position", protocol.KindAdmitted: "admitted",
		protocol.KindDenied: "denied", protocol.KindRefused: "refused",
	}
	var all []string
	for i := range events {
		e := &events[i]
		s := names[e.Kind]
		switch e.Kind {
		case protocol.KindAck, protocol.KindAnswer:
			s += fmt.Sprint(" ", e.Ref)
		case protocol.KindText:
			s += " " + e.Text
		case protocol.KindLogin:
			s += " " + e.DeviceID + " " + e.Secret
		default:
		}
		if e.Replies {
			s += fmt.Sprint(" to ", e.ReplyTo)
		}
		if e.Passed {
			s += " >"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// expect compares what a frame brought; unchanged stands for the frame itself.
func (got came) expect(t *testing.T, what string, server, device []byte, events string) {
	t.Helper()
	if !bytes.Equal(got.server, server) || !bytes.Equal(got.device, device) ||
		kinds(got.events) != events || got.err != nil {
		t.Errorf("%s: server %x, device %x, events %q, %v\nnot    server %x, device %x, events %q",
			what, got.server, got.device, kinds(got.events), got.err, server, device, events)
	}
}

// relayStep is one frame in a conversation.
type relayStep struct {
	what     string
	fromHere bool // our text of reference 100 is written before
	up, down []byte
	server   []byte // what the server gets; nil: what came up
	taken    bool   // it gets nothing
	device   []byte // what the terminal gets besides what came down
	events   string
}

func converse(t *testing.T, b *between, steps []relayStep) {
	t.Helper()
	for _, s := range steps {
		if s.fromHere {
			b.text(100, "Yes", "No")
		}
		server, device := s.server, append(slices.Clone(s.down), s.device...)
		if server == nil && !s.taken {
			server = s.up
		}
		if s.up != nil {
			b.up(s.up).expect(t, s.what, server, device, s.events)
			continue
		}
		b.down(s.down).expect(t, s.what, server, device, s.events)
	}
}

// answered is a general reply of ours.
func answered(ours, serial, id uint16) []byte {
	return frame(0x8001, ours, []byte{
		byte(serial >> 8), byte(serial), byte(id >> 8), byte(id), 0,
	})
}

func TestRelayedSession(t *testing.T) {
	said := unicodeText("On my way")
	converse(t, relayed(t, nil, protocol.RelayOptions{}), []relayStep{
		{what: "registers", up: frame(0x0100, 1, make([]byte, 37)), events: "register >"},
		{what: "its code", down: frame(0x8100, 0, []byte("\x00\x01\x00CODE"))},
		{what: "beats early", up: frame(0x0002, 2, nil), events: "beat >"},
		{what: "logs in", up: frame(0x0102, 3, []byte("CODE")), events: "login 013812345678 CODE >"},
		{what: "another answer", down: general(2, 0x0002, 0)},
		{what: "is accepted", down: general(3, 0x0102, 0), events: "admitted"},
		{what: "the same again", down: general(3, 0x0102, 0)},
		{what: "position", up: frame(0x0200, 4, make([]byte, 28)), events: "position >"},
		{what: "unknown", up: frame(0x0F77, 5, []byte("?")), events: "unknown >"},
		{what: "time", up: frame(0x0004, 6, nil), events: "other >"},
		{what: "media", up: frame(0x0801, 7, make([]byte, 40)), events: "other >"},
		{what: "ack of a parameter", up: ack(7, 0x8103, 0), events: "other >"},
		{what: "ack of nobody's", up: ack(100, 0x8302, 0), events: "other >"},
		{
			what: "our ack", fromHere: true, up: ack(100, 0x8302, 0), taken: true,
			events: "ack 100",
		},
		{what: "no message of ours", up: ack(100, 0x8300, 0), events: "other >"},
		{what: "position", up: frame(0x0200, 8, make([]byte, 28)), events: "position >"},
		{
			what: "our answer", up: naming(0x0302, 100, "\x02"), taken: true,
			device: answered(0, 801, 0x0302), events: "answer 100",
		},
		{
			what: "our text", up: naming(0x1300, 100, "\x00O\x00K"), taken: true,
			device: answered(1, 801, 0x1300), events: "ack 100, text OK to 100",
		},
		{what: "nobody's answer", up: naming(0x0302, 99, "\x02"), events: "other >"},
		{what: "nobody's text", up: naming(0x1300, 99, "\x00O\x00K"), events: "text OK >"},
		{what: "a text", up: frame(0x6006, 9, said), events: "text On my way >"},
		{what: "an event", up: frame(0x0301, 10, []byte{3}), events: "text event 3 >"},
		{what: "its answer", down: general(9, 0x6006, 0)},
		{what: "logs in anew", up: frame(0x0102, 11, []byte("C")), events: "login 013812345678 C >"},
		{what: "is refused", down: general(11, 0x0102, 1), events: "denied"},
	})
}

func TestRelayBindsByTheServersWord(t *testing.T) {
	p := jt808.New()
	login := frame(0x0102, 1, []byte("A"))
	for name, c := range map[string]struct {
		server []byte
		result protocol.Result
		speaks bool
	}{
		"accepted":               {general(1, 0x0102, 0), protocol.OK, true},
		"not in the directory":   {general(1, 0x0102, 0), protocol.UnknownDevice, false},
		"another password":       {general(1, 0x0102, 0), protocol.BadCredentials, false},
		"refused":                {general(1, 0x0102, 1), protocol.OK, false},
		"another frame's answer": {general(2, 0x0102, 0), protocol.OK, false},
		"another message's":      {general(1, 0x0002, 0), protocol.OK, false},
		"the registration's":     {frame(0x8100, 1, []byte{0, 1, 0, 'A'}), protocol.OK, false},
		"an answer in parts": {
			frameFrom(phone2013, 0x8001, 1, []byte{0, 1, 1, 2, 0}, 2, 1), protocol.OK, false,
		},
		"an answer cut too short": {frame(0x8001, 1, []byte{0, 1, 1, 2}), protocol.OK, false},
	} {
		b := relayed(t, nil, protocol.RelayOptions{})
		b.up(login)
		b.result = c.result
		if got := b.down(c.server); !bytes.Equal(got.device, c.server) || len(got.server) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		if b.Caps().NotYet == c.speaks {
			t.Errorf("%s: caps %+v", name, b.Caps())
		}
		if _, err := b.AppendText(nil, protocol.Text{Parts: 1, Body: "x"}); (err == nil) != c.speaks {
			t.Errorf("%s: text %v", name, err)
		}
	}
	b := relayed(t, nil, protocol.RelayOptions{})
	b.down(general(0, 0, 0)).expect(t, "nothing asked", nil, general(0, 0, 0), "")
	b = bound(t, nil, protocol.RelayOptions{})
	b.Bind(protocoltest.NewSettings(t, p, map[string]string{"part_bytes": "100"}))
	if b.Caps().PartBytes != 100 {
		t.Errorf("%+v", b.Caps())
	}
	b.up(frame(0x0102, 7, []byte("B")))
	b.down(general(7, 0x0102, 1))
	if !b.Caps().NotYet {
		t.Error("a terminal that the server refuses later still has texts")
	}
}

func TestRelayOfATerminalThatNeverAuthenticates(t *testing.T) {
	lenient := map[string]string{"lenient": "true"}
	b := relayed(t, lenient, protocol.RelayOptions{})
	converse(t, b, []relayStep{
		{what: "first", up: frame(0x0002, 1, nil), events: "login 013812345678  >, beat >"},
		{what: "refused", down: general(1, 0x0002, 1)},
		{what: "second", up: frame(0x0200, 2, make([]byte, 28)), events: "position >"},
		{what: "accepted", down: general(2, 0x0200, 0), events: "admitted"},
		{what: "once", down: general(2, 0x0200, 0)},
	})
	if b.Caps().NotYet {
		t.Error("not bound")
	}
	// One that authenticates after all is bound by that alone.
	b = relayed(t, lenient, protocol.RelayOptions{})
	converse(t, b, []relayStep{
		{what: "login", up: frame(0x0102, 1, []byte("A")), events: "login 013812345678 A >"},
		{what: "beat", up: frame(0x0002, 2, nil), events: "beat >"},
		{what: "beat's answer", down: general(2, 0x0002, 0)},
		{what: "refused", down: general(1, 0x0102, 1), events: "denied"},
		{what: "beat's answer", down: general(2, 0x0002, 0)},
	})
	if !b.Caps().NotYet {
		t.Error("bound although it was refused")
	}
	// The store could not say: the next answer asks again.
	b = relayed(t, lenient, protocol.RelayOptions{})
	b.up(frame(0x0002, 1, nil))
	b.result = protocol.Later
	b.down(general(1, 0x0002, 0))
	b.result = protocol.OK
	if b.down(general(2, 0x0002, 0)); b.Caps().NotYet {
		t.Error("not bound after the store came back")
	}
}

func TestRelayReplaysTheLogin(t *testing.T) {
	login := frame(0x0102, 1, []byte("A"))
	b := relayed(t, nil, protocol.RelayOptions{Replay: true})
	var w protocol.Ways
	if b.Replay(&w) || len(w.Server) != 0 {
		t.Error("replayed before any login")
	}
	b.up(frame(0x0100, 0, make([]byte, 37)))
	b.up(login)
	b.down(general(1, 0x0102, 0))
	b.text(100)
	b.down(frame(0x8300, 9, []byte("\x04T")))
	if !b.Replay(&w) || !bytes.Equal(w.Server, login) || len(w.Device) != 0 || b.Caps().NotYet {
		t.Fatalf("%+v", w)
	}
	beat := general(1, 0x0002, 0)
	b.down(beat).expect(t, "another answer", nil, beat, "")
	b.down(general(1, 0x0102, 0)).expect(t, "the login's", nil, nil, "admitted")
	b.down(general(1, 0x0102, 0)).expect(t, "once more", nil, general(1, 0x0102, 0), "")
	// What the server of before has said stays its own.
	b.up(ack(9, 0x8300, 0)).expect(t, "theirs", ack(9, 0x8300, 0), nil, "other >")
	if wire := b.text(9); wire == 9 {
		t.Error("written under a number of the server of before")
	}
	b.up(ack(100, 0x8300, 0)).expect(t, "ours", nil, nil, "ack 100")
	w = protocol.Ways{}
	b.Replay(&w)
	b.down(general(1, 0x0102, 1)).expect(t, "refused now", nil, nil, "denied")
	if !b.Caps().NotYet {
		t.Error("refused and still bound")
	}

	b = relayed(t, nil, protocol.RelayOptions{})
	b.up(login)
	if b.Replay(&w) {
		t.Error("kept although nobody may ask")
	}
	b = relayed(t, nil, protocol.RelayOptions{Replay: true})
	b.up(frame(0x0102, 1, bytes.Repeat([]byte{0x7e}, 600)))
	if b.Replay(&w) {
		t.Error("a longer one than may be kept")
	}
	// The flag between two frames may be that of both.
	b = relayed(t, map[string]string{"lenient": "true"}, protocol.RelayOptions{Replay: true})
	first := frame(0x0002, 1, nil)
	b.up(first[1:])
	w = protocol.Ways{}
	if !b.Replay(&w) || !bytes.Equal(w.Server, first) {
		t.Errorf("%x", w.Server)
	}
	beat = general(1, 0x0002, 0)
	b.down(beat).expect(t, "still to be answered", nil, beat, "admitted")
	b.Replay(&w)
	b.down(beat).expect(t, "lenient", nil, nil, "admitted")
}

func TestRelayPassesWhatItCannotRead(t *testing.T) {
	damaged := frame(0x0002, 5, nil)
	damaged[len(damaged)-2] ^= 1
	for name, f := range map[string][]byte{
		"damaged": damaged, "garbage": []byte("garbage"), "flags": {0x7e, 0x7e, 0x7e},
		"bad escape": {0x7e, 0x7d, 0x55, 0x7e}, "short": {0x7e, 1, 0x7e},
		"foreign":     frameFrom([]byte{9, 9, 9, 9, 9, 9}, 0x0002, 5, nil),
		"short ack":   frame(0x0001, 5, []byte{1}),
		"empty text":  frame(0x6006, 5, nil),
		"other words": []byte("(0123BP00)"), "dialect": {0xe7, 1, 2, 0xe7},
	} {
		b := bound(t, nil, protocol.RelayOptions{})
		if got := b.up(f); !bytes.Equal(got.server, f) || len(got.device) != 0 || got.err == nil {
			t.Errorf("%s: server %x, device %x, %v", name, got.server, got.device, got.err)
		}
		if got := b.down(f); !bytes.Equal(got.device, f) || len(got.server) != 0 {
			t.Errorf("%s: server %x, device %x", name, got.server, got.device)
		}
	}
}

func TestRelayPassesEveryVector(t *testing.T) {
	p := jt808.New()
	var up, down []byte
	for _, v := range protocoltest.Vectors(t, vectorsFile) {
		f := v.Bytes()
		if v.BodyOnly() {
			f = wrapBody(v)
		}
		if v.FromDevice() {
			up = append(up, f...)
			frames, _, _ := protocoltest.Cut(p, f)
			for _, o := range []protocol.RelayOptions{{}, {PassAcks: true, Replay: true}} {
				alone := relayed(t, map[string]string{"lenient": "true"}, o)
				for _, f := range frames {
					if got := alone.up(f); !bytes.Equal(got.server, f) || len(got.device) != 0 {
						t.Errorf("%s: server %x, device %x", v.ID, got.server, got.device)
					}
				}
			}
		}
		if v.ToDevice() {
			down = append(down, f...)
		}
	}
	b := bound(t, map[string]string{"serial_text": "0x41,0x42"}, protocol.RelayOptions{})
	rest, whole := passedOn(t, p.Frame, up, func(f []byte) []byte {
		got := b.up(f)
		if len(got.device) != 0 {
			t.Errorf("%x was answered by %x", f, got.device)
		}
		return got.server
	})
	if !bytes.Equal(whole, up[:len(up)-rest]) {
		t.Error("not the bytes of the terminal")
	}
	rest, whole = passedOn(t, b.CutDown, down, func(f []byte) []byte { return b.down(f).device })
	if !bytes.Equal(whole, down[:len(down)-rest]) {
		t.Error("not the bytes of the server")
	}
}

// passedOn cuts a stream and joins what becomes of its frames.
func passedOn(t *testing.T, cut func([]byte, int) (int, int, error), stream []byte,
	pass func([]byte) []byte,
) (rest int, whole []byte) {
	t.Helper()
	for len(stream) > 0 {
		n, _, err := cut(stream, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		whole = append(whole, pass(stream[:n])...)
		stream = stream[n:]
	}
	return len(stream), whole
}
