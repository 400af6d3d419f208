package teltonika_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/teltonika"
)

// What is held leaves before bytes of the server that nobody can read, and when it refuses a login.
func TestRelayLosesNothingThatItHolds(t *testing.T) {
	for name, in := range map[string]string{"no frames": "HTTP", "a refused login": "\x00"} {
		x := bound(t, numbered, protocol.RelayOptions{})
		if err := x.text(7, "Hi"); err != nil {
			t.Fatal(err)
		}
		x.srv(getver)
		if name != "no frames" {
			x.dev([]byte(login))
		}
		x.take()
		x.srv([]byte(in))
		want := string(getver)
		if name != "no frames" {
			want = in + want
		}
		if got := x.take(); got.device != want {
			t.Errorf("%s: %q", name, got.device)
		}
	}
}

// The numbers of the server's texts are kept longest, because an ack of one must not become ours.
func TestRelayNumbersAreBounded(t *testing.T) {
	x := bound(t, numbered, protocol.RelayOptions{})
	x.srv(command(0x0E, "M7:theirs\r\nM8:as well\r\nM9 no number\r\nMx:nor here\r\n"))
	x.pass(30 * time.Second)
	for ref := range uint64(100) {
		if err := x.text(ref+10, "Hi"); err != nil {
			t.Fatal(err)
		}
		x.take()
		x.dev(command(6, fmt.Sprintf("A%d\r\n", ref+10)))
		x.want("an ack", "", "", fmt.Sprintf("ack %d 1", ref+10))
	}
	if err := x.text(9, "Hi"); err != nil {
		t.Errorf("9 is no number of theirs: %v", err)
	}
	if err := x.text(8, "Hi"); !errors.Is(err, protocol.ErrNotText) {
		t.Errorf("8 is forgotten: %v", err)
	}
}

// Positions and their answers cost no allocation.
func TestRelayedPositionsDoNotAllocate(t *testing.T) {
	x := bound(t, nil, protocol.RelayOptions{})
	var w protocol.Ways
	in, answer, count := avl(), []byte(ack1), 0
	emit := func(e *protocol.Event) { count += e.Count }
	if n := testing.AllocsPerRun(100, func() {
		w.Device, w.Server = w.Device[:0], w.Server[:0]
		err := x.relay.Up(&w, in, x.now, emit)
		n, _, cutting := x.relay.CutDown(answer, 0)
		if err := errors.Join(err, cutting); err != nil || n != len(answer) {
			t.Fatal(n, err)
		}
		if err := x.relay.Down(&w, answer, x.now, emit); err != nil {
			t.Fatal(err)
		}
		w.Device, _ = x.relay.Poll(w.Device, x.now)
	}); n != 0 || count != 101 {
		t.Errorf("%v allocations, %d positions", n, count)
	}
}

func TestRelayIdleSessionIsSmall(t *testing.T) {
	const n = 5000
	p := teltonika.New()
	for chat, most := range map[string]int64{"fmi": 450, "serial": 450, "none": 400} {
		settings := protocoltest.NewSettings(t, p, map[string]string{"chat": chat})
		all := make([]protocol.Relay, n)
		before := heap()
		for i := range all {
			x := &relayed{
				tb: t, relay: p.NewRelay(settings, protocol.RelayOptions{Replay: true}),
				now: time.Unix(1_700_000_000, 0),
			}
			x.dev([]byte(login))
			x.srv([]byte(accepted))
			x.dev(avl())
			x.srv([]byte(ack1))
			x.pass(time.Minute)
			x.pass(time.Minute)
			all[i] = x.relay
		}
		each := (int64(heap()) - int64(before)) / n
		t.Logf("%s: %d bytes", chat, each)
		if each > most {
			t.Errorf("an idle session with chat %s takes %d bytes, more than %d", chat, each, most)
		}
		all[0].Caps()
	}
}

// FuzzRelay: whatever both sides send, nothing panics, and where nothing of ours is out what passes
// is what came.
func FuzzRelay(f *testing.F) {
	for i, v := range vectors(f) {
		f.Add(v.Bytes(), v.Bytes(), uint64(i), false)
	}
	f.Add(command(6, "A7\r\n"), slices.Concat([]byte(zeros+ack1), getver), uint64(3), true)
	f.Fuzz(func(t *testing.T, up, down []byte, seed uint64, texts bool) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		set := []map[string]string{plain, numbered, bare, {"chat": "none"}, nil}[seed%5]
		if set == nil && !texts { // our session would speak by itself
			set = map[string]string{"chat": "none"}
		}
		x := bound(t, set, protocol.RelayOptions{Replay: true, PassAcks: seed&8 != 0})
		x.take()
		frames, rest, _ := protocoltest.Cut(teltonika.New(), up)
		frames = append(frames, up[len(up)-rest:])
		pieces := protocoltest.Randomly(down, rnd)
		for len(frames)+len(pieces) > 0 {
			x.now = x.now.Add(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			if texts && rnd.IntN(3) == 0 {
				_ = x.text(uint64(rnd.IntN(9)), fmt.Sprint("text ", seed)) // or it waits
			}
			switch {
			case len(frames) > 0 && (len(pieces) == 0 || rnd.IntN(2) == 0):
				x.dev(frames[0])
				frames = frames[1:]
			default:
				x.srv(pieces[0])
				pieces = pieces[1:]
			}
		}
		x.pass(time.Minute)
		got := x.take()
		if texts {
			x.relay.Replay(&protocol.Ways{})
			return
		}
		cutOff, _, _ := protocoltest.Cut(teltonika.New(), up)
		want := strings.Builder{}
		for _, frame := range cutOff {
			want.Write(frame)
		}
		want.Write(up[len(up)-rest:])
		if got.server != want.String() {
			t.Fatalf("%x became %x", want.String(), got.server)
		}
		if got.device+string(x.waiting) != string(down) {
			t.Fatalf("%x became %x and %x", down, got.device, x.waiting)
		}
		for _, e := range got.events {
			if strings.HasPrefix(e, "ack") {
				t.Fatalf("%q", got.events)
			}
		}
	})
}
