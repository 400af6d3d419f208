package galileosky_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/protocoltest"
)

func TestIdleSessionIsSmall(t *testing.T) {
	const n = 20_000
	p := galileosky.New()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools held is gone after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for chat, most := range map[string]int64{"fmi": 150, "command": 64, "none": 64} {
		settings := protocoltest.NewSettings(t, p, map[string]string{"chat": chat})
		codecs := make([]protocol.Codec, n)
		before := heap()
		for i := range codecs {
			s := session{t, p.NewCodec(settings)}
			for _, frame := range [][]byte{
				headPacket(),
				packet(1, "\x30\x09\x00\x00\x00\x00\x00\x00\x00\x00"), headPacket(),
			} {
				if _, _, err := s.send(frame); err != nil {
					t.Fatal(err)
				}
			}
			s.codec.Poll(nil, time.Unix(0, 0))
			codecs[i] = s.codec
		}
		each := (int64(heap()) - int64(before)) / n
		runtime.KeepAlive(codecs)
		t.Logf("%s: %d bytes", chat, each)
		if each > most {
			t.Errorf("an idle session with chat %s takes %d bytes, more than %d", chat, each, most)
		}
	}
}

func TestStreamsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   error // nil: waits
	}{
		"a web browser":      {"GET / HTTP/1.1\r\n", protocol.ErrFraming},
		"a server's answer":  {"\x02\x00\x00", protocol.ErrFraming},
		"the longest packet": {"\x01\xff\xff" + strings.Repeat("\x00", 0x7FFF+1), nil},
		"half a head":        {"\x08\x01", nil},
	} {
		_, rest, err := protocoltest.Cut(galileosky.New(), []byte(c.stream))
		if !errors.Is(err, c.want) || c.want == nil && rest != len(c.stream) {
			t.Errorf("%s: %d bytes left, %v", name, rest, err)
		}
	}
	frames, rest, err := protocoltest.Cut(galileosky.New(), packet(1, strings.Repeat("\x00",
		0x7FFF)), packet(7, ""))
	if err != nil || rest != 0 || len(frames) != 2 || len(frames[0]) != galileosky.New().MaxFrame {
		t.Errorf("%d frames, %d bytes left, %v", len(frames), rest, err)
	}
}

func TestEveryResultOfAPacket(t *testing.T) {
	position := packet(1, "\x30\x09\x00\x00\x00\x00\x00\x00\x00\x00")
	for result, confirmed := range map[protocol.Result]bool{
		protocol.OK: true, protocol.Invalid: true, protocol.Later: false, protocol.NoLogin: false,
		protocol.UnknownDevice: false,
	} {
		s := loggedIn(t, nil)
		if _, reply, err := s.result(position, result); err != nil ||
			(string(reply) == confirmation(2, position)) != confirmed ||
			!confirmed && len(reply) != 0 {
			t.Errorf("result %d: %x, %v", result, reply, err)
		}
	}
}

// A packet may say who the device is and hold records as well: that is a login, and it is confirmed
// once.
func TestLoginWithRecords(t *testing.T) {
	s := &session{t, galileosky.New().NewCodec(protocoltest.NewSettings(t, galileosky.New(), nil))}
	frame := packet(1, "\x03"+imei+"\x04\x32\x00\x30\x09\x00\x00\x00\x00\x00\x00\x00\x00")
	events, reply, err := s.send(frame)
	if err != nil || len(events) != 2 || events[0].Kind != protocol.KindLogin ||
		events[1].Kind != protocol.KindPosition || string(reply) != confirmation(2, frame) {
		t.Errorf("%+v, %x, %v", events, reply, err)
	}
	s = &session{t, galileosky.New().NewCodec(protocoltest.NewSettings(t, galileosky.New(), nil))}
	if _, reply, err := s.result(frame, protocol.UnknownDevice); err != nil || len(reply) != 0 {
		t.Errorf("a stranger was answered with %x, %v", reply, err)
	}
	if events, _, err := s.result(packet(1, "\x03 not fifteen dig\x04\x32\x00"),
		protocol.NoLogin); err != nil || len(events) != 1 || events[0].Kind == protocol.KindLogin {
		t.Errorf("%+v, %v", events, err)
	}
}

func TestCommandsBothWays(t *testing.T) {
	settings := map[string]string{
		"chat": "command", "delivered_on": "reply",
		"command_prefix": "MSG ", "charset": "cp1251",
	}
	x := protocoltest.NewPair(galileosky.New(), config(t, "", settings))
	if _, seen, err := x.Login(); err != nil || len(seen) != 1 ||
		seen[0].Kind != protocol.DeviceLoggedIn {
		t.Fatalf("%+v, %v", seen, err)
	}
	caps := x.Codec.Caps()
	body := strings.Repeat("я", caps.PartBytes)
	out, err := x.Codec.AppendText(nil, protocol.Text{Ref: 1 << 31, Parts: 1, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := x.ToDevice(out)
	if err != nil || len(seen) != 1 || seen[0].Kind != protocol.DeviceText ||
		seen[0].Body != body || seen[0].Ref != 1<<31 {
		t.Fatalf("%+v, %v", seen, err)
	}
	events, _, err := x.FromDevice(x.Device.AppendAck(nil, seen[0], protocol.AckDelivered))
	if err != nil || len(events) != 1 || events[0].Outcome != protocol.AckDelivered ||
		events[0].Ref != 1<<31 {
		t.Errorf("%+v, %v", events, err)
	}
	if out := x.Device.AppendAck(nil, seen[0], protocol.AckStorage); len(out) != 0 {
		t.Errorf("a refusal is %x", out)
	}
	if _, err := x.Device.AppendText(nil, "x"); !errors.Is(err, protocol.ErrNotText) {
		t.Errorf("%v", err)
	}
	if out, err := x.Codec.AppendText([]byte("kept"), protocol.Text{Parts: 1, Body: body +
		"!"}); !errors.Is(err, protocol.ErrNotText) || string(out) != "kept" {
		t.Errorf("256 bytes: %x, %v", out, err)
	}
	for name, frame := range map[string][]byte{
		"for another device": packet(1, "\x03861230043907627\xe0\x01\x00\x00\x00\xe1\x05MSG x"),
		"another command":    packet(1, "\x03"+imei+"\xe0\x01\x00\x00\x00\xe1\x06status"),
		"not text":           packet(1, "\x03"+imei+"\xe0\x01\x00\x00\x00\xe1\x05MSG \x98"),
		"no command":         packet(1, "\x03"+imei),
	} {
		if _, seen, err := x.Device.Feed(frame); err != nil || len(seen) != 1 ||
			seen[0].Kind != protocol.DeviceOther {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	p := galileosky.New()
	for name, wrong := range map[string][]string{
		"chat": {"serial"}, "delivered_on": {"yes"}, "command_prefix": {strings.Repeat("x", 65)},
		"charset": {"koi8"}, "fmi_version": {"604"}, "link_ack": {""},
	} {
		for _, value := range wrong {
			if _, err := p.NewSettings(map[string]string{name: value}); err == nil {
				t.Errorf("%s=%q was accepted", name, value)
			}
		}
	}
	if _, err := p.NewSettings(map[string]string{"command_prefix": strings.Repeat("x", 64)}); err !=
		nil {
		t.Errorf("a prefix of 64 bytes: %v", err)
	}
	for _, s := range p.Settings {
		if s.Help == "" || s.Check == nil {
			t.Errorf("%s: help %q", s.Name, s.Help)
		}
	}
}
