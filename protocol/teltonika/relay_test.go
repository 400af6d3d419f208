package teltonika_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/teltonika"
)

const (
	login    = "\x00\x0f" + imei
	accepted = "\x01"
	ack1     = "\x00\x00\x00\x01"
	zeros    = "\x00\x00\x00\x00"
)

// relayed is a relay between a device and a server; the test plays the gateway.
type relayed struct {
	tb      testing.TB
	relay   protocol.Relay
	now     time.Time
	waiting []byte // of the server, not cut yet
	lost    bool   // framing of the server
	unknown bool   // the directory does not name the device
	seen    saw
}

// saw is what came out since it was looked at last.
type saw struct {
	device, server string
	events         []string
	errs           []error
	w              protocol.Ways
}

func newRelayed(tb testing.TB, values map[string]string, o protocol.RelayOptions) *relayed {
	tb.Helper()
	p := teltonika.New()
	return &relayed{
		tb: tb, relay: p.NewRelay(protocoltest.NewSettings(tb, p, values), o),
		now: time.Unix(1_700_000_000, 0),
	}
}

// bound is a relay whose device has logged in and whose positions have been answered.
func bound(tb testing.TB, values map[string]string, o protocol.RelayOptions) *relayed {
	tb.Helper()
	x := newRelayed(tb, values, o)
	x.dev([]byte(login))
	x.srv([]byte(accepted))
	x.dev(avl())
	x.srv([]byte(ack1))
	got := x.take()
	if got.server != login+string(avl()) || !strings.HasPrefix(got.device, accepted+ack1) {
		tb.Fatalf("%+v", got)
	}
	return x
}

// take returns what came out, and forgets it.
func (x *relayed) take() saw {
	got := x.seen
	x.seen = saw{}
	return got
}

// describe is an event in short.
func describe(e *protocol.Event) string {
	s := map[protocol.Kind]string{
		protocol.KindLogin: "login " + e.DeviceID, protocol.KindHeartbeat: "heartbeat",
		protocol.KindPosition: "position", protocol.KindOther: "other",
		protocol.KindUnknown: "unknown", protocol.KindText: "text " + e.Text,
		protocol.KindAck:      fmt.Sprintf("ack %d %d", e.Ref, e.Outcome),
		protocol.KindEvidence: fmt.Sprintf("evidence %d", e.Outcome),
		protocol.KindAnswer:   fmt.Sprintf("answer %d %d", e.Ref, e.Choice),
		protocol.KindAdmitted: "admitted", protocol.KindDenied: "denied",
		protocol.KindRefused: "refused",
	}[e.Kind]
	if e.Passed {
		s += " passed"
	}
	return s
}

func (x *relayed) deal(run func(w *protocol.Ways, emit func(*protocol.Event)) error) {
	w := &x.seen.w
	var events []protocol.Event
	err := run(w, func(e *protocol.Event) {
		events = append(events, *e)
		x.seen.events = append(x.seen.events, describe(e))
	})
	if err != nil {
		x.seen.errs = append(x.seen.errs, err)
	}
	x.flush()
	for i := range events {
		r := protocol.OK
		if x.unknown {
			r = protocol.UnknownDevice
		}
		x.seen.device += string(x.relay.AppendReply(nil, &events[i], r))
	}
}

func (x *relayed) flush() {
	x.seen.device += string(x.seen.w.Device)
	x.seen.server += string(x.seen.w.Server)
	x.seen.w.Device, x.seen.w.Server = nil, nil
}

func (x *relayed) dev(frames ...[]byte) {
	for _, frame := range frames {
		x.deal(func(w *protocol.Ways, emit func(*protocol.Event)) error {
			return x.relay.Up(w, frame, x.now, emit)
		})
	}
	x.poll()
}

func (x *relayed) srv(in []byte) {
	x.waiting = append(x.waiting, in...)
	x.cut()
	x.poll()
}

// cut deals with what the server has sent.
func (x *relayed) cut() {
	for !x.lost && len(x.waiting) > 0 {
		n, next, err := x.relay.CutDown(x.waiting, 0)
		if err != nil {
			x.lost = true
			break
		}
		if n < 0 || n > len(x.waiting) || next < 0 || next > len(x.waiting) {
			x.tb.Fatalf("cut %d, %d of %d", n, next, len(x.waiting))
		}
		if n == 0 {
			return
		}
		frame := x.waiting[:n:n]
		x.waiting = x.waiting[n:]
		x.deal(func(w *protocol.Ways, emit func(*protocol.Event)) error {
			return x.relay.Down(w, frame, x.now, emit)
		})
	}
}

// poll returns how long it is until the next one.
func (x *relayed) poll() time.Duration {
	if h, ok := x.relay.(protocol.Holder); ok {
		x.deal(func(_ *protocol.Ways, emit func(*protocol.Event)) error {
			h.Release(x.now, false, emit)
			return nil
		})
	}
	out, next := x.relay.Poll(nil, x.now)
	x.seen.device += string(out)
	if len(x.waiting) > 0 {
		x.cut()
		out, next = x.relay.Poll(nil, x.now)
		x.seen.device += string(out)
	}
	if next.IsZero() {
		return 0
	}
	return next.Sub(x.now)
}

func (x *relayed) pass(d time.Duration) time.Duration {
	x.now = x.now.Add(d)
	return x.poll()
}

// text writes one and returns the packet with which it left, empty where it waits.
func (x *relayed) text(ref uint64, body string) error {
	out, err := x.relay.AppendText(nil, protocol.Text{Ref: ref, Parts: 1, Body: body})
	x.seen.device += string(out)
	x.poll()
	return err
}

func (x *relayed) gone() bool {
	q, ok := x.relay.(protocol.Quitter)
	return ok && q.Gone()
}

// want compares what came out since the last time, and forgets it.
func (x *relayed) want(what, device, server string, events ...string) {
	x.tb.Helper()
	got := x.take()
	if got.device != device || got.server != server || !slices.Equal(got.events, events) ||
		len(got.errs) > 0 {
		x.tb.Errorf("%s:\n device %q,\nnot %q,\nserver %q,\nnot %q,\nevents %q,\nnot %q, %v", what,
			got.device, device, got.server, server, got.events, events, got.errs)
	}
}

// state is what the caps say of the turn.
func (x *relayed) state() string {
	caps := x.relay.Caps()
	var s []string
	for name, is := range map[string]bool{
		"not yet": caps.NotYet, "turn": caps.Turn, "in use": caps.InUse, "none": caps.NoText,
	} {
		if is {
			s = append(s, name)
		}
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}

var (
	plain    = map[string]string{"chat": "serial"}
	numbered = map[string]string{"chat": "serial", "ack_pattern": `^A(\d+)$`}
	bare     = map[string]string{"chat": "serial", "ack_pattern": "^OK$"}
	getver   = command(5, "getver")
	version  = command(6, "Ver:03.27")
)

func TestRelayLogin(t *testing.T) {
	x := newRelayed(t, plain, protocol.RelayOptions{})
	if got := x.state(); got != "not yet" {
		t.Errorf("at first: %s", got)
	}
	x.dev([]byte(login))
	x.want("the login", "", login, "login "+imei+" passed")
	x.dev(avl())
	x.want("positions before the answer", "", string(avl()), "position passed")
	x.srv([]byte(accepted + ack1))
	x.want("both answers", accepted+ack1, "", "admitted")
	if got := x.state(); got != "" {
		t.Errorf("bound: %s", got)
	}
	x.dev([]byte{0xFF})
	x.want("a keep-alive", "", "\xff", "heartbeat passed")

	x = newRelayed(t, plain, protocol.RelayOptions{}) // one that has no positions
	x.dev([]byte(login))
	x.srv([]byte(accepted))
	x.pass(2999 * time.Millisecond)
	if got := x.state(); got != "not yet" {
		t.Errorf("without positions: %s", got)
	}
	x.pass(time.Millisecond)
	if got := x.state(); got != "" {
		t.Errorf("without positions, later: %s", got)
	}

	for name, answer := range map[string]string{"unknown": accepted, "refused": "\x00"} {
		x := newRelayed(t, plain, protocol.RelayOptions{})
		x.unknown = name == "unknown"
		x.dev([]byte(login))
		x.srv([]byte(answer))
		x.dev(avl(), command(6, "a line\r\n"))
		x.srv(slices.Concat([]byte(ack1), getver))
		x.pass(time.Hour)
		got := x.take()
		if got.device != answer+ack1+string(getver) ||
			got.server != login+string(avl())+string(command(6, "a line\r\n")) ||
			x.state() != "not yet" || slices.Contains(got.events, "text a line passed") {
			t.Errorf("%s: %+v, %s", name, got, x.state())
		}
		if err := x.text(1, "no"); !errors.Is(err, protocol.ErrNotText) {
			t.Errorf("%s: %v", name, err)
		}
	}
	x = bound(t, plain, protocol.RelayOptions{})
	x.dev([]byte(login))
	if got := x.state(); got != "not yet" {
		t.Errorf("it waits for the answer to another login: %s", got)
	}
	x.srv([]byte(accepted))
	if got := x.state(); got != "" {
		t.Errorf("after another login: %s", got)
	}
	x = newRelayed(t, plain, protocol.RelayOptions{})
	x.dev([]byte("\x00\x03abc"))
	got := x.take()
	if got.server != "\x00\x03abc" || len(got.errs) != 1 || got.device != "" {
		t.Errorf("a login without an IMEI: %+v", got)
	}
}

// With nothing of ours out every frame of both directions passes as it is.
func TestRelayPassesVectors(t *testing.T) {
	for _, chat := range []string{"fmi", "serial", "none"} {
		x := bound(t, map[string]string{"chat": chat}, protocol.RelayOptions{})
		x.pass(time.Hour) // FMI is enabled, which nobody answers
		x.pass(time.Minute)
		for _, v := range vectors(t) {
			b := v.Bytes()
			if v.FromDevice() {
				frames, _, err := protocoltest.Cut(teltonika.New(), b)
				if err != nil || len(frames) != 1 {
					frames = [][]byte{b} // as the gateway passes what it cannot cut
				}
				x.pass(6 * time.Second) // FMI may have been enabled once more
				x.take()
				x.dev(frames...)
				if got := x.take(); got.server != string(bytes.Join(frames, nil)) ||
					chat != "fmi" && got.device != "" {
					t.Errorf("%s: %s: %x to the server, %x to the device", chat, v.ID, got.server,
						got.device)
				}
				if b[0] == 0 && b[1] != 0 {
					x.srv([]byte(accepted))
				}
			}
			if v.ToDevice() {
				x.pass(time.Minute)
				x.take()
				x.srv(b)
				if got := x.take(); got.device != string(b) || got.server != "" {
					t.Errorf("%s: %s: %x to the device", chat, v.ID, got.device)
				}
			}
			x.pass(time.Minute)
		}
	}
}

// What cannot be read passes, and is told.
func TestRelayPassesDamage(t *testing.T) {
	x := bound(t, numbered, protocol.RelayOptions{})
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	for name, b := range map[string][]byte{
		"positions": flip(avl()), "a command": flip(command(6, "A1\r\n")),
		"a count": packet(append([]byte{8, 9}, make([]byte, 31)...)...),
		"items":   packet([]byte("\x0c\x02\x06\x00\x00\x00\x01a\x02")...),
		"garbage": []byte("what is this"), "nothing": {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		x.take()
		x.dev(b)
		if got := x.take(); got.server != string(b) || len(got.errs) != 1 || len(got.events) > 0 {
			t.Errorf("%s of the device: %+v", name, got)
		}
	}
	x.pass(time.Minute)
	down := flip(command(5, "getver"))
	x.take()
	x.srv(down)
	if got := x.take(); got.device != string(down) || len(got.errs) != 1 {
		t.Errorf("a command of the server: %+v", got)
	}
	x.srv([]byte("HTTP/1.1 400"))
	if !x.lost {
		t.Error("another protocol is taken for frames")
	}
}

// The server's bytes become the same frames wherever they are cut.
func TestRelayCutsTheServersDirection(t *testing.T) {
	long := command(5, strings.Repeat("x", 300))
	ten := "\x00\x00\x00\x0a"
	for name, frames := range map[string][]string{
		"answers and commands": {
			accepted, ack1, string(getver), ack1, string(long), string(command(14, "a\r\n")), ten,
		},
		"refusals": {
			accepted, zeros, ack1, zeros, string(getver), zeros, zeros, ten, string(long), zeros,
			ten, string(getver), zeros, ten, ack1,
		},
		"no login":   {ack1, string(getver), string(packet(0x0D, 0, 0, 0, 0, 0, 0, 0, 0))},
		"refused":    {"\x00", string(getver)},
		"many":       {accepted, "\x00\x00\xff\xff", "\x00\x00\x00\x08", "\x00\x00\x00\xff", ack1},
		"two logins": {accepted, "\x00", zeros, ack1},
	} {
		whole := strings.Join(frames, "")
		for at := range len(whole) {
			x := newRelayed(t, plain, protocol.RelayOptions{})
			logins := map[string]int{"no login": 0, "two logins": 2}
			n, ok := logins[name]
			if !ok {
				n = 1
			}
			for range n {
				x.dev([]byte(login))
			}
			for range frames {
				x.dev(avl())
			}
			var got []string
			for _, piece := range []string{whole[:at], whole[at:]} {
				x.waiting = append(x.waiting, piece...)
				for len(x.waiting) > 0 {
					n, _, err := x.relay.CutDown(x.waiting, 0)
					if err != nil {
						t.Fatalf("%s at %d: %v", name, at, err)
					}
					if n == 0 {
						break
					}
					got = append(got, string(x.waiting[:n]))
					x.deal(func(w *protocol.Ways, emit func(*protocol.Event)) error {
						return x.relay.Down(w, x.waiting[:n], x.now, emit)
					})
					x.waiting = x.waiting[n:]
				}
			}
			if !slices.Equal(got, frames) {
				t.Fatalf("%s at %d: %q", name, at, got)
			}
		}
	}
}

// A refusal on its own is told from the beginning of a packet by the device's next frame, or soon.
func TestRelayPassesALoneRefusal(t *testing.T) {
	x := bound(t, plain, protocol.RelayOptions{})
	x.dev(avl())
	x.take()
	x.srv([]byte(zeros))
	x.want("at first", "", "")
	x.dev(avl())
	x.want("the device goes on", zeros, string(avl()), "position passed")

	x.srv([]byte(zeros))
	x.pass(199 * time.Millisecond)
	x.want("a moment later", "", "")
	x.pass(time.Millisecond)
	x.want("then", zeros, "")
	x.srv([]byte("\x00\x00\x00\x09"))
	x.want("an answer that could be the rest of a packet", "", "")
	x.pass(0)
	if left := x.pass(200 * time.Millisecond); left > protocol.RelayWait {
		t.Errorf("wants to be asked in %v", left)
	}
	x.want("which passes as well", "\x00\x00\x00\x09", "")

	x.srv([]byte(zeros))
	x.pass(time.Second)
	x.take()
	if got := x.state(); got != "not yet" {
		t.Errorf("after half a packet: %s", got)
	}
	x.srv(getver[4:10])
	x.want("the rest of a packet", "", "")
	x.srv(getver[10:])
	x.seen.errs = nil
	x.want("the rest of a packet", string(getver[4:]), "")
	if got := x.state(); got != "not yet, turn" {
		t.Errorf("after a packet in halves: %s", got)
	}
	x.dev(version)
	if got := x.state(); got != "" {
		t.Errorf("after its answer: %s", got)
	}
}
