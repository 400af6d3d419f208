package egts_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/protocoltest"
)

// fromPlatform writes a record of the platform in a packet.
func fromPlatform(pid uint16, service byte, subs ...sub) []byte {
	data := rec(500, service, subs...)
	data[4] = 0x40
	return frame(1, pid, data)
}

func TestIdentityOfTheDevice(t *testing.T) {
	for _, c := range []struct{ id, loginBy, want string }{
		{"4711", "auto", "4711"},
		{"4711", "tid", "4711"},
		{"4711", "imei", "000000000004711"},
		{"4294967295", "auto", "4294967295"},
		{"4294967296", "auto", "000004294967296"},
		{"861234567890123", "auto", "861234567890123"},
		{"861234567890123", "imei", "861234567890123"},
		{"861234567890123", "tid", ""},
		{"861234567890123456", "auto", "861234567890123"},
	} {
		x := protocoltest.NewPair(egts.New(), config(t, c.id, "",
			map[string]string{"login_by": c.loginBy}))
		events, _, err := x.Login()
		if err != nil || len(events) == 0 || events[0].Kind != protocol.KindLogin ||
			events[0].DeviceID != c.want {
			t.Errorf("%s by %s: %+v, %v", c.id, c.loginBy, events, err)
		}
	}
}

func TestDeviceAnswersThePlatform(t *testing.T) {
	text := command(4, 0, 9, 7, "\x01\x01Hi")
	damaged := fromPlatform(16, 4, text)
	damaged[len(damaged)-1] ^= 1
	for name, c := range map[string]struct {
		in     []byte
		kind   protocol.DeviceEventKind
		answer byte   // PR
		record []byte // RST of each record
	}{
		"a text": {fromPlatform(16, 4, text), protocol.DeviceText, 0, []byte{0}},
		"a signed text": {
			frame(2, 16, append([]byte{1, 0, 9}, rec(5, 4, text)...)),
			protocol.DeviceText, 0,
			[]byte{0},
		},
		"a text in UCS2": {
			fromPlatform(16, 4, command(4, 0, 9, 7, "\x01\x08\x00H\x00i")),
			protocol.DeviceText, 0,
			[]byte{0},
		},
		"half a letter": {
			fromPlatform(16, 4, command(4, 0, 9, 7, "\x01\x08\x00")),
			protocol.DeviceOther, 0,
			[]byte{132},
		},
		"half a command": {
			fromPlatform(16, 4, sub{51, "\x40"}), protocol.DeviceOther, 0,
			[]byte{132},
		},
		"another command": {
			fromPlatform(16, 4, command(5, 0, 9, 7, "\x00\x01")),
			protocol.DeviceOther, 0,
			[]byte{133},
		},
		"another subrecord": {
			fromPlatform(16, 4, sub{52, "x"}), protocol.DeviceOther, 0,
			[]byte{133},
		},
		"subrecord cut short": {
			frame(1, 16, []byte{4, 0, 2, 0, 0x40, 4, 4, 51, 9, 0, 1}),
			protocol.DeviceOther, 0,
			[]byte{139},
		},
		"delivery of nothing": {
			fromPlatform(16, 4, command(8, 0, 9, 7, "\x00")),
			protocol.DeviceOther, 0,
			[]byte{0},
		},
		"a second verdict": {
			fromPlatform(16, 1, sub{9, "\x00"}), protocol.DeviceOther, 0,
			[]byte{0},
		},
		"nothing":                {frame(1, 16, nil), protocol.DeviceOther, 0, nil},
		"damaged data":           {damaged, protocol.DeviceOther, 138, nil},
		"records cut short":      {frame(1, 16, []byte{9}), protocol.DeviceOther, 132, nil},
		"signature cut short":    {frame(2, 16, []byte{9}), protocol.DeviceOther, 132, nil},
		"another type of packet": {frame(7, 16, []byte{9}), protocol.DeviceOther, 133, nil},
		"one that came by a route": {sealed(header(1, 0x20, []byte{1, 0, 2, 0, 9},
			len(rec(5, 4, text)), 16), rec(5, 4, text)), protocol.DeviceText, 0, []byte{0}},
	} {
		d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "1", "", nil)))
		out, seen, err := d.Feed(c.in)
		if err != nil || len(seen) != 1 || seen[0].Kind != c.kind || d.Pending() != 0 {
			t.Errorf("%s: %+v, %v", name, seen, err)
			continue
		}
		if c.kind == protocol.DeviceText && (seen[0].Body != "Hi" || seen[0].Ref != 9) {
			t.Errorf("%s: %+v", name, seen[0])
		}
		answers := unframe(t, out)
		if len(answers) != 1 || answers[0].kind != 0 || answers[0].answered != 16 ||
			answers[0].result != c.answer || len(answers[0].records) != len(c.record) {
			t.Errorf("%s: answered %+v", name, answers)
			continue
		}
		for i, r := range answers[0].records {
			if r.flags != 0x80 || r.subs[0].kind != 0 || r.subs[0].data[2] != c.record[i] {
				t.Errorf("%s: answered %+v", name, r)
			}
		}
	}
}

func TestDeviceLeavesResponsesUnanswered(t *testing.T) {
	d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "1", "", nil)))
	for _, data := range [][]byte{{1, 0, 0}, {1, 0}, append([]byte{1, 0, 0},
		rec(5, 1, sub{0, "\x01\x00\x00"})...), {1, 0, 0, 9}} {
		if out, seen, err := d.Feed(frame(0, 16, data)); err != nil || len(out) != 0 ||
			len(seen) != 1 || seen[0].Kind != protocol.DeviceOther {
			t.Errorf("% x: answered %x, saw %+v, %v", data, out, seen, err)
		}
	}
	bad := frame(0, 16, []byte{1, 0, 0})
	bad[10] ^= 1
	if out, _, err := d.Feed(bad); !errors.Is(err, protocol.ErrFraming) || len(out) != 0 {
		t.Errorf("answered %x, %v", out, err)
	}
}

func TestDeviceGivesUpWhereFramingIsLost(t *testing.T) {
	d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "1", "", nil)))
	bad := fromPlatform(16, 1, sub{9, "\x00"})
	bad[10] ^= 1
	out, _, err := d.Feed(bad)
	if answers := unframe(t, out); !errors.Is(err, protocol.ErrFraming) || len(answers) != 1 ||
		answers[0].result != 137 || answers[0].answered != 16 {
		t.Errorf("%+v, %v", answers, err)
	}
}

// The login ends by RESULT_CODE, by a refusal of its packet or record, or, without authentication,
// by the first answer.
func TestOutcomesOfALogin(t *testing.T) {
	response := func(pr, rst byte) []byte {
		return frame(0, 16, append([]byte{0, 0, pr}, rec(5, 1, sub{0, "\x00\x00" +
			string([]byte{rst})})...))
	}
	for name, c := range map[string]struct {
		variant string
		in      []byte
		want    protocol.DeviceEventKind
	}{
		"let in": {
			"", fromPlatform(16, 1, sub{9, "\x00"}),
			protocol.DeviceLoggedIn,
		},
		"unknown": {
			"", fromPlatform(16, 1, sub{9, "\x99"}),
			protocol.DeviceRefused,
		},
		"only confirmed":         {"", response(0, 0), protocol.DeviceOther},
		"record refused":         {"", response(0, 151), protocol.DeviceRefused},
		"packet refused":         {"", response(138, 0), protocol.DeviceRefused},
		"another packet refused": {"", frame(0, 16, []byte{9, 0, 138}), protocol.DeviceOther},
		"oid: confirmed":         {"oid", response(0, 0), protocol.DeviceLoggedIn},
		"oid: unknown":           {"oid", response(0, 153), protocol.DeviceRefused},
		"oid: another packet refused": {
			"oid", frame(0, 16, []byte{9, 0, 138}),
			protocol.DeviceOther,
		},
		"of another service": {
			"", fromPlatform(16, 4, sub{9, "\x99"}),
			protocol.DeviceOther,
		},
		"another subrecord": {
			"", fromPlatform(16, 1, sub{8, "\x99"}),
			protocol.DeviceOther,
		},
		"the last code of good ones": {"", response(127, 127), protocol.DeviceOther},
		"the first of the others":    {"", response(0, 128), protocol.DeviceRefused},
	} {
		d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "4711", c.variant, nil)))
		if up := unframe(t, d.AppendLogin(nil)); len(up) != 1 ||
			(up[0].records[0].oid == 4711) != (c.variant == "oid") {
			t.Errorf("%s: login %+v", name, up)
		}
		if _, seen, err := d.Feed(c.in); err != nil || len(seen) != 1 || seen[0].Kind != c.want {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
	}
}

func TestAckOutcomes(t *testing.T) {
	for outcome, want := range map[protocol.Outcome]string{
		protocol.AckDelivered: "\x80", protocol.AckOpened: "\x20", protocol.AckLater: "\x26",
		protocol.AckFailed: "\x81", protocol.AckStorage: "\x81", protocol.AckRejected: "\x82",
		// of a text that is not the newest: there is no packet to refuse.
		protocol.AckDamaged: "\x81", protocol.AckUnsupported: "\x81",
	} {
		d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "4711", "", nil)))
		if _, _, err := d.Feed(fromPlatform(16, 4, command(4, 0, 9, 7, "\x00Hi"))); err != nil {
			t.Fatal(err)
		}
		up := unframe(t, d.AppendAck(nil, protocol.DeviceEvent{Ref: 8}, outcome))
		if want += "\x08\x00\x00\x00\x07\x00\x00\x00\x00"; len(up) != 1 || up[0].kind != 1 ||
			up[0].records[0].service != 4 || up[0].records[0].subs[0] != (sub{51, want}) {
			t.Errorf("outcome %d: %+v", outcome, up)
		}
	}
	d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "4711", "", nil)))
	if _, _, err := d.Feed(fromPlatform(16, 4, command(4, 0, 9, 7, "\x00Hi"))); err != nil {
		t.Fatal(err)
	}
	if up := unframe(t, d.AppendAck(nil, protocol.DeviceEvent{Ref: 9}, protocol.AckDamaged)); len(
		up) != 1 || up[0].answered != 16 || up[0].result != 138 {
		t.Errorf("damaged: %+v", up)
	}
	if up := unframe(t, d.AppendAck(nil, protocol.DeviceEvent{Ref: 9},
		protocol.AckUnsupported)); len(up) != 1 || up[0].answered != 16 ||
		up[0].records[0].subs[0] != (sub{0, "\xf4\x01\x95"}) {
		t.Errorf("unsupported: %+v", up)
	}
	if out := d.AppendChoice(nil, protocol.DeviceEvent{Ref: 9}, 1); len(out) != 0 {
		t.Errorf("an answer to no question: %x", out)
	}
}

// What the platform says of one text of the driver is not taken for a word about another.
func TestDeviceKnowsItsTexts(t *testing.T) {
	d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "4711", "", nil)))
	for _, body := range []string{"one", "две", "好 😀"} {
		out, err := d.AppendText([]byte("kept"), body)
		if err != nil || !bytes.HasPrefix(out, []byte("kept")) {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		in   []byte
		kind protocol.DeviceEventKind
		ref  uint64
	}{
		{fromPlatform(16, 4, command(8, 0, 3, 0, "\x00")), protocol.DeviceTextAck, 3},
		{fromPlatform(17, 4, command(8, 0, 3, 0, "\x00")), protocol.DeviceOther, 17},
		{
			frame(0, 18, append([]byte{0, 0, 0}, rec(5, 4, sub{0, "\x01\x00\x00"})...)),
			protocol.DeviceOther, 18,
		},
		{
			frame(0, 19, append([]byte{0, 0, 0}, rec(5, 4, sub{0, "\x01\x00\x84"})...)),
			protocol.DeviceTextNak, 2,
		},
		{fromPlatform(20, 4, command(8, 1, 1, 0, "\x00")), protocol.DeviceTextNak, 1},
	} {
		if _, seen, err := d.Feed(step.in); err != nil || len(seen) != 1 ||
			seen[0].Kind != step.kind || seen[0].Ref != step.ref {
			t.Errorf("%+v instead of %d for %d, %v", seen, step.kind, step.ref, err)
		}
	}
	if out, err := d.AppendText([]byte("kept"), strings.Repeat("好", 33_000)); !errors.Is(err,
		protocol.ErrTextTooLong) || string(out) != "kept" {
		t.Errorf("66 kB: %d bytes, %v", len(out), err)
	}
	if out, err := d.AppendText(nil, strings.Repeat("я", 65_500)); err != nil ||
		len(unframe(t, out)) != 1 {
		t.Errorf("65 kB: %v", err)
	}
}

// Texts without an answer do not grow the device: the oldest are forgotten.
func TestUnansweredTextsAreForgotten(t *testing.T) {
	d := protocoltest.NewDeviceStream(egts.New().NewDevice(config(t, "4711", "", nil)))
	for range 300 {
		if _, err := d.AppendText(nil, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	for cid, want := range map[uint32]protocol.DeviceEventKind{
		44: protocol.DeviceOther,
		45: protocol.DeviceTextAck, 300: protocol.DeviceTextAck,
	} {
		if _, seen, err := d.Feed(fromPlatform(16, 4, command(8, 0, cid, 0, "\x00"))); err != nil ||
			len(seen) != 1 || seen[0].Kind != want {
			t.Errorf("text %d: %+v, %v", cid, seen, err)
		}
	}
}

// POS_DATA as it is in Order 285: seconds since 2010, shares of 90 and 180 degrees, hemispheres in
// the flags.
func TestPositionOfTheDevice(t *testing.T) {
	d := egts.New().NewDevice(config(t, "4711", "", nil))
	at := time.Date(2010, 1, 1, 0, 1, 2, 0, time.UTC)
	for _, c := range []struct {
		lat, lon float64
		want     string
	}{
		{45, 90, "\x3e\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x80\x03"},
		{-90, -180, "\x3e\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x63"},
	} {
		up := unframe(t, d.AppendPosition(nil, c.lat, c.lon, at))
		if len(up) != 1 || up[0].records[0].service != 2 ||
			up[0].records[0].subs[0] != (sub{16, c.want + "\x00\x00\x00\x00\x00\x00\x00\x00"}) {
			t.Errorf("%v %v: %+v", c.lat, c.lon, up)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	p := egts.New()
	for name, wrong := range map[string][]string{
		"login_by": {"imsi", ""}, "lenient": {"yes"}, "delivered_on": {"am"}, "ucs2": {"big"},
		"sid": {"-1", "x"}, "part_bytes": {"31", "65206", "-1", "x"}, "part_prefix": {"1"},
		"nonsense": {"1"},
	} {
		for _, value := range wrong {
			if _, err := p.NewSettings(map[string]string{name: value}); err == nil {
				t.Errorf("%s=%q was accepted", name, value)
			}
		}
	}
	for _, s := range p.Settings {
		if s.Help == "" || s.Check(s.Default) != nil {
			t.Errorf("%s: help %q, default %q", s.Name, s.Help, s.Default)
		}
	}
}
