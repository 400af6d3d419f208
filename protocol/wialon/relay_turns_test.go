package wialon_test

import (
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
)

func TestRelayTurns(t *testing.T) {
	const half = 15 * time.Second
	theirs := func(name string) string { return "#M#" + name + "\r\n" }
	long := theirs(strings.Repeat("x", 9_000))
	wrong := step{
		Device: "#AM#7\r\n", ToServer: "#AM#7\r\n", Bad: protocol.ErrMalformed,
	}
	for name, c := range map[string]struct {
		settings map[string]string
		options  protocol.RelayOptions
		steps    []step
	}{
		"ours is acknowledged": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Device: "#AM#1\r\n", Kinds: kinds(sawAck)},
			{Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther)},
		}},
		"the server is to know": {options: protocol.RelayOptions{PassAcks: true}, steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Device: "#AM#0\r\n", ToServer: "#AM#0\r\n", Kinds: kinds(sawAck)},
		}},
		"in a container": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{
				Device:   container(t, "#AM#1\r\n"),
				ToServer: container(t, "#AM#1\r\n"), Kinds: kinds(sawAck),
			},
		}},
		"the server's, then ours": {steps: []step{
			{Server: theirs("s"), ToDevice: theirs("s"), Waits: true, Turn: true},
			{Text: "a", Waits: true, Turn: true, Bad: protocol.ErrNotText},
			{Server: theirs("t"), ToDevice: theirs("t"), Waits: true, Turn: true},
			{
				Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther), Waits: true,
				Turn: true,
			},
			{Device: "#AM#0\r\n", ToServer: "#AM#0\r\n", Kinds: kinds(sawOther)},
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Device: "#AM#1\r\n", Kinds: kinds(sawAck)},
		}},
		"ours, then the server's": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Server: theirs("s") + "#ASD#1\r\n", ToDevice: "#ASD#1\r\n", Waits: true, Turn: true},
			{Server: theirs("t"), Waits: true, Turn: true},
			{
				Device: "#AM#1\r\n", Kinds: kinds(sawAck), ToDevice: theirs("s") + theirs("t"),
				Waits: true, Turn: true,
			},
			{
				Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther), Waits: true,
				Turn: true,
			},
			{Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther)},
		}},
		"an answer that is none ends no turn": {steps: []step{
			{Server: theirs("s"), ToDevice: theirs("s"), Waits: true, Turn: true},
			{
				Device: wrong.Device, ToServer: wrong.ToServer, Bad: wrong.Bad, Waits: true,
				Turn: true,
			},
		}},
		"ours is not answered": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{After: half},
			{Server: theirs("s"), Waits: true, Turn: true},
			{After: half - 1, Waits: true, Turn: true},
			{After: 1, ToDevice: theirs("s"), Waits: true, Turn: true},
			{
				Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther), Waits: true,
				Turn: true, Gone: true,
			},
			{
				Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther), Waits: true,
				Turn: true, Gone: true,
			},
		}},
		"ours was late before the server's came": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{After: 2 * half},
			{Server: theirs("s"), ToDevice: theirs("s"), Waits: true, Turn: true},
			{
				Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther), Waits: true,
				Turn: true, Gone: true,
			},
		}},
		"ours alone may be answered late": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{After: time.Hour},
			{Device: "#AM#1\r\n", Kinds: kinds(sawAck)},
		}},
		"more than can be held": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Server: long, Waits: true, Turn: true},
			{Server: theirs("s"), Waits: true, Turn: true},
			{Server: long, ToDevice: long + theirs("s") + long, Waits: true, Turn: true},
			{Server: theirs("t"), ToDevice: theirs("t"), Waits: true, Turn: true},
			{
				Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther), Waits: true,
				Turn: true, Gone: true,
			},
		}},
		"the server's is not answered, ours waits": {steps: []step{
			{Server: theirs("s"), ToDevice: theirs("s"), Waits: true, Turn: true},
			{After: 2*half - 1, Waits: true, Turn: true},
			{After: 1, Waits: true, Turn: true, Gone: true},
			{Text: "a", Waits: true, Turn: true, Gone: true, Bad: protocol.ErrNotText},
			{
				Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther), Waits: true,
				Turn: true, Gone: true,
			},
		}},
		"each of ours has its own wait": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Device: "#AM#1\r\n", Kinds: kinds(sawAck)},
			{After: 2 * half},
			{Text: "b", ToDevice: "#M#b\r\n"},
			{Server: theirs("s"), Waits: true, Turn: true},
			{
				Device: "#AM#1\r\n", Kinds: kinds(sawAck), ToDevice: theirs("s"), Waits: true,
				Turn: true,
			},
		}},
		"ours was written twice": {steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Device: "#AM#1\r\n", Kinds: kinds(sawAck)},
			{Server: theirs("s"), Waits: true, Turn: true},
			{
				Device: "#AM#1\r\n", Kinds: kinds(sawAck), ToDevice: theirs("s"), Waits: true,
				Turn: true,
			},
		}},
		"next_frame, ours was written twice": {
			settings: map[string]string{"ack": "next_frame"}, steps: []step{
				{Text: "a", ToDevice: "#M#a\r\n"},
				{Text: "a", ToDevice: "#M#a\r\n"},
				{Device: "#P#\r\n", ToServer: "#P#\r\n", Kinds: kinds(sawAck, sawPing)},
				{Server: theirs("s"), ToDevice: theirs("s"), Waits: true, Turn: true},
			},
		},
		"next_frame": {settings: map[string]string{"ack": "next_frame"}, steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Server: theirs("s"), Waits: true, Turn: true},
			{
				Device: "#P#\r\n#P#\r\n", ToServer: "#P#\r\n#P#\r\n", Kinds: kinds(sawAck, sawPing, sawPing),
				ToDevice: theirs("s"), Waits: true, Turn: true,
			},
			{Server: theirs("t"), ToDevice: theirs("t"), Waits: true, Turn: true},
			{Device: "#P#\r\n", ToServer: "#P#\r\n", Kinds: kinds(sawPing)},
			{Text: "b", ToDevice: "#M#b\r\n"},
			{Device: "#AM#1\r\n", Kinds: kinds(sawAck)},
			{Text: "c", ToDevice: "#M#c\r\n"},
			{After: 2 * half},
			{Server: theirs("u"), ToDevice: theirs("u"), Waits: true, Turn: true},
			{
				Device: "#P#\r\n", ToServer: "#P#\r\n", Kinds: kinds(sawPing), Waits: true,
				Turn: true, Gone: true,
			},
		}},
		"none": {settings: map[string]string{"ack": "none"}, steps: []step{
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Server: theirs("s"), ToDevice: theirs("s"), Waits: true, Turn: true},
			{Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther)},
			{Server: theirs("t"), ToDevice: theirs("t"), Waits: true, Turn: true},
			{After: 2 * half},
			{Text: "b", ToDevice: "#M#b\r\n"},
			{Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther)},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, relayed(t, c.settings, c.options), append(bound(), c.steps...))
		})
	}
}

// Without a text of ours that waits, the server's may stay unanswered for ever.
func TestRelayEndsNoConnectionForNothing(t *testing.T) {
	r := relayed(t, nil, protocol.RelayOptions{})
	r.FromDevice(login1)
	r.FromServer("#AL#1\r\n#M#s\r\n")
	if r.After(time.Hour); r.Gone() {
		t.Error("it is gone although nothing waits")
	}
	if caps := r.Relay.Caps(); !caps.Turn || !caps.NotYet { // now something does
		t.Errorf("%+v", caps)
	}
	if r.FromDevice("#P#\r\n"); !r.Gone() {
		t.Error("it is not gone although a text waits")
	}
}

// What is held is written when Poll said so.
func TestRelaySaysWhenTheWaitIsOver(t *testing.T) {
	r := relayed(t, nil, protocol.RelayOptions{})
	r.FromDevice(login1)
	r.FromServer("#AL#1\r\n")
	if _, err := r.Text(protocol.Text{Body: "a"}); err != nil {
		t.Fatal(err)
	}
	r.FromServer("#M#s\r\n")
	out, at := r.Relay.Poll(nil, r.Now)
	if want := r.Now.Add(protocol.RelayWait); len(out) != 0 || !at.Equal(want) {
		t.Fatalf("%q, %v instead of %v", out, at, want)
	}
	if out, at = r.Relay.Poll(nil, at); string(out) != "#M#s\r\n" ||
		!at.Equal(r.Now.Add(2*protocol.RelayWait)) {
		t.Errorf("%q, %v", out, at)
	}
}

func TestRelayDriversTexts(t *testing.T) {
	const black = "#B#NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;text:3:fuel\r\n"
	packed := container(t, "#M#hi\r\n")
	chat := protocol.RelayOptions{OnlyChat: true}
	for name, c := range map[string]struct {
		options protocol.RelayOptions
		steps   []step
	}{
		"both": {steps: append(bound(), []step{
			{Device: "#M#hi\r\n", ToServer: "#M#hi\r\n", Kinds: kinds(sawText)},
			{Server: "#AM#1\r\n", ToDevice: "#AM#1\r\n"},
			{Device: black, ToServer: black, Kinds: kinds(sawText, sawPosition)},
		}...)},
		"only chat": {chat, append(bound(), []step{
			{Device: "#M#hi\r\n", ToDevice: "#AM#1\r\n", Kinds: kinds(sawText)},
			{Device: black, ToServer: black, Kinds: kinds(sawText, sawPosition)},
			{Device: packed, ToServer: packed, Kinds: kinds(sawText)},
			{
				Device: "#M#\r\n", ToServer: "#M#\r\n", Kinds: kinds(sawRefused),
				Bad: protocol.ErrMalformed,
			},
		}...)},
		"only chat, but there is none": {chat, []step{
			{Device: "#M#hi\r\n", ToServer: "#M#hi\r\n", Kinds: kinds(sawText), Waits: true},
			{
				Device: imei + "#M#hi\r\n", ToServer: imei + "#M#hi\r\n",
				Kinds: kinds(sawLogin, sawText), Waits: true,
			},
		}},
	} {
		t.Run(name, func(t *testing.T) { play(t, relayed(t, nil, c.options), c.steps) })
	}
}

func TestRelayReplay(t *testing.T) {
	o := protocol.RelayOptions{Replay: true}
	for name, steps := range map[string][]step{
		"accepted": append(bound(), []step{
			{Replay: true, ToServer: login1},
			{Server: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n"},
		}...),
		"refused": append(bound(), []step{
			{Replay: true, ToServer: login1},
			{Server: "#AL#0\r\n", Kinds: kinds(sawDenied), Waits: true},
		}...),
		"twice": append(bound(), []step{
			{Replay: true, ToServer: login1},
			{Replay: true, ToServer: login1},
			{Server: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n"},
		}...),
		"the device logs in meanwhile": append(bound(), []step{
			{Replay: true, ToServer: login1},
			{Device: login1, ToServer: login1, Kinds: kinds(sawLogin)},
			{Server: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
		}...),
		"the device still awaits its answer": {
			{Device: login1, ToServer: login1, Kinds: kinds(sawLogin), Waits: true},
			{Replay: true, ToServer: login1, Waits: true},
			{Server: "#AL#1\r\n", ToDevice: "#AL#1\r\n", Kinds: kinds(sawAdmitted)},
		},
		"messages": append(bound(), []step{
			{Server: "#M#s\r\n", ToDevice: "#M#s\r\n", Waits: true, Turn: true},
			{Replay: true, ToServer: login1, Waits: true, Turn: true},
			{Server: "#AL#1\r\n", Kinds: kinds(sawAdmitted), Waits: true, Turn: true},
			{Device: "#AM#1\r\n", ToServer: "#AM#1\r\n", Kinds: kinds(sawOther)},
			{Text: "a", ToDevice: "#M#a\r\n"},
			{Server: "#M#s\r\n", Waits: true, Turn: true},
			{Replay: true, ToServer: login1},
			{Device: "#AM#1\r\n", Kinds: kinds(sawAck)},
		}...),
		"named": {
			{
				Device: imei + "#M#hi\r\n", ToServer: imei + "#M#hi\r\n",
				Kinds: kinds(sawLogin, sawText), Waits: true,
			},
			{Server: "#AM#1\r\n", ToDevice: "#AM#1\r\n", Kinds: kinds(sawAdmitted)},
			{Replay: true},
			{Text: "a", ToDevice: "#M#a\r\n"},
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, relayed(t, nil, o), steps) })
	}
	for name, o := range map[string]protocol.RelayOptions{
		"a long login": {Replay: true}, "not asked for": {},
	} {
		r := relayed(t, nil, o)
		pad := strings.Repeat("x", map[bool]int{true: protocol.MaxReplay, false: 1}[o.Replay])
		r.FromDevice(imei + "#P#\r\n#L#" + imei + ";" + pad + "\r\n")
		var w protocol.Ways
		if r.Relay.Replay(&w) || len(w.Server) != 0 {
			t.Errorf("%s: %q", name, w.Server)
		}
	}
}
