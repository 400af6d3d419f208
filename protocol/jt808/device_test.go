package jt808_test

import (
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

func TestStaleCodeIsReplacedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		refuse    int // how many authentications
		logins    int
		registers int
		last      protocol.DeviceEventKind
	}{
		"the new code is right": {1, 2, 1, protocol.DeviceLoggedIn},
		"the new code is wrong": {9, 2, 1, protocol.DeviceRefused},
	} {
		t.Run(name, func(t *testing.T) {
			x := protocoltest.NewPair(jt808.New(), config(t, "", "OLD", nil))
			refused := 0
			x.Result = func(e *protocol.Event) protocol.Result {
				if e.Kind == protocol.KindLogin && refused < c.refuse {
					refused++
					return protocol.BadCredentials
				}
				return protocol.OK
			}
			events, seen, err := x.Login()
			if err != nil || len(seen) == 0 || seen[len(seen)-1].Kind != c.last {
				t.Fatalf("%+v, %+v, %v", events, seen, err)
			}
			count := map[protocol.Kind]int{}
			for _, e := range events {
				count[e.Kind]++
			}
			if count[protocol.KindLogin] != c.logins ||
				count[protocol.KindRegister] != c.registers {
				t.Errorf("%+v", count)
			}
		})
	}
}

// fromPlatform writes a message to the device of 013812345678.
func fromPlatform(id, serial uint16, body string) []byte { return frame(id, serial, []byte(body)) }

func TestDeviceAnswersThePlatform(t *testing.T) {
	for name, c := range map[string]struct {
		in     []byte
		kind   protocol.DeviceEventKind
		answer string // the body of its 0x0001
	}{
		"a menu": {
			fromPlatform(0x8301, 5, "\x01\x00"), protocol.DeviceOther,
			"\x00\x05\x83\x01\x00",
		},
		"a command": {
			fromPlatform(0x8105, 6, "\x04"), protocol.DeviceOther,
			"\x00\x06\x81\x05\x03",
		},
		"a text without flags": {
			fromPlatform(0x8300, 7, ""), protocol.DeviceOther,
			"\x00\x07\x83\x00\x02",
		},
		"half a character": {
			fromPlatform(0x8300, 8, "\x04\x81"), protocol.DeviceOther,
			"\x00\x08\x83\x00\x02",
		},
		"a question cut short": {
			fromPlatform(0x8302, 9, "\x00\x09abc"), protocol.DeviceOther,
			"\x00\x09\x83\x02\x02",
		},
		"an answer cut short": {
			fromPlatform(0x8302, 10, "\x00\x01?\x01\x00\x09a"),
			protocol.DeviceOther, "\x00\x0a\x83\x02\x02",
		},
		"an unreadable answer": {
			fromPlatform(0x8302, 11, "\x00\x01?\x01\x00\x01\x81"),
			protocol.DeviceOther, "\x00\x0b\x83\x02\x02",
		},
		"the time": {
			fromPlatform(0x8004, 12, "\x26\x02\x03\x04\x05\x06"),
			protocol.DeviceOther, "",
		},
		"a reply to nothing": {
			fromPlatform(0x8001, 13, "\x00\x63\x60\x06\x00"),
			protocol.DeviceOther, "",
		},
		"an empty reply": {fromPlatform(0x8001, 14, ""), protocol.DeviceOther, ""},
		"a foreign registration": {
			fromPlatform(0x8100, 15, "\x00\x63\x00X"), protocol.DeviceOther,
			"",
		},
		"a text ended by a NUL": {
			fromPlatform(0x8300, 16, "\x04Hi\x00"), protocol.DeviceText,
			"",
		},
		"a question, no answers": {
			fromPlatform(0x8302, 17, "\x00\x02Hi"), protocol.DeviceText,
			"",
		},
		"damaged, then a command": {append([]byte("\x7e\x00\x01\x7e\x7e\x7d\x7e"),
			fromPlatform(0x8105, 18, "\x04")...), protocol.DeviceOther, "\x00\x12\x81\x05\x03"},
	} {
		d := protocoltest.NewDeviceStream(jt808.New().NewDevice(config(t, "", "A", nil)))
		d.AppendLogin(nil)
		out, seen, err := d.Feed(c.in)
		if err != nil || len(seen) != 1 || seen[0].Kind != c.kind || d.Pending() != 0 {
			t.Fatalf("%s: %+v, %v", name, seen, err)
		}
		if c.kind == protocol.DeviceText && seen[0].Body != "Hi" {
			t.Errorf("%s: %+v", name, seen[0])
		}
		answers := unframe(t, out)
		if c.answer == "" && len(answers) != 0 {
			t.Errorf("%s: answered %+v", name, answers)
		}
		if c.answer != "" && (len(answers) != 1 || answers[0].id != 0x0001 ||
			string(answers[0].body) != c.answer) {
			t.Errorf("%s: answered %+v, not % x", name, answers, c.answer)
		}
	}
}

func TestDeviceSeesARefusedText(t *testing.T) {
	x := protocoltest.NewPair(jt808.New(), config(t, "", "A", nil))
	if _, _, err := x.Login(); err != nil {
		t.Fatal(err)
	}
	for result, want := range map[protocol.Result]protocol.DeviceEventKind{
		protocol.OK: protocol.DeviceTextAck, protocol.Invalid: protocol.DeviceTextNak,
		protocol.NoLogin: protocol.DeviceTextNak, protocol.Later: 0,
	} {
		up, err := x.Device.AppendText(nil, "hello")
		if err != nil {
			t.Fatal(err)
		}
		x.Result = func(*protocol.Event) protocol.Result { return result }
		_, seen, err := x.FromDevice(up)
		kind := protocol.DeviceEventKind(0)
		if len(seen) == 1 {
			kind = seen[0].Kind
		}
		if err != nil || len(seen) > 1 || kind != want {
			t.Errorf("result %d: %+v, %v", result, seen, err)
		}
	}
}

func TestPhoneOfTheDevice(t *testing.T) {
	for id, want := range map[string]string{
		"13812345678": "013812345678", "4E86e41369da": "4e86e41369da", "1": "000000000001",
		"861234567890123": "234567890123",
	} {
		for _, variant := range []string{"2011", "2013", "2019"} {
			x := protocoltest.NewPair(jt808.New(), protocol.DeviceConfig{
				ID: id, Variant: variant,
				Password: "A", Settings: protocoltest.NewSettings(t, jt808.New(), nil),
			})
			events, _, err := x.Login()
			long := map[string]string{
				"013812345678": "00000000013812345678",
				"234567890123": "00000861234567890123",
			}[want]
			if long == "" {
				long = "00000000" + want
			}
			expected := want
			if variant == "2019" {
				expected = long
			}
			if err != nil || len(events) != 1 || events[0].DeviceID != expected {
				t.Errorf("%s in %s: %+v, %v", id, variant, events, err)
			}
		}
	}
}

func TestAckOutcomes(t *testing.T) {
	d := x808(t)
	for outcome, want := range map[protocol.Outcome]byte{
		protocol.AckDelivered: 0, protocol.AckOpened: 0, protocol.AckFailed: 1,
		protocol.AckStorage: 1, protocol.AckDamaged: 2, protocol.AckRejected: 2,
		protocol.AckUnsupported: 3,
	} {
		m := unframe(t, d.AppendAck(nil, protocol.DeviceEvent{Ref: 0x7E7D}, outcome))
		if len(m) != 1 || string(m[0].body) != string([]byte{0x7E, 0x7D, 0x83, 0, want}) {
			t.Errorf("outcome %d: %+v", outcome, m)
		}
	}
	if out := d.AppendAck(nil, protocol.DeviceEvent{Ref: 1}, protocol.AckLater); len(out) != 0 {
		t.Errorf("an ack that is still to come: %x", out)
	}
	if out := d.AppendChoice(nil, protocol.DeviceEvent{Ref: 1}, 1); len(out) != 0 {
		t.Errorf("an answer to no question: %x", out)
	}
}
