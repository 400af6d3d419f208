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
		device: "#AM#7\r\n", toServer: "#AM#7\r\n", bad: protocol.ErrMalformed,
	}
	for name, c := range map[string]struct {
		settings map[string]string
		options  protocol.RelayOptions
		steps    []step
	}{
		"ours is acknowledged": {steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{device: "#AM#1\r\n", kinds: kinds(sawAck)},
			{device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther)},
		}},
		"the server is to know": {options: protocol.RelayOptions{PassAcks: true}, steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{device: "#AM#0\r\n", toServer: "#AM#0\r\n", kinds: kinds(sawAck)},
		}},
		"in a container": {steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{
				device:   container(t, "#AM#1\r\n"),
				toServer: container(t, "#AM#1\r\n"), kinds: kinds(sawAck),
			},
		}},
		"the server's, then ours": {steps: []step{
			{server: theirs("s"), toDevice: theirs("s"), waits: true, turn: true},
			{text: "a", waits: true, turn: true, bad: protocol.ErrNotText},
			{server: theirs("t"), toDevice: theirs("t"), waits: true, turn: true},
			{
				device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther), waits: true,
				turn: true,
			},
			{device: "#AM#0\r\n", toServer: "#AM#0\r\n", kinds: kinds(sawOther)},
			{text: "a", toDevice: "#M#a\r\n"},
			{device: "#AM#1\r\n", kinds: kinds(sawAck)},
		}},
		"ours, then the server's": {steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{server: theirs("s") + "#ASD#1\r\n", toDevice: "#ASD#1\r\n", waits: true, turn: true},
			{server: theirs("t"), waits: true, turn: true},
			{
				device: "#AM#1\r\n", kinds: kinds(sawAck), toDevice: theirs("s") + theirs("t"),
				waits: true, turn: true,
			},
			{
				device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther), waits: true,
				turn: true,
			},
			{device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther)},
		}},
		"an answer that is none ends no turn": {steps: []step{
			{server: theirs("s"), toDevice: theirs("s"), waits: true, turn: true},
			{
				device: wrong.device, toServer: wrong.toServer, bad: wrong.bad, waits: true,
				turn: true,
			},
		}},
		"ours is not answered": {steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{after: half},
			{server: theirs("s"), waits: true, turn: true},
			{after: half - 1, waits: true, turn: true},
			{after: 1, toDevice: theirs("s"), waits: true, turn: true},
			{
				device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther), waits: true,
				turn: true, gone: true,
			},
			{
				device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther), waits: true,
				turn: true, gone: true,
			},
		}},
		"ours was late before the server's came": {steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{after: 2 * half},
			{server: theirs("s"), toDevice: theirs("s"), waits: true, turn: true},
			{
				device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther), waits: true,
				turn: true, gone: true,
			},
		}},
		"ours alone may be answered late": {steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{after: time.Hour},
			{device: "#AM#1\r\n", kinds: kinds(sawAck)},
		}},
		"more than can be held": {steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{server: long, waits: true, turn: true},
			{server: theirs("s"), waits: true, turn: true},
			{server: long, toDevice: long + theirs("s") + long, waits: true, turn: true},
			{
				device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther), waits: true,
				turn: true, gone: true,
			},
		}},
		"the server's is not answered, ours waits": {steps: []step{
			{server: theirs("s"), toDevice: theirs("s"), waits: true, turn: true},
			{after: 2*half - 1, waits: true, turn: true},
			{after: 1, waits: true, turn: true, gone: true},
			{text: "a", waits: true, turn: true, gone: true, bad: protocol.ErrNotText},
		}},
		"next_frame": {settings: map[string]string{"ack": "next_frame"}, steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{server: theirs("s"), waits: true, turn: true},
			{
				device: "#P#\r\n#P#\r\n", toServer: "#P#\r\n#P#\r\n", kinds: kinds(sawAck, sawPing, sawPing),
				toDevice: theirs("s"), waits: true, turn: true,
			},
			{server: theirs("t"), toDevice: theirs("t"), waits: true, turn: true},
			{device: "#P#\r\n", toServer: "#P#\r\n", kinds: kinds(sawPing)},
			{text: "b", toDevice: "#M#b\r\n"},
			{device: "#AM#1\r\n", kinds: kinds(sawAck)},
			{text: "c", toDevice: "#M#c\r\n"},
			{after: 2 * half},
			{server: theirs("u"), toDevice: theirs("u"), waits: true, turn: true},
			{
				device: "#P#\r\n", toServer: "#P#\r\n", kinds: kinds(sawPing), waits: true,
				turn: true, gone: true,
			},
		}},
		"none": {settings: map[string]string{"ack": "none"}, steps: []step{
			{text: "a", toDevice: "#M#a\r\n"},
			{server: theirs("s"), toDevice: theirs("s"), waits: true, turn: true},
			{device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther)},
			{server: theirs("t"), toDevice: theirs("t"), waits: true, turn: true},
			{after: 2 * half},
			{text: "b", toDevice: "#M#b\r\n"},
			{device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther)},
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
			{device: "#M#hi\r\n", toServer: "#M#hi\r\n", kinds: kinds(sawText)},
			{server: "#AM#1\r\n", toDevice: "#AM#1\r\n"},
			{device: black, toServer: black, kinds: kinds(sawText, sawPosition)},
		}...)},
		"only chat": {chat, append(bound(), []step{
			{device: "#M#hi\r\n", toDevice: "#AM#1\r\n", kinds: kinds(sawText)},
			{device: black, toServer: black, kinds: kinds(sawText, sawPosition)},
			{device: packed, toServer: packed, kinds: kinds(sawText)},
			{
				device: "#M#\r\n", toServer: "#M#\r\n", kinds: kinds(sawRefused),
				bad: protocol.ErrMalformed,
			},
		}...)},
		"only chat, but there is none": {chat, []step{
			{device: "#M#hi\r\n", toServer: "#M#hi\r\n", kinds: kinds(sawText), waits: true},
			{
				device: imei + "#M#hi\r\n", toServer: imei + "#M#hi\r\n",
				kinds: kinds(sawLogin, sawText), waits: true,
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
			{replay: true, toServer: login1},
			{server: "#AL#1\r\n", kinds: kinds(sawAdmitted)},
			{server: "#AL#1\r\n", toDevice: "#AL#1\r\n"},
		}...),
		"refused": append(bound(), []step{
			{replay: true, toServer: login1},
			{server: "#AL#0\r\n", kinds: kinds(sawDenied), waits: true},
		}...),
		"twice": append(bound(), []step{
			{replay: true, toServer: login1},
			{replay: true, toServer: login1},
			{server: "#AL#1\r\n", kinds: kinds(sawAdmitted)},
			{server: "#AL#1\r\n", toDevice: "#AL#1\r\n"},
		}...),
		"the device logs in meanwhile": append(bound(), []step{
			{replay: true, toServer: login1},
			{device: login1, toServer: login1, kinds: kinds(sawLogin)},
			{server: "#AL#1\r\n", kinds: kinds(sawAdmitted)},
			{server: "#AL#1\r\n", toDevice: "#AL#1\r\n", kinds: kinds(sawAdmitted)},
		}...),
		"the device still awaits its answer": {
			{device: login1, toServer: login1, kinds: kinds(sawLogin), waits: true},
			{replay: true, toServer: login1, waits: true},
			{server: "#AL#1\r\n", toDevice: "#AL#1\r\n", kinds: kinds(sawAdmitted)},
		},
		"messages": append(bound(), []step{
			{server: "#M#s\r\n", toDevice: "#M#s\r\n", waits: true, turn: true},
			{replay: true, toServer: login1, waits: true, turn: true},
			{server: "#AL#1\r\n", kinds: kinds(sawAdmitted), waits: true, turn: true},
			{device: "#AM#1\r\n", toServer: "#AM#1\r\n", kinds: kinds(sawOther)},
			{text: "a", toDevice: "#M#a\r\n"},
			{server: "#M#s\r\n", waits: true, turn: true},
			{replay: true, toServer: login1},
			{device: "#AM#1\r\n", kinds: kinds(sawAck)},
		}...),
		"named": {
			{
				device: imei + "#M#hi\r\n", toServer: imei + "#M#hi\r\n",
				kinds: kinds(sawLogin, sawText), waits: true,
			},
			{server: "#AM#1\r\n", toDevice: "#AM#1\r\n", kinds: kinds(sawAdmitted)},
			{replay: true},
			{text: "a", toDevice: "#M#a\r\n"},
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, relayed(t, nil, o), steps) })
	}
	for name, o := range map[string]protocol.RelayOptions{
		"a long login": {Replay: true}, "not asked for": {},
	} {
		r := relayed(t, nil, o)
		pad := strings.Repeat("x", map[bool]int{true: protocol.MaxReplay, false: 1}[o.Replay])
		r.FromDevice("#L#" + imei + ";" + pad + "\r\n")
		var w protocol.Ways
		if r.Relay.Replay(&w) || len(w.Server) != 0 {
			t.Errorf("%s: %q", name, w.Server)
		}
	}
}
