package galileosky_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/protocoltest"
)

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
	protocoltest.PlayRelay(t, r, bound())
	if !r.Relay.Caps().InUse {
		t.Errorf("%+v", r.Relay.Caps())
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
