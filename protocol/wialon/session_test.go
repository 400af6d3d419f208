package wialon_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/wialon"
)

func TestTextsFollowTheVersionOfTheLogin(t *testing.T) {
	for version, want := range map[string]string{
		"1.1": "#M#one two three four\tfive\r\n",
		"2.0": line2("M", "one two three four\tfive"),
	} {
		s := loggedIn(t, version, nil)
		if got := s.Text("one\r\ntwo\nthree\rfour\tfive"); got != want {
			t.Errorf("%s: %q instead of %q", version, got, want)
		}
	}
}

func TestTextIsAppended(t *testing.T) {
	s := loggedIn(t, "2.0", nil)
	out, err := s.Codec.AppendText([]byte("before\r\n"), protocol.Text{Parts: 1, Body: "hello"})
	if want := "before\r\n" + line2("M", "hello"); err != nil || string(out) != want {
		t.Errorf("%q instead of %q, %v", out, want, err)
	}
}

// A refused login leaves nothing behind: neither its version nor its device.
func TestRefusedLoginIsForgotten(t *testing.T) {
	s := protocoltest.NewSession(t, wialon.New(), nil)
	if got := s.Result(line2("L", "2.0;1111;NA"), protocol.UnknownDevice); got.Answers !=
		"#AL#0\r\n" {
		t.Fatalf("answers %q", got.Answers)
	}
	got := s.Send("2222#M#hello\r\n")
	if len(got.Events) != 2 || got.Events[0].Kind != protocol.KindLogin ||
		got.Events[0].DeviceID != "2222" || got.Events[1].Text != "hello" {
		t.Errorf("another device became %+v, %v", got.Events, got.Err)
	}
}

// Frames behind a login are decoded before the store has said anything about it.
func TestFramesRightBehindALoginHaveItsVersion(t *testing.T) {
	s := protocoltest.NewSession(t, wialon.New(), nil)
	var events []protocol.Event
	for _, frame := range []string{
		line2("L", "2.0;"+imei+";NA"), "#M#hello\r\n",
		line2("M", "hello"),
	} {
		got, _ := protocoltest.Decode(s.Codec, []byte(frame))
		events = append(events, got...)
	}
	if len(events) != 3 || events[0].Kind != protocol.KindLogin ||
		events[1].Kind != protocol.KindRefused || events[2].Kind != protocol.KindText {
		t.Errorf("they became %+v", events)
	}
}

func TestOneTextIsAcknowledgedByOneFrame(t *testing.T) {
	s := loggedIn(t, "1.1", map[string]string{"ack": "next_frame"})
	s.Text("a")
	s.Text("a") // a repetition
	got := s.Send("#P#\r\n#P#\r\n")
	if len(got.Events) != 3 || got.Events[0].Kind != protocol.KindAck ||
		got.Answers != "#AP#\r\n#AP#\r\n" {
		t.Errorf("two pings became %+v, answers %q", got.Events, got.Answers)
	}
}

// The tracker's own setting counts from its login on, also for a text that was written before.
func TestPolicyOfTheTrackerReplacesThatOfTheListener(t *testing.T) {
	s := loggedIn(t, "1.1", map[string]string{"ack": "next_frame"})
	s.Text("a")
	s.Codec.Bind(protocoltest.NewSettings(t, wialon.New(), map[string]string{"ack": "none"}))
	if got := s.Send("#P#\r\n"); len(got.Events) != 1 || !s.Codec.Caps().Silent {
		t.Errorf("a ping became %+v, caps %+v", got.Events, s.Codec.Caps())
	}
}

func TestKeysOfTexts(t *testing.T) {
	s := loggedIn(t, "1.1", nil)
	key := func(frame string) uint64 {
		t.Helper()
		window := 24 * time.Hour // a record has a time that tells it from others
		if strings.HasPrefix(frame, "#M#") || strings.Contains(frame, "#NA;NA;") {
			window = 10 * time.Second
		}
		got := s.Send(frame + "\r\n")
		if got.Err != nil || got.Events[0].Kind != protocol.KindText ||
			got.Events[0].Window != window || !got.Events[0].Across {
			t.Fatalf("%s became %+v, %v", frame, got.Events, got.Err)
		}
		return got.Events[0].Key
	}
	params := ";NA;NA;NA;NA;NA;text:3:OK"
	a, b := key("#M#OK"), key("#M#no")
	c, d := key("#D#"+record+params), key("#D#"+strings.Replace(record, "135321", "135322",
		1)+params)
	if a == b || c == d || a == c {
		t.Errorf("keys %x %x %x %x", a, b, c, d)
	}
	if timeless := key("#D#NA;NA" + record[len("240126;135321"):] + params); timeless != a {
		t.Errorf("a record without a time has key %x instead of %x", timeless, a)
	}
	if other := loggedIn(t, "2.0", nil).Send(line2("M", "OK")); other.Events[0].Key != a {
		t.Errorf("the same text over another connection has key %x instead of %x",
			other.Events[0].Key, a)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	p := wialon.New()
	for name, value := range map[string]string{
		"ack": "maybe", "charset": "koi8",
		"part_bytes": "15", "part_prefix": "yes", "repeat_seconds": "0",
	} {
		if _, err := p.NewSettings(map[string]string{name: value}); err == nil {
			t.Errorf("%s=%s was accepted", name, value)
		}
	}
	for _, spec := range p.Settings {
		if err := spec.Check(spec.Default); err != nil || spec.Help == "" {
			t.Errorf("%s: default %q: %v", spec.Name, spec.Default, err)
		}
	}
}

func TestDevice(t *testing.T) {
	for _, c := range []struct {
		name, variant, in, out string
		want                   []protocol.DeviceEvent
		err                    error
	}{
		{
			name: "accepted", in: "#AL#1\r\n",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceLoggedIn}},
		},
		{
			name: "accepted, without CR", in: "#AL#1\n",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceLoggedIn}},
		},
		{
			name: "wrong password", in: "#AL#01\r\n",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceRefused, Body: "01"}},
		},
		{
			name: "wrong CRC of a login", in: "#AL#10\r\n",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceRefused, Body: "10"}},
		},
		{
			name: "text", in: line2("M", "Привет; 1"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "Привет; 1"}},
		},
		{
			name: "text of 1.1", variant: "1.1", in: "#M#a;b#c\r\n",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "a;b#c"}},
		},
		{
			name: "damaged text", in: "#M#hello;0000\r\n", out: "#AM#01\r\n",
			want: []protocol.DeviceEvent{{
				Kind: protocol.DeviceOther,
				Body: "message with a wrong CRC",
			}},
		},
		{
			name: "text in another charset", variant: "1.1", in: "#M#\xcf\xf0\r\n",
			out: "#AM#0\r\n",
			want: []protocol.DeviceEvent{{
				Kind: protocol.DeviceOther,
				Body: "message in another charset",
			}},
		},
		{
			name: "its text was taken", in: "#AM#1\r\n",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceTextAck}},
		},
		{
			name: "its text was refused", in: "#AM#0\r\n",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceTextNak, Body: "0"}},
		},
		{
			name: "answers to data", in: "#AP#\r\n#ASD#1\r\n",
			want: []protocol.DeviceEvent{
				{Kind: protocol.DeviceOther, Body: "#AP#"},
				{Kind: protocol.DeviceOther, Body: "#ASD#1"},
			},
		},
		{name: "garbage", in: "HTTP/1.1 400\r\n", err: protocol.ErrGarbage},
		{name: "endless line", in: strings.Repeat("x", 1<<20), err: protocol.ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := protocoltest.NewDeviceStream(wialon.New().NewDevice(device(t, c.variant, nil)))
			out, seen, err := d.Feed([]byte(c.in))
			if string(out) != c.out || !errors.Is(err, c.err) || len(seen) != len(c.want) {
				t.Fatalf("answered %q, saw %+v, %v", out, seen, err)
			}
			for i, e := range seen {
				if e.Kind != c.want[i].Kind || e.Body != c.want[i].Body {
					t.Errorf("saw %+v instead of %+v", e, c.want[i])
				}
			}
		})
	}
}

func TestWhatADeviceWrites(t *testing.T) {
	cfg := device(t, "1.1", nil)
	d := wialon.New().NewDevice(cfg)
	if got := string(d.AppendLogin(nil)); got != "#L#"+imei+";secret\r\n" {
		t.Errorf("login %q", got)
	}
	cfg.Variant, cfg.Password = "", ""
	if got := string(wialon.New().NewDevice(cfg).AppendLogin(nil)); got != line2("L",
		"2.0;"+imei+";NA") {
		t.Errorf("login of 2.0 %q", got)
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	for want, place := range map[string][2]float64{
		"5230.0000;N;01324.0000;E": {52.5, 13.4},
		"3351.9000;S;15112.6000;E": {-33.865, 151.21},
		"0000.0000;N;18000.0000;W": {0, -180},
		"0100.0000;N;00000.0001;W": {0.99999999, -1e-6},
	} {
		if got := string(d.AppendPosition(nil, place[0], place[1],
			at)); got != "#SD#030226;030506;"+want+";NA;NA;NA;NA\r\n" {
			t.Errorf("%v is written as %q", place, got)
		}
	}
	if _, err := d.AppendText(nil, "\r\n"); !errors.Is(err, protocol.ErrNotText) {
		t.Errorf("an empty text: %v", err)
	}
	if got := d.AppendAck(nil, protocol.DeviceEvent{}, protocol.AckLater); len(got) != 0 {
		t.Errorf("a verdict that follows is written as %q", got)
	}
}
