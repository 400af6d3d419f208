package egts_test

import (
	"strings"
	"testing"

	"trackchat/protocol"
)

// A terminal that names itself only by its OID is bound by the server's word about that packet, or
// about one after it.
func TestRelayOfALenientTerminal(t *testing.T) {
	denied := append(le16(1, 0), platform(1, 2, sub{0, string(le16(1, 153))})...)
	for name, c := range map[string]struct {
		down []byte
		want string
	}{
		"accepted":           {accepts(1, 1, 1, 2), "admitted"},
		"a later one":        {accepts(1, 2, 2, 2), "admitted"},
		"processed before":   {frame(0, 1, le16(1, 135)), "admitted"},
		"in progress":        {frame(0, 1, le16(1, 1)), ""},
		"damaged on the way": {frame(0, 1, le16(1, 138)), ""},
		"another packet":     {accepts(1, 3, 1, 2), ""},
		"refused":            {frame(0, 1, le16(1, 151)), "denied"},
		"an unknown object":  {frame(0, 1, denied), "denied"},
	} {
		l := newLink(t, map[string]string{"lenient": "true"}, protocol.RelayOptions{Replay: true})
		if got := l.up(position(1, 1), position(2, 2)); got != "login 4711, positions 1, positions 1" {
			t.Errorf("%s: %s", name, got)
		}
		if got := l.down(c.down); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
		l.got(name, c.down, join(position(1, 1), position(2, 2)))
		want := "positions 1"
		if c.want == "denied" { // and is asked anew
			want = "login 4711, positions 1"
		}
		if got := l.up(position(4, 4)); got != want {
			t.Errorf("%s, next: %s", name, got)
		}
		l.w.Server = nil
		if !l.Replay(&l.w) || len(l.w.Server) != 0 {
			t.Errorf("%s: sent %x again", name, l.w.Server)
		}
		if got := l.up(position(5, 5)) + ", " + l.down(accepts(2, 5, 5, 2)); !strings.HasSuffix(got,
			"positions 1, admitted") {
			t.Errorf("%s, on the new connection: %s", name, got)
		}
	}
	// one that authenticates is not named by its OID meanwhile
	l := newLink(t, map[string]string{"lenient": "true"}, protocol.RelayOptions{})
	if got := l.up(terminal(1024), position(2, 2)); got != "login 4711, positions 1" {
		t.Error(got)
	}
}

func TestRelayReplays(t *testing.T) {
	o := protocol.RelayOptions{Replay: true}
	l := admitted(t, nil, o)
	l.write(100, "one")
	if !l.Replay(&l.w) {
		t.Fatal("the login is not known")
	}
	l.got("the login", nil, terminal(1024))
	for _, s := range []struct {
		name           string
		in             []byte
		device, server []byte
		events         string
	}{
		{"another answer", accepts(1, 2, 1, 1), accepts(1, 2, 1, 1), nil, ""},
		{"its RESPONSE", accepts(2, 1, 1, 1), nil, nil, ""},
		{"in progress", resultCode(3, 3, 1), nil, standIn(0x8001, 3, 3), ""},
		{"verdict", resultCode(4, 5, 0), nil, standIn(0x8001, 4, 5), "!admitted"},
		{"a later one", resultCode(5, 6, 0), resultCode(5, 6, 0), nil, ""},
		{"a RESPONSE with its number", accepts(6, 1, 1, 1), accepts(6, 1, 1, 1), nil, ""},
	} {
		if got := l.down(s.in); got != s.events {
			t.Errorf("%s: %s", s.name, got)
		}
		l.got(s.name, s.device, s.server)
	}
	if got := l.up(deliv(9, 9, 100)); got != "ack 100 delivered" {
		t.Errorf("the text of before: %s", got)
	}
}

// The new server refuses, or it is the terminal that has to know what it says.
func TestRelayReplaysWhatIsTheTerminals(t *testing.T) {
	o := protocol.RelayOptions{Replay: true}
	l := admitted(t, nil, o)
	l.Replay(&l.w)
	l.w = protocol.Ways{}
	if got := l.down(resultCode(4, 5, 151)); got != "!denied" {
		t.Error(got)
	}
	l.got("refused", nil, standIn(0x8000, 4, 5))
	// a terminal that has no verdict yet gets it
	l = newLink(t, nil, o)
	l.up(terminal(1024))
	l.Replay(&l.w)
	l.w = protocol.Ways{}
	if got := l.down(accepts(2, 1, 1, 1), resultCode(4, 5, 0)); got != "admitted" {
		t.Error(got)
	}
	l.got("first verdict", join(accepts(2, 1, 1, 1), resultCode(4, 5, 0)), nil)
	// what comes with the verdict, or is asked for before it, is the terminal's
	for name, in := range map[string][]byte{
		"with a command": frame(1, 4, append(platform(5, 1, sub{9, "\x00"}),
			platform(6, 4, command(5, 0, 7, 0, "\x00"))...)),
		"parameters":    join(frame(1, 4, platform(5, 1, sub{6, "\x00"}))),
		"login by then": nil,
	} {
		l = admitted(t, nil, o)
		l.Replay(&l.w)
		l.w = protocol.Ways{}
		if in == nil {
			l.up(terminal(512))
			l.w = protocol.Ways{}
			in = resultCode(5, 6, 0)
		}
		l.down(in)
		l.got(name, in, nil)
		l.down(resultCode(7, 8, 0))
		l.got(name, resultCode(7, 8, 0), nil)
	}
}

// What is not known, or not kept, is not sent again.
func TestRelayReplaysOnlyWhatItKeeps(t *testing.T) {
	o := protocol.RelayOptions{Replay: true}
	for name, l := range map[string]*link{
		"no login":  newLink(t, nil, o),
		"not asked": admitted(t, nil, protocol.RelayOptions{}),
	} {
		if l.Replay(&l.w) || len(l.w.Server) != 0 {
			t.Errorf("%s: sent %x again", name, l.w.Server)
		}
	}
	l := newLink(t, nil, o)
	l.up(frame(1, 1, append(rec(1, 1, sub{1, "\x67\x12\x00\x00\x00"}),
		rec(2, 2, sub{20, strings.Repeat("x", protocol.MaxReplay)})...)))
	if l.Replay(&l.w) {
		t.Error("too long a login is sent again")
	}
}

// standIn is the RESPONSE in place of the terminal's to RESULT_CODE. Its numbers are those of the
// next packet of ours.
func standIn(own, answered, rn uint16) []byte {
	return frame(0, own, append(le16(answered, 0), rec(own, 1, sub{0, string(le16(rn, 0))})...))
}

// Before the server has let the terminal in, and where the directory does not, nothing is said to
// it.
func TestRelayIsSilentUntilItIsBound(t *testing.T) {
	said := frame(1, 8, rec(6, 4, command(3, 0, 55, 9, "\x00hi")))
	silent := func(l *link, when string) {
		t.Helper()
		l.w, l.result = protocol.Ways{}, protocol.OK
		if got := l.up(said); got != "text hi" {
			t.Errorf("%s: %s", when, got)
		}
		l.got(when, nil, said)
	}
	l := newLink(t, nil, protocol.RelayOptions{})
	l.up(terminal(1024))
	silent(l, "no verdict")
	l.result = protocol.UnknownDevice
	l.down(resultCode(4, 4, 0))
	silent(l, "not in the directory")
	l = admitted(t, nil, protocol.RelayOptions{})
	l.up(terminal(1024))
	l.down(resultCode(4, 4, 153))
	silent(l, "refused afterwards")
}
