package galileosky_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/protocoltest"
)

// Kinds of events, in the order of one read.
const (
	sawLogin    = protocol.KindLogin
	sawAdmitted = protocol.KindAdmitted
	sawAck      = protocol.KindAck
	sawPosition = protocol.KindPosition
	sawOther    = protocol.KindOther
	sawPing     = protocol.KindHeartbeat
)

type step = protocoltest.RelayStep

func kinds(k ...protocol.Kind) []protocol.Kind { return k }

// Settings of relays.
var (
	none    = map[string]string{"chat": "none"}
	command = map[string]string{"chat": "command", "delivered_on": "reply"}
)

func relayed(tb testing.TB, settings map[string]string, o protocol.RelayOptions,
) *protocoltest.Relayed {
	tb.Helper()
	return protocoltest.NewRelayed(tb, galileosky.New(), settings, o)
}

// passes is a frame of the device's that the server gets, too.
func passes(frame []byte, k ...protocol.Kind) step {
	return step{Device: string(frame), ToServer: string(frame), Kinds: k}
}

// confirms is the server's confirmation of a frame.
func confirms(frame []byte, k ...protocol.Kind) step {
	c := confirmation(2, frame)
	return step{Server: c, ToDevice: c, Kinds: k}
}

func waits(s step) step {
	s.Waits = true
	return s
}

// bound are the steps of a login that the server accepts.
func bound() []step {
	return []step{waits(passes(headPacket(), sawLogin)), confirms(headPacket(), sawAdmitted)}
}

func bind(tb testing.TB, r *protocoltest.Relayed) {
	tb.Helper()
	r.FromDevice(string(headPacket()))
	if got := r.FromServer(confirmation(2, headPacket())); len(got.Events) != 1 {
		tb.Fatalf("%+v", got)
	}
}

// asText is a command that shows a text.
func asText(n uint32, body string) string {
	return string(packet(1, "\x03"+imei+"\x04\x32\x00"+number(n)+"\xe1"+
		string([]byte{byte(len(body))})+body))
}

func answerTo(n uint32) []byte { return packet(1, number(n)+"\xe1\x02OK") }

func TestRelayLogins(t *testing.T) {
	stranger := packet(1, "\x03350000000000001\x04\x01\x00")
	withRecord := packet(1, "\x03"+imei+"\x04\x32\x00"+position)
	data := packet(1, position)
	damaged := headPacket()
	damaged[8] ^= 1
	refused := step{
		Text: "hello", Waits: true, Bad: protocol.ErrNotText,
	}
	for name, steps := range map[string][]step{
		"confirmed": append(bound(),
			passes(data, sawPosition), confirms(data),
			passes(headPacket(), sawPing), confirms(headPacket()),
		),
		"not confirmed": {
			waits(passes(headPacket(), sawLogin)), waits(passes(headPacket(), sawLogin)), refused,
		},
		"other packets are": {
			waits(passes(data, sawPosition)), waits(passes(headPacket(), sawLogin)),
			waits(confirms(data)), confirms(headPacket(), sawAdmitted),
		},
		"with a record": {
			waits(passes(withRecord, sawLogin, sawPosition)), confirms(withRecord, sawAdmitted),
		},
		"only the newest device counts": {
			waits(passes(headPacket(), sawLogin)), waits(passes(stranger, sawLogin)),
			waits(confirms(headPacket())), confirms(stranger, sawAdmitted),
		},
		"another device": append(bound(),
			waits(passes(stranger, sawLogin)), waits(confirms(headPacket())),
			confirms(stranger, sawAdmitted),
		),
		"damaged": {
			{
				Device: string(damaged), ToServer: string(damaged), Waits: true,
				Bad: protocol.ErrChecksum,
			},
			waits(confirms(damaged)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := relayed(t, command, protocol.RelayOptions{})
			protocoltest.PlayRelay(t, r, steps)
		})
	}
	r := relayed(t, command, protocol.RelayOptions{})
	r.Answer = protocol.UnknownDevice
	protocoltest.PlayRelay(t, r, []step{
		waits(passes(headPacket(), sawLogin)), waits(confirms(headPacket(), sawAdmitted)), refused,
	})
}

func TestRelayCommands(t *testing.T) {
	const ours = 1<<31 | 7
	r := relayed(t, command, protocol.RelayOptions{})
	bind(t, r)
	if caps := r.Relay.Caps(); caps.RefBits != 31 {
		t.Fatalf("references of %d bits", caps.RefBits)
	}
	write := func(ref uint64, want uint32) {
		t.Helper()
		got, err := r.Text(protocol.Text{Ref: ref, Body: "hello"})
		if err != nil || got != asText(want, "hello") {
			t.Fatalf("%x instead of number %x, %v", got, want, err)
		}
	}
	answer := func(n uint32, want ...uint64) {
		t.Helper()
		got := r.FromDevice(string(answerTo(n)))
		var refs []uint64
		for _, e := range got.Events {
			if !e.Passed || e.Kind != sawAck && e.Kind != sawOther {
				t.Fatalf("%+v", e)
			}
			if e.Kind == sawAck {
				refs = append(refs, e.Ref)
			}
		}
		if got.Server != string(answerTo(n)) || got.Device != "" || !slices.Equal(refs, want) {
			t.Fatalf("%x acknowledges %v instead of %v, passes as %x", n, refs, want, got.Server)
		}
	}
	answer(ours) // nothing of ours was written
	write(7, ours)
	write(7, ours)
	answer(7) // is the server's
	answer(ours, 7)
	answer(ours, 7)
	// The server uses the number of one that is at the device.
	write(7, ours)
	if got := r.FromServer(asText(ours, "status")); got.Device != asText(ours, "status") {
		t.Fatalf("%+v", got)
	}
	answer(ours)
	got, err := r.Text(protocol.Text{Ref: 7, Body: "hello"})
	if err != nil || got == asText(ours, "hello") {
		t.Fatalf("the server's number again: %x, %v", got, err)
	}
	at := len(asText(0, "hello")) - 2 - 5 - 2 - 4
	other := uint32(got[at]) | uint32(got[at+1])<<8 | uint32(got[at+2])<<16 | uint32(got[at+3])<<24
	answer(ours)
	answer(other, 7)
	write(7, other)
	if other>>31 == 0 {
		t.Errorf("%x is among the server's numbers", other)
	}
	// A text whose own number that would be gets another one.
	if got, err := r.Text(protocol.Text{Ref: uint64(other &^ (1 << 31)), Body: "hello"}); err !=
		nil || got == asText(other, "hello") {
		t.Errorf("two texts have one number: %x, %v", got, err)
	}
	// After another device's login, nothing is ours.
	r.FromDevice(string(packet(1, "\x03350000000000001\x04\x01\x00")))
	answer(other)
}

// Numbers are kept of the newest commands only.
func TestRelayForgetsOldCommands(t *testing.T) {
	r := relayed(t, command, protocol.RelayOptions{})
	bind(t, r)
	for i := range uint64(40) {
		ref := min(i, 16) // the last one again and again
		if _, err := r.Text(protocol.Text{Ref: ref, Body: "hello"}); err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[uint32]protocol.Kind{0: sawOther, 1: sawAck, 16: sawAck} {
		if got := r.FromDevice(string(answerTo(1<<31 | ref))); got.Events[0].Kind != want {
			t.Errorf("%d: %+v", ref, got.Events)
		}
	}
}

// The setting says that nothing counts as delivered.
func TestRelaySilentCommands(t *testing.T) {
	r := relayed(t, map[string]string{"chat": "command"}, protocol.RelayOptions{})
	bind(t, r)
	if got, err := r.Text(protocol.Text{Ref: 7, Body: "hello"}); err != nil ||
		got != asText(1<<31|7, "hello") {
		t.Errorf("%x, %v", got, err)
	}
	if got := r.FromDevice(string(answerTo(1<<31 | 7))); got.Events[0].Kind != sawOther {
		t.Errorf("%+v", got.Events)
	}
}

func TestRelayReplay(t *testing.T) {
	again := step{Replay: true, ToServer: string(headPacket())}
	swallowed := step{Server: confirmation(2, headPacket()), Kinds: kinds(sawAdmitted)}
	withRecord := packet(1, "\x03"+imei+"\x04\x32\x00"+position)
	stranger := packet(1, "\x03350000000000001"+position)
	for name, steps := range map[string][]step{
		"confirmed": append(bound(), again, swallowed, confirms(headPacket())),
		"twice":     append(bound(), again, again, swallowed, confirms(headPacket())),
		"the device still waits": {
			waits(passes(headPacket(), sawLogin)), waits(again),
			confirms(headPacket(), sawAdmitted),
		},
		"the device waits for another": {
			waits(passes(headPacket(), sawLogin)),
			waits(passes(withRecord, sawLogin, sawPosition)), waits(again), swallowed,
		},
		"another device": append(bound(), waits(passes(stranger, sawLogin, sawPosition)),
			waits(step{Replay: true, ToServer: string(stranger)})),
		"other confirmations pass": append(bound(), again, confirms(withRecord),
			swallowed),
		"what says nothing else is better": {
			waits(passes(withRecord, sawLogin, sawPosition)),
			waits(passes(headPacket(), sawLogin)), confirms(headPacket(), sawAdmitted),
			passes(withRecord, sawPosition), again, swallowed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := relayed(t, command, protocol.RelayOptions{Replay: true})
			protocoltest.PlayRelay(t, r, steps)
		})
	}
	long := packet(1, "\x03"+imei+strings.Repeat(position, 110))
	for name, c := range map[string]struct {
		options protocol.RelayOptions
		frame   []byte
	}{
		"too long":      {protocol.RelayOptions{Replay: true}, long},
		"not asked for": {protocol.RelayOptions{}, headPacket()},
	} {
		r := relayed(t, command, c.options)
		r.FromDevice(string(c.frame))
		var w protocol.Ways
		if r.Relay.Replay(&w) || len(w.Server) != 0 {
			t.Errorf("%s: %x", name, w.Server)
		}
	}
}

func TestRelayFramesOfTheServer(t *testing.T) {
	r := relayed(t, nil, protocol.RelayOptions{})
	for stream, want := range map[string]struct {
		n   int
		err error
	}{
		"\x02\x01\x02\x02":                {3, nil},
		"\x07\x01\x02":                    {3, nil},
		"\x02\x01":                        {0, nil},
		"\x07":                            {0, nil},
		"":                                {0, nil},
		string(packet(1, "abc")) + "\x02": {8, nil},
		string(packet(6, "")):             {5, nil},
		"\x01\x03":                        {0, nil},
		"\x06\x01\x00abc"[:5]:             {0, nil},
		"\x08\x00\x00\x00\x00":            {0, protocol.ErrFraming},
		"HTTP":                            {0, protocol.ErrFraming},
	} {
		n, next, err := r.Relay.CutDown([]byte(stream), 0)
		if n != want.n || next != 0 || !errors.Is(err, want.err) {
			t.Errorf("%x: %d, %d, %v", stream, n, next, err)
		}
	}
}

func TestRelayPassesAllFrames(t *testing.T) {
	photo, packed := packet(7, "photo"), packet(8, "packed")
	for _, settings := range []map[string]string{none, command, nil} {
		t.Run(fmt.Sprint(settings), func(t *testing.T) {
			protocoltest.RelayPasses(t, func() *protocoltest.Relayed {
				r := relayed(t, settings, protocol.RelayOptions{})
				if settings != nil { // FMI is ours then
					bind(t, r)
				}
				return r
			}, vectors(t))
		})
	}
	protocoltest.PlayRelay(t, relayed(t, none, protocol.RelayOptions{}), []step{
		passes(headPacket(), sawLogin), confirms(headPacket(), sawAdmitted),
		passes(photo, sawOther),
		{Server: confirmation(7, photo), ToDevice: confirmation(7, photo)},
		passes(packed, sawOther),
		{Server: confirmation(2, packed), ToDevice: confirmation(2, packed)},
	})
}

func FuzzRelay(f *testing.F) {
	protocoltest.FuzzRelay(f, vectors(f), func(tb testing.TB) *protocoltest.Relayed {
		tb.Helper()
		return relayed(tb, command, protocol.RelayOptions{Replay: true})
	}, bind, func(tb testing.TB) *protocoltest.Relayed {
		tb.Helper()
		return withNavigator(tb).Relayed
	})
}

func TestIdleRelayIsSmall(t *testing.T) {
	p := galileosky.New()
	settings := protocoltest.NewSettings(t, p, command)
	protocoltest.IdleRelay(t, func() protocol.Relay {
		r := p.NewRelay(settings, protocol.RelayOptions{Replay: true})
		var w protocol.Ways
		if r.Up(&w, headPacket(), time.Time{}, func(*protocol.Event) {}) != nil ||
			r.Down(&w, []byte(confirmation(2, headPacket())), time.Time{},
				func(*protocol.Event) {}) != nil {
			t.Fatal("refused")
		}
		return r
	}, 250)
}
