package watch_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/watch"
)

func TestDevice(t *testing.T) {
	for _, c := range []struct {
		name, variant, in, out string
		want                   []protocol.DeviceEvent
		err                    error
		settings               map[string]string
	}{
		{
			name: "UTF-16LE", in: frame("MESSAGE,7D593dd800de6100"),
			settings: map[string]string{"text": "hexle"},
			want:     []protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "好😀a"}},
		},
		{
			name: "accepted, then alive", in: frame("LK") + frame("LK"),
			want: []protocol.DeviceEvent{
				{Kind: protocol.DeviceLoggedIn, Body: "LK"},
				{Kind: protocol.DeviceOther, Body: "LK"},
			},
		},
		{
			name: "INIT accepted", variant: "zj", in: numbered("0001", "INIT,1"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceLoggedIn, Body: "INIT,1"}},
		},
		{
			name: "INIT refused", variant: "yw", in: numbered("0001", "INIT,0"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceRefused, Body: "INIT,0"}},
		},
		{
			name: "text, name in lower case", in: frame("message,597D003100320033"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "好123"}},
		},
		{
			name: "raw text", variant: "yw", in: numbered("0001", "MESSAGE,好, 1"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "好, 1"}},
		},
		{
			name: "for another id and prefix", in: "[XT*1*000c*MESSAGE,0061]",
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceText, Body: "a"}},
		},
		{
			name: "text of half a unit", in: frame("MESSAGE,00610"), out: frame("MESSAGE,0"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceOther, Body: "MESSAGE,00610"}},
		},
		{
			name: "half a character", in: frame("MESSAGE,d83d"), out: frame("MESSAGE,0"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceOther, Body: "MESSAGE,d83d"}},
		},
		{
			name: "no digits", in: frame("MESSAGE,text"), out: frame("MESSAGE,0"),
			want: []protocol.DeviceEvent{{Kind: protocol.DeviceOther, Body: "MESSAGE,text"}},
		},
		{
			name: "its recordings", in: frame("TK,1") + frame("TK,0") + frame("TK2,1"),
			want: []protocol.DeviceEvent{
				{Kind: protocol.DeviceTextAck, Body: "TK,1"},
				{Kind: protocol.DeviceTextNak, Body: "TK,0"},
				{Kind: protocol.DeviceTextAck, Body: "TK2,1"},
			},
		},
		{
			name: "commands", in: "xx[" + frame("CR") + "\r\n" + frame("FIND"),
			want: []protocol.DeviceEvent{
				{Kind: protocol.DeviceOther, Body: "CR"},
				{Kind: protocol.DeviceOther, Body: "FIND"},
			},
		},
		{
			name: "wrong lengths", in: "[3G*1*0001*CR][3G*1*0003*CR]\r\n" + frame("CR"),
			want: []protocol.DeviceEvent{
				{Kind: protocol.DeviceOther, Body: "frame with a wrong length"},
				{Kind: protocol.DeviceOther, Body: "frame with a wrong length"},
				{Kind: protocol.DeviceOther, Body: "CR"},
			},
		},
		{
			name: "endless", in: "[3G*1*0001*" + strings.Repeat("[", 1<<17),
			err: protocol.ErrTooLong,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := protocoltest.NewDeviceStream(watch.New().NewDevice(device(t, c.variant,
				c.settings)))
			out, seen, err := d.Feed([]byte(c.in))
			if string(out) != c.out || !errors.Is(err, c.err) ||
				fmt.Sprint(seen) != fmt.Sprint(c.want) {
				t.Fatalf("answered %q, saw %+v, %v", out, seen, err)
			}
		})
	}
}

func TestWhatADeviceWrites(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 15, 0, 0, time.FixedZone("", 7200))
	for variant, want := range map[string][]string{
		"3g": {
			frame("LK,0,0,64"), frame("LK,0,0,64"),
			frame("UD,261126,101500,A,33.865000,S,151.210000,W,0.00,0.0,0.0,9,100,64,0,0,00000000,1,0,1,1,1,1,100,0,5.0"),
			frame("MESSAGE"), frame("MESSAGE,0"), frame("TK,#!AMR\n\x00\x01}\x02a}\x04}\x05}\x01}\x03"),
		},
		"zj": {
			numbered("0001", "INIT,19900000000,1,S1_V1.0,0000,0000"), numbered("0002", "LK,64"),
			numbered("0003", "UD,261126,101500,A,33.865000,S,151.210000,W,0.00,0.0,0.0,9,100,64,0,0,00000000,1,0,1,1,1,1,100,0,5.0"),
			numbered("0004", "MESSAGE"), numbered("0005", "MESSAGE,0"),
			numbered("0006", "TK,0,v_1.amr,1,1,#!AMR\n\x00\x01}\x02a}\x04}\x05}\x01}\x03"),
		},
	} {
		d := watch.New().NewDevice(device(t, variant, nil))
		got := []string{
			string(d.AppendLogin(nil)), string(d.AppendHeartbeat(nil)),
			string(d.AppendPosition(nil, -33.865, -151.21, at)),
			string(d.AppendAck(nil, protocol.DeviceEvent{}, protocol.AckDelivered)),
			string(d.AppendAck(nil, protocol.DeviceEvent{}, protocol.AckStorage)),
		}
		said, err := d.AppendText(nil, "[a,*}]")
		if got = append(got, string(said)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s writes\n%q instead of\n%q", variant, got, want)
		}
		if got := d.AppendAck(nil, protocol.DeviceEvent{}, protocol.AckLater); len(got) != 0 {
			t.Errorf("a verdict that follows is written as %q", got)
		}
		if _, err := d.AppendText(nil, " \r\n"); !errors.Is(err, protocol.ErrNotText) {
			t.Errorf("an empty text: %v", err)
		}
	}
	if got := string(watch.New().NewDevice(device(t, "yw", nil)).AppendLogin(nil)); !strings.HasSuffix(got,
		"S1_V1.0,0000,0000,1]") || !strings.HasPrefix(got, "[YW*") {
		t.Errorf("login %q", got)
	}
}
