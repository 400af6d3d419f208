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
	for ref := range uint64(17) {
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

// side is a device with a navigator behind a relay; its server confirms all packets.
type side struct {
	*protocoltest.Relayed
	device *protocoltest.DeviceStream
	events []protocol.Event
	seen   []protocol.DeviceEvent
	server string // what it got
}

// talk brings bytes of the relay's to the device, its answers back, and so on.
func (s *side) talk(tb testing.TB, down string) {
	tb.Helper()
	for down != "" {
		up, seen, err := s.device.Feed([]byte(down))
		if err != nil {
			tb.Fatal(err)
		}
		s.seen = append(s.seen, seen...)
		down = s.says(tb, string(up))
	}
}

// says brings bytes of the device's to the relay, and returns what the device gets.
func (s *side) says(tb testing.TB, up string) (down string) {
	tb.Helper()
	got := s.FromDevice(up)
	s.events = append(s.events, got.Events...)
	s.server += got.Server
	down = got.Device
	if got.Server != "" && got.Server[0] == 1 {
		c := s.FromServer(confirmation(2, []byte(got.Server)))
		s.events = append(s.events, c.Events...)
		down += c.Device
	}
	return down
}

func withNavigator(tb testing.TB) *side {
	tb.Helper()
	s := &side{
		Relayed: relayed(tb, nil, protocol.RelayOptions{}),
		device:  protocoltest.NewDeviceStream(galileosky.New().NewDevice(config(tb, "a604", nil))),
	}
	s.talk(tb, s.says(tb, string(s.device.AppendLogin(nil))))
	s.talk(tb, s.After(2*time.Second).Device)
	if caps := s.Relay.Caps(); caps.NotYet || caps.InUse {
		tb.Fatalf("%+v", caps)
	}
	if s.server != string(s.device.AppendLogin(nil)) {
		tb.Fatalf("the server got %x", s.server)
	}
	s.events, s.seen, s.server = nil, nil, ""
	return s
}

func find[T any](all []T, is func(T) bool) (one T) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i]
	}
	return one
}

func TestRelayKeepsFMI(t *testing.T) {
	s := withNavigator(t)
	out, err := s.Text(protocol.Text{Ref: 5, Body: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	s.talk(t, out)
	shown := find(s.seen, func(e protocol.DeviceEvent) bool {
		return e.Kind == protocol.DeviceText
	})
	if shown.Body != "hello" {
		t.Fatalf("%+v", s.seen)
	}
	s.talk(t, s.says(t, string(s.device.AppendAck(nil, shown, protocol.AckDelivered))))
	if e := find(s.events, func(e protocol.Event) bool { return e.Kind == sawAck }); e.Ref != 5 ||
		e.Passed {
		t.Errorf("%+v", s.events)
	}
	s.seen = nil
	up, err := s.device.AppendText(nil, "on my way")
	if err != nil {
		t.Fatal(err)
	}
	s.talk(t, s.says(t, string(up)))
	if e := find(s.events, func(e protocol.Event) bool {
		return e.Kind == protocol.KindText
	}); e.Text != "on my way" || e.Passed {
		t.Errorf("%+v", s.events)
	}
	if e := find(s.seen, func(e protocol.DeviceEvent) bool {
		return e.Kind == protocol.DeviceTextAck
	}); e.Kind == 0 {
		t.Errorf("the driver's text has no receipt: %+v", s.seen)
	}
	if s.server != "" {
		t.Errorf("the server got %x", s.server)
	}
	// A damaged packet is nobody's.
	broken := packet(6, "\x10\x06")
	broken[4] ^= 1
	if got := s.FromDevice(string(broken)); got.Server != string(broken) ||
		!errors.Is(got.Err, protocol.ErrChecksum) {
		t.Errorf("%+v", got)
	}
}

func TestRelayLeavesFMIToTheServer(t *testing.T) {
	s := withNavigator(t)
	if _, err := s.Text(protocol.Text{Ref: 5, Body: "hello"}); err != nil {
		t.Fatal(err)
	}
	theirs := string(packet(6, "\x10\xa1\x02\x00\x00\x5d\x10\x03"))
	for i, conflicts := range []int{1, 0} {
		if got := s.FromServer(theirs); got.Device != theirs || got.Conflicts != conflicts {
			t.Errorf("packet %d: %+v", i, got)
		}
	}
	if caps := s.Relay.Caps(); !caps.InUse || caps.NotYet {
		t.Errorf("%+v", caps)
	}
	if _, err := s.Text(protocol.Text{Ref: 5, Body: "hello"}); !errors.Is(err,
		protocol.ErrNotText) {
		t.Errorf("a text was written: %v", err)
	}
	if got := s.After(time.Hour); got.Device != "" {
		t.Errorf("it speaks: %x", got.Device)
	}
	receipt := string(packet(6, "\x10\x06\x02\xa1\x00\x57\x10\x03"))
	protocoltest.PlayRelay(t, s.Relayed, []step{
		{Device: receipt, ToServer: receipt, Kinds: kinds(sawOther)},
		passes(headPacket(), sawPing), confirms(headPacket()),
	})
	// It is the server's before anybody logs in as well.
	r := relayed(t, nil, protocol.RelayOptions{})
	if got := r.FromServer(theirs); got.Conflicts != 1 {
		t.Errorf("%+v", got)
	}
	bind(t, r)
	if out := r.After(0).Device; out != "" || !r.Relay.Caps().InUse {
		t.Errorf("it speaks: %x", out)
	}
}

// Without a navigator of ours its packets are the server's.
func TestRelayPassesFMI(t *testing.T) {
	frame := packet(6, "\x10\x06\x02\xa1\x00\x57\x10\x03")
	for _, settings := range []map[string]string{none, command} {
		r := relayed(t, settings, protocol.RelayOptions{})
		bind(t, r)
		protocoltest.PlayRelay(t, r, []step{passes(frame, sawOther)})
		if got := r.FromServer(string(frame)); got.Device != string(frame) || got.Conflicts != 0 ||
			r.Relay.Caps().InUse {
			t.Errorf("%v: %+v", settings, got)
		}
	}
	r := relayed(t, nil, protocol.RelayOptions{})
	protocoltest.PlayRelay(t, r, []step{waits(passes(frame, sawOther))})
}

func TestRelayReplay(t *testing.T) {
	again := step{Replay: true, ToServer: string(headPacket())}
	swallowed := step{Server: confirmation(2, headPacket()), Kinds: kinds(sawAdmitted)}
	withRecord := packet(1, "\x03"+imei+"\x04\x32\x00"+position)
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
