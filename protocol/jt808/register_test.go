package jt808_test

import (
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/protocoltest"
)

// The terminal id of a registration is found in every edition, and only where it is all there.
func TestKnownTerminals(t *testing.T) {
	p := jt808.New()
	for _, variant := range []string{"2011", "2013", "2019"} {
		login := p.NewDevice(config(t, variant, "", nil)).AppendLogin(nil)
		codec := p.NewCodec(protocoltest.NewSettings(t, p, nil))
		events, err := protocoltest.Decode(codec, login)
		if err != nil || len(events) != 1 || events[0].Kind != protocol.KindRegister {
			t.Fatalf("%s: %+v, %v", variant, events, err)
		}
		for _, c := range []struct {
			register, id string
			want         bool
		}{
			{"open", "", true},
			{"code", "2345678", false},
			{"known", "", false},
			{"known", "2345678", true},
			{"known", "2345679", false},
			{"known", "345678", false},
		} {
			set := map[string]string{"register": c.register, "terminal_id": c.id}
			if granted, _ := p.Registers(protocoltest.NewSettings(t, p, set),
				&events[0]); granted != c.want {
				t.Errorf("%s, %+v, terminal id %q", variant, c, events[0].Secret)
			}
		}
	}
	short := unframe(t, p.NewDevice(config(t, "2013", "", nil)).AppendLogin(nil))[0].body[:20]
	c := p.NewCodec(protocoltest.NewSettings(t, p, nil))
	events, err := protocoltest.Decode(c, frame(0x0100, 1, short))
	if err != nil || len(events) != 1 || events[0].Secret != "" {
		t.Errorf("of a short registration: %+v, %v", events, err)
	}
}
