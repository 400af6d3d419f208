package jt808_test

import (
	"strings"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

// misnamed writes a message whose version flag names the other form of the header.
func misnamed(phone []byte, id, serial uint16, body []byte, part ...uint16) []byte {
	f := frameFrom(phone, id, serial, body, part...)
	unescaped := strings.NewReplacer("\x7d\x02", "\x7e", "\x7d\x01", "\x7d")
	raw := []byte(unescaped.Replace(string(f[1 : len(f)-1])))
	raw[2] ^= 0x40
	raw[len(raw)-1] ^= 0x40
	return flagged(raw)
}

// flagged escapes a message with its XOR and puts it between flags.
func flagged(raw []byte) []byte {
	escaped := strings.NewReplacer("\x7d", "\x7d\x01", "\x7e", "\x7d\x02").Replace(string(raw))
	return []byte("\x7e" + escaped + "\x7e")
}

// The length of a body tells the forms of the header apart where the version flag does not.
func TestVersionFlagThatNamesTheOtherForm(t *testing.T) {
	phone2019 := append(make([]byte, 4), phone2013...)
	auth2019 := append([]byte("\x02K7"), make([]byte, 35)...)
	for name, c := range map[string]struct {
		phone, auth []byte
		id          string
		long        bool
	}{
		"2013 with the flag":    {phone2013, []byte("K7"), "013812345678", false},
		"2019 without the flag": {phone2019, auth2019, "00000000013812345678", true},
	} {
		t.Run(name, func(t *testing.T) {
			codec := jt808.New().NewCodec(protocoltest.NewSettings(t, jt808.New(), nil))
			said := func(kind protocol.Kind, f []byte) protocol.Event {
				t.Helper()
				events, reply, err := receive(codec, f)
				if err != nil || len(events) != 1 || events[0].Kind != kind {
					t.Fatalf("%+v, %v", events, err)
				}
				for _, m := range unframe(t, reply) {
					if m.long != c.long || string(m.phone) != string(c.phone) {
						t.Errorf("answered %+v", m)
					}
				}
				return events[0]
			}
			e := said(protocol.KindLogin, misnamed(c.phone, 0x0102, 1, c.auth))
			if e.DeviceID != c.id || e.Secret != "K7" {
				t.Errorf("%+v", e)
			}
			said(protocol.KindHeartbeat, misnamed(c.phone, 0x0002, 2, nil))
			said(protocol.KindOther, misnamed(c.phone, 0x6006, 3, []byte("\x00one "), 2, 1))
			e = said(protocol.KindText, misnamed(c.phone, 0x6006, 4, []byte("two"), 2, 2))
			if e.Text != "one two" {
				t.Errorf("%+v", e)
			}
			if choices := codec.Caps().Choices; (choices == 0) != c.long {
				t.Errorf("%d choices", choices)
			}
			out, err := codec.AppendText(nil, protocol.Text{Ref: 9, Parts: 1, Body: "x"})
			m := unframe(t, out)
			if err != nil || m[0].long != c.long || (len(m[0].body) == 3) != c.long {
				t.Errorf("%+v, %v", m, err)
			}
			said(protocol.KindAck, misnamed(c.phone, 0x0001, 5, []byte("\x00\x09\x83\x00\x00")))
			// What fits neither form is still the terminal's, and refused under the form it uses.
			bad := misnamed(c.phone, 0x0002, 0x0606, []byte("xx"))
			bad = append(bad[:len(bad)-4], bad[len(bad)-3:]...) // one x less: the header says two
			bad[len(bad)-2] ^= 'x'
			events, reply, err := receive(codec, bad)
			m = unframe(t, reply)
			if err == nil || len(m) != 1 || string(m[0].body) != "\x06\x06\x00\x02\x02" {
				t.Errorf("%+v, %+v, %v", events, m, err)
			}
			// An honest header is followed as before.
			said(protocol.KindHeartbeat, frameFrom(c.phone, 0x0002, 7, nil))
		})
	}
}
