package protocoltest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"trackchat/protocol"
)

// Relayed is a relay between a device and its server; the test plays the gateway, both others and
// the clock.
type Relayed struct {
	Relay protocol.Relay
	Now   time.Time
	// Answer is how the gateway finds the server's consent to a login (KindAdmitted).
	Answer protocol.Result

	p        *protocol.Protocol
	up, down side
}

// side is what came from one side and is not cut yet.
type side struct {
	buf     []byte
	scanned int
	lost    bool // framing: the rest passes as it comes
}

// RelaySeen is what came of some bytes: what either side got, the events, and all errors of frames.
type RelaySeen struct {
	Device, Server    string
	Events            []protocol.Event
	Mapped, Conflicts int
	Err               error
}

// NewRelayed is a connection before its login.
func NewRelayed(tb testing.TB, p *protocol.Protocol, settings map[string]string,
	o protocol.RelayOptions,
) *Relayed {
	tb.Helper()
	return &Relayed{
		Relay: p.NewRelay(NewSettings(tb, p, settings), o), Now: time.Unix(1_700_000_000, 0), p: p,
	}
}

// FromDevice brings bytes of the device's.
func (r *Relayed) FromDevice(in string) RelaySeen {
	return r.bytes(&r.up, in, r.p.Frame, r.Relay.Up, func(w *protocol.Ways) *[]byte {
		return &w.Server
	})
}

// FromServer brings bytes of the server's.
func (r *Relayed) FromServer(in string) RelaySeen {
	return r.bytes(&r.down, in, r.Relay.CutDown, r.Relay.Down, func(w *protocol.Ways) *[]byte {
		return &w.Device
	})
}

// After lets time pass.
func (r *Relayed) After(d time.Duration) RelaySeen {
	r.Now = r.Now.Add(d)
	out, _ := r.Relay.Poll(nil, r.Now)
	return RelaySeen{Device: string(out)}
}

// Text writes a text of one part as the gateway does, and polls.
func (r *Relayed) Text(t protocol.Text) (string, error) {
	t.Parts = max(t.Parts, 1)
	out, err := r.Relay.AppendText(nil, t)
	if err == nil {
		out, _ = r.Relay.Poll(out, r.Now)
	}
	return string(out), err
}

// Gone reports whether the relay wants the connection to end.
func (r *Relayed) Gone() bool {
	q, ok := r.Relay.(protocol.Quitter)
	return ok && q.Gone()
}

// Pending returns how many bytes of the device and the server wait for the rest of their frame.
func (r *Relayed) Pending() (up, down int) { return len(r.up.buf), len(r.down.buf) }

func (r *Relayed) bytes(s *side, in string,
	cut func([]byte, int) (int, int, error),
	take func(*protocol.Ways, []byte, time.Time, func(*protocol.Event)) error,
	other func(*protocol.Ways) *[]byte,
) (got RelaySeen) {
	var w protocol.Ways
	s.buf = append(s.buf, in...)
	for len(s.buf) > 0 {
		if s.lost {
			to := other(&w)
			*to = append(*to, s.buf...)
			s.buf = nil
			break
		}
		n, next, err := cut(s.buf, s.scanned)
		switch {
		case err != nil:
			s.lost, got.Err = true, errors.Join(got.Err, err)
			continue
		case n == 0 && (next < s.scanned || next > len(s.buf)), n > len(s.buf):
			got.Err = errors.Join(got.Err, ErrContract)
			return got
		case n == 0:
			s.scanned = next
		}
		if n == 0 {
			break
		}
		frame := bytes.Clone(s.buf[:n])
		s.buf, s.scanned = s.buf[n:], 0
		var events []protocol.Event
		err = take(&w, frame, r.Now, func(e *protocol.Event) { events = append(events, *e) })
		s.lost = errors.Is(err, protocol.ErrFraming)
		got.Err = errors.Join(got.Err, err)
		for i := range events {
			w.Device = r.Relay.AppendReply(w.Device, &events[i], r.verdict(&events[i]))
		}
		got.Events = append(got.Events, events...)
	}
	w.Device, _ = r.Relay.Poll(w.Device, r.Now)
	got.Device, got.Server = string(w.Device), string(w.Server)
	got.Mapped, got.Conflicts = w.Mapped, w.Conflicts
	return got
}

func (r *Relayed) verdict(e *protocol.Event) protocol.Result {
	if e.Kind == protocol.KindAdmitted {
		return r.Answer
	}
	return protocol.OK
}

// Kinds are the kinds of the events, in order.
func (s *RelaySeen) Kinds() (kinds []protocol.Kind) {
	for i := range s.Events {
		kinds = append(kinds, s.Events[i].Kind)
	}
	return kinds
}

// RelayPasses plays all frames of the vectors both ways, as one stream cut anywhere: while nothing
// of ours is out they pass as they came.
func RelayPasses(t *testing.T, r func() *Relayed, vectors []Vector) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("random cuts with seed %d", seed)
	var up, down []byte
	for _, v := range vectors {
		if v.BodyOnly() {
			continue
		}
		if v.FromDevice() {
			up = append(up, v.Bytes()...)
		}
		if v.ToDevice() {
			down = append(down, v.Bytes()...)
		}
	}
	for name, cut := range map[string]func([]byte) [][]byte{
		"whole":    func(b []byte) [][]byte { return [][]byte{b} },
		"bytewise": Bytewise,
		"random": func(b []byte) [][]byte {
			return Randomly(b, rand.New(rand.NewPCG(seed, 0)))
		},
	} {
		x := r()
		RelayUnchanged(t, x, name, cut(up), cut(down))
		if a, b := x.Pending(); a != 0 || b != 0 {
			t.Errorf("%s: %d and %d bytes are left", name, a, b)
		}
	}
}

// RelayUnchanged plays both streams by turns and checks that all bytes pass as they came, but for
// those that wait for the rest of their frame.
func RelayUnchanged(t *testing.T, r *Relayed, name string, up, down [][]byte) {
	t.Helper()
	var server, device []byte
	for i := range max(len(up), len(down)) {
		if i < len(up) {
			got := r.FromDevice(string(up[i]))
			server, device = append(server, got.Server...), append(device, got.Device...)
			checkRelayed(t, &got)
		}
		if i < len(down) {
			got := r.FromServer(string(down[i]))
			server, device = append(server, got.Server...), append(device, got.Device...)
			checkRelayed(t, &got)
		}
	}
	a, b := r.Pending()
	if all := slices.Concat(up...); !bytes.Equal(server, all[:len(all)-a]) {
		t.Fatalf("%s: the server got %q of %q", name, server, all)
	}
	if all := slices.Concat(down...); !bytes.Equal(device, all[:len(all)-b]) {
		t.Fatalf("%s: the device got %q of %q", name, device, all)
	}
}

func checkRelayed(t *testing.T, got *RelaySeen) {
	t.Helper()
	if errors.Is(got.Err, ErrContract) {
		t.Fatal(got.Err)
	}
	for i := range got.Events {
		if e := &got.Events[i]; e.Kind == protocol.KindAck {
			t.Fatalf("%+v although nothing of ours is out", e)
		}
	}
}

// FuzzRelay fuzzes a relay: nothing panics, whatever comes and whatever is written meanwhile. As
// long as nothing of ours is out, all bytes pass as they came: before a login, and in a session
// that bind has brought about. Those that more makes are bound as well, and may keep frames of the
// device's.
func FuzzRelay(f *testing.F, vectors []Vector, fresh func(tb testing.TB) *Relayed,
	bind func(tb testing.TB, r *Relayed), more ...func(tb testing.TB) *Relayed,
) {
	f.Helper()
	for i, v := range vectors {
		other := vectors[(i*7+1)%len(vectors)].Bytes()
		f.Add(v.Bytes(), other, uint64(i))
		f.Add(slices.Concat(other, v.Bytes()), v.Bytes(), uint64(i))
	}
	bound := func(tb testing.TB) *Relayed {
		tb.Helper()
		r := fresh(tb)
		bind(tb, r)
		return r
	}
	f.Fuzz(func(t *testing.T, up, down []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		RelayUnchanged(t, fresh(t), "unbound", Randomly(up, rnd), Randomly(down, rnd))
		RelayUnchanged(t, bound(t), "bound", Randomly(up, rnd), Randomly(down, rnd))
		bear(t, bound(t), Randomly(up, rnd), Randomly(down, rnd), rnd)
		for _, other := range more {
			bear(t, other(t), Randomly(up, rnd), Randomly(down, rnd), rnd)
		}
	})
}

// bear plays both streams while texts are written, time passes and the server's connection is lost.
func bear(t *testing.T, r *Relayed, up, down [][]byte, rnd *rand.Rand) {
	t.Helper()
	for i := range max(len(up), len(down)) {
		if _, err := r.Text(protocol.Text{Ref: uint64(i), Body: "text"}); err != nil &&
			!errors.Is(err, protocol.ErrNotText) {
			t.Fatal(err)
		}
		for _, got := range []RelaySeen{
			r.FromDevice(piece(up, i)), r.FromServer(piece(down, i)),
			r.After(time.Duration(rnd.IntN(20)) * time.Second),
		} {
			if errors.Is(got.Err, ErrContract) {
				t.Fatal(got.Err)
			}
		}
		if rnd.IntN(8) == 0 {
			var w protocol.Ways
			r.Relay.Replay(&w)
		}
	}
}

func piece(all [][]byte, i int) string {
	if i >= len(all) {
		return ""
	}
	return string(all[i])
}

// RelayStep is one thing that happens to a relay, the first of those that are set, and what comes
// of it.
type RelayStep struct {
	Device, Server string        // bytes of theirs
	Text           string        // of ours
	Replay         bool          // of the login
	After          time.Duration // passes

	ToDevice, ToServer string
	Kinds              []protocol.Kind // of the events
	Waits              bool            // afterwards a text of ours waits
	Turn               bool            // for the server's
	Gone               bool
	Bad                error
}

// PlayRelay runs the steps. The events of what the server gets have passed, all others have not.
func PlayRelay(t *testing.T, r *Relayed, steps []RelayStep) {
	t.Helper()
	for i, s := range steps {
		var got RelaySeen
		switch {
		case s.Device != "":
			got = r.FromDevice(s.Device)
		case s.Server != "":
			got = r.FromServer(s.Server)
		case s.Text != "":
			got.Device, got.Err = r.Text(protocol.Text{Body: s.Text})
		case s.Replay:
			var w protocol.Ways
			if !r.Relay.Replay(&w) {
				t.Errorf("step %d: no login is known", i)
			}
			got.Server = string(w.Server)
		default:
			got = r.After(s.After)
		}
		if got.Device != s.ToDevice || got.Server != s.ToServer ||
			!slices.Equal(got.Kinds(), s.Kinds) || !errors.Is(got.Err, s.Bad) {
			t.Fatalf("step %d: device %q, server %q, %+v, %v", i, got.Device, got.Server,
				got.Events, got.Err)
		}
		for _, e := range got.Events {
			if e.Passed != (s.Device != "" && got.Server != "") {
				t.Errorf("step %d: %+v", i, e)
			}
		}
		caps := r.Relay.Caps()
		if caps.NotYet != s.Waits || caps.Turn != s.Turn || r.Gone() != s.Gone {
			t.Errorf("step %d: caps %+v, gone %v", i, caps, r.Gone())
		}
	}
}
