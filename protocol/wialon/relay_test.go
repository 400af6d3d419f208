package wialon_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/wialon"
)

// Kinds of events, in the order of one read.
const (
	sawLogin    = protocol.KindLogin
	sawAdmitted = protocol.KindAdmitted
	sawDenied   = protocol.KindDenied
	sawAck      = protocol.KindAck
	sawText     = protocol.KindText
	sawPosition = protocol.KindPosition
	sawOther    = protocol.KindOther
	sawPing     = protocol.KindHeartbeat
	sawRefused  = protocol.KindRefused
)

type step = protocoltest.RelayStep

func relayed(tb testing.TB, settings map[string]string, o protocol.RelayOptions,
) *protocoltest.Relayed {
	tb.Helper()
	return protocoltest.NewRelayed(tb, wialon.New(), settings, o)
}

func play(t *testing.T, r *protocoltest.Relayed, steps []step) {
	t.Helper()
	protocoltest.PlayRelay(t, r, steps)
}

const login1 = "#L#" + imei + ";NA\r\n"

// bound are the steps of a login that the server accepts.
func bound() []step {
	return []step{
		{Device: login1, ToServer: login1, Kinds: []protocol.Kind{sawLogin}, Waits: true},
		{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: []protocol.Kind{sawAdmitted}},
	}
}

func kinds(k ...protocol.Kind) []protocol.Kind { return k }

func TestRelayLogins(t *testing.T) {
	login2 := line2("L", "2.0;"+imei+";NA")
	otherLogin := "#L#4711;secret\r\n"
	packed := container(t, login2)
	const short = ";5512.3456;N;03734.5678;E;89;42;150;16\r\n"
	named := imei + "#SD#240126;135321" + short
	for name, steps := range map[string][]step{
		"version 2.0": {
			{Device: login2, ToServer: login2, Kinds: kinds(sawLogin), Waits: true},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
			{Text: "hello", ToDevice: line2("M", "hello")},
		},
		"in a container": {
			{Device: packed, ToServer: packed, Kinds: kinds(sawLogin), Waits: true},
			{Server: "#AL#1\n", ToDevice: "#AL#1\n", Kinds: kinds(sawAdmitted)},
			{Text: "hello", ToDevice: line2("M", "hello")},
		},
		"refused": {
			{Device: login1, ToServer: login1, Kinds: kinds(sawLogin), Waits: true},
			{Server: "#AL#01\r\n", ToDevice: "#AL#01\r\n", Kinds: kinds(sawDenied), Waits: true},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Waits: true}, // to nothing
			{Text: "hello", Waits: true, Bad: protocol.ErrNotText},
		},
		"refused after it was bound": append(bound(),
			step{Device: login1, ToServer: login1, Kinds: kinds(sawLogin)},
			step{Server: "#AL#0\r\n", ToDevice: "#AL#0\r\n", Kinds: kinds(sawDenied), Waits: true},
		),
		"only the newest of several devices counts": {
			{
				Device: login1 + otherLogin, ToServer: login1 + otherLogin,
				Kinds: kinds(sawLogin, sawLogin), Waits: true,
			},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Waits: true},
			{Server: "#AL#01\r\n", ToDevice: "#AL#01\r\n", Kinds: kinds(sawDenied), Waits: true},
		},
		"only the newest of several devices counts, copies or not": {
			{
				Device:   login1 + otherLogin + otherLogin,
				ToServer: login1 + otherLogin + otherLogin,
				Kinds:    kinds(sawLogin, sawLogin, sawLogin), Waits: true,
			},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Waits: true},
		},
		"a refused one names itself": {
			{Device: login1, ToServer: login1, Kinds: kinds(sawLogin), Waits: true},
			{Server: "#AL#0\r\n", ToDevice: "#AL#0\r\n", Kinds: kinds(sawDenied), Waits: true},
			{Device: named, ToServer: named, Kinds: kinds(sawLogin, sawPosition), Waits: true},
		},
		"a copy of an unanswered login": {
			{
				Device: login1 + login1, ToServer: login1 + login1,
				Kinds: kinds(sawLogin, sawLogin), Waits: true,
			},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
		},
		"another device than the bound one": append(bound(),
			step{Device: otherLogin, ToServer: otherLogin, Kinds: kinds(sawLogin), Waits: true},
			step{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
		),
		"a login that only the server can read": {
			{
				Device: "#L#1;2;3\r\n", ToServer: "#L#1;2;3\r\n", Kinds: kinds(sawRefused),
				Waits: true, Bad: protocol.ErrMalformed,
			},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Waits: true},
		},
		"named in front of its packets": {
			{
				Device: imei + "#P#\r\n", ToServer: imei + "#P#\r\n", Kinds: kinds(sawLogin, sawPing),
				Waits: true,
			},
			{Server: "#AP#\r\n", ToDevice: "#AP#\r\n", Waits: true}, // strangers get that as well
			{Device: named, ToServer: named, Kinds: kinds(sawPosition), Waits: true},
			{Server: "#ASD#-1\r\n", ToDevice: "#ASD#-1\r\n", Waits: true},
			{Device: named, ToServer: named, Kinds: kinds(sawPosition), Waits: true},
			{Server: "#ASD#1\r\n", ToDevice: "#ASD#1\r\n", Kinds: kinds(sawAdmitted)},
			{Server: "#ASD#1\r\n", ToDevice: "#ASD#1\r\n"},
			{Text: "hello", ToDevice: "#M#hello\r\n"},
		},
		"named, several devices": {
			{Device: named, ToServer: named, Kinds: kinds(sawLogin, sawPosition), Waits: true},
			{
				Device: "4711#M#hi\r\n", ToServer: "4711#M#hi\r\n", Kinds: kinds(sawRefused),
				Waits: true, Bad: protocol.ErrMalformed,
			},
			{Server: "#AM#1\r\n", ToDevice: "#AM#1\r\n", Waits: true},
		},
		"named, then logged in": {
			{Device: named, ToServer: named, Kinds: kinds(sawLogin, sawPosition), Waits: true},
			{Device: login1, ToServer: login1, Kinds: kinds(sawLogin), Waits: true},
			{Server: "#ASD#1\r\n", ToDevice: "#ASD#1\r\n", Waits: true},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, relayed(t, nil, protocol.RelayOptions{}), steps)
		})
	}
	r := relayed(t, nil, protocol.RelayOptions{})
	r.Answer = protocol.UnknownDevice
	play(t, r, []step{
		{Device: login1, ToServer: login1, Kinds: kinds(sawLogin), Waits: true},
		{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: kinds(sawAdmitted), Waits: true},
	})
}

// Every answer that takes a packet binds a device that names itself in front of it.
func TestRelayIsBoundByWhatTheServerTakes(t *testing.T) {
	for answer, want := range map[string]bool{
		"#AD#1": true, "#AB#3": true, "#AB#0": false, "#AB#": false, "#AM#1": true, "#AM#0": false,
		"#AI#4;1": true, "#AI#1": true, "#AI#NA;0": false, "#AT#2;1": true, "#AIT#1": true,
		"#AIT#0": false, "#ASD#10": false, "#AD#16": false, "#AL#1": false,
	} {
		r := relayed(t, nil, protocol.RelayOptions{})
		r.FromDevice(imei + "#M#hi\r\n")
		if got := r.FromServer(answer + "\r\n"); slices.Contains(got.Kinds(), sawAdmitted) != want {
			t.Errorf("%s: %+v", answer, got.Events)
		}
	}
}

func TestRelayFramesOfTheServer(t *testing.T) {
	r := relayed(t, nil, protocol.RelayOptions{})
	for stream, want := range map[string]struct {
		frames []int
		err    error
	}{
		"#AL#1\r\n#AP#\n\r\nx\n":                {[]int{7, 5, 2, 2}, nil},
		"#US#5;1A2B\r\nab\ncd#AP#\r\n":          {[]int{17, 6}, nil},
		"#UC#3;1A2B\r\n#A##AP#\r\n":             {[]int{15, 6}, nil},
		"#LV#3;1\r\n#AP#\r\n":                   {[]int{9, 6}, nil},
		"#US#no\r\n#AP#\r\n":                    {[]int{8, 6}, nil},
		"#US#5\r\nabcd":                         {nil, nil},
		"#AP#":                                  {nil, nil},
		"#US#65527;1\r\n":                       {nil, protocol.ErrFraming},
		"#US#99999999999999999999\r\n":          {nil, protocol.ErrFraming},
		strings.Repeat("x", 1<<16):              {nil, protocol.ErrFraming},
		strings.Repeat("x", 1<<16-1) + "\n":     {[]int{1 << 16}, nil},
		container(t, "#AP#\r\n") + "#AP#\r\n":   {[]int{len(container(t, "#AP#\r\n")), 6}, nil},
		"\xff\x02\x00\x78\x9c\n#AL#1\r\n\xff\n": {[]int{6, 7}, nil},
	} {
		for _, piece := range []int{1, 1 << 20} {
			frames, err := cutDown(r.Relay, []byte(stream), piece)
			if !slices.Equal(frames, want.frames) || !errors.Is(err, want.err) {
				t.Errorf("%.40q: %v, %v", stream, frames, err)
			}
		}
	}
}

// cutDown cuts a stream that comes in pieces.
func cutDown(r protocol.Relay, stream []byte, piece int) (frames []int, err error) {
	from, scanned := 0, 0
	for to := min(piece, len(stream)); ; to = min(to+piece, len(stream)) {
		for from < to {
			n, next, err := r.CutDown(stream[from:to], scanned)
			if err != nil {
				return frames, err
			}
			if scanned = next; n == 0 {
				break
			}
			frames, from, scanned = append(frames, n), from+n, 0
		}
		if to == len(stream) {
			return frames, nil
		}
	}
}

func TestRelayPassesWhatItCannotRead(t *testing.T) {
	play(t, relayed(t, nil, protocol.RelayOptions{}), append(bound(), []step{
		{Device: "garbage\r\n", ToServer: "garbage\r\n", Bad: protocol.ErrGarbage},
		{Device: "\r\n", ToServer: "\r\n"},
		{
			Device: "\xff\x04\x00\x78\x9c12", ToServer: "\xff\x04\x00\x78\x9c12",
			Bad: protocol.ErrMalformed,
		},
		{Device: "#XY#1\r\n", ToServer: "#XY#1\r\n", Kinds: kinds(protocol.KindUnknown)},
		{Server: "garbage\r\n", ToDevice: "garbage\r\n"},
		{
			Server: "\xff\x04\x00\x78\x9c12", ToDevice: "\xff\x04\x00\x78\x9c12",
			Bad: protocol.ErrMalformed,
		},
		{
			Server: container(t, "#M#s\r\n"), ToDevice: container(t, "#M#s\r\n"), Waits: true,
			Turn: true,
		},
	}...))
}

func TestRelayPassesAllFrames(t *testing.T) {
	for name, o := range map[string]protocol.RelayOptions{
		"unbound": {}, "bound": {}, "acks": {PassAcks: true},
	} {
		t.Run(name, func(t *testing.T) {
			protocoltest.RelayPasses(t, func() *protocoltest.Relayed {
				r := relayed(t, nil, o)
				if name != "unbound" {
					bind(t, r)
				}
				return r
			}, vectors(t))
		})
	}
}

func bind(tb testing.TB, r *protocoltest.Relayed) {
	tb.Helper()
	r.FromDevice(login1)
	if r.FromServer("#AL#1\r\n"); r.Relay.Caps().NotYet {
		tb.Fatal("the login was not accepted")
	}
}

func FuzzRelay(f *testing.F) {
	protocoltest.FuzzRelay(f, vectors(f), func(tb testing.TB) *protocoltest.Relayed {
		tb.Helper()
		return relayed(tb, nil, protocol.RelayOptions{Replay: true})
	}, bind)
}

func TestRelayDoesNotAllocate(t *testing.T) {
	r := relayed(t, nil, protocol.RelayOptions{})
	bind(t, r)
	up := []byte("#SD#240126;135321;5512.3456;N;03734.5678;E;89;42;150;16\r\n")
	down := []byte("#ASD#1\r\n")
	w := protocol.Ways{Device: make([]byte, 0, 1024), Server: make([]byte, 0, 1024)}
	emit := func(*protocol.Event) {}
	if n := testing.AllocsPerRun(100, func() {
		w.Device, w.Server = w.Device[:0], w.Server[:0]
		if r.Relay.Up(&w, up, r.Now, emit) != nil || r.Relay.Down(&w, down, r.Now, emit) != nil {
			t.Fatal("refused")
		}
		w.Device, _ = r.Relay.Poll(w.Device, r.Now)
	}); n > 0 {
		t.Errorf("%v allocations for each position", n)
	}
}

func TestIdleRelayIsSmall(t *testing.T) {
	p := wialon.New()
	settings := protocoltest.NewSettings(t, p, nil)
	protocoltest.IdleRelay(t, func() protocol.Relay {
		r := p.NewRelay(settings, protocol.RelayOptions{Replay: true})
		var w protocol.Ways
		if r.Up(&w, []byte(login1), time.Time{}, func(*protocol.Event) {}) != nil ||
			r.Down(&w, []byte("#AL#1\r\n"), time.Time{}, func(*protocol.Event) {}) != nil {
			t.Fatal("refused")
		}
		return r
	}, 250)
}
