package app

import (
	"strconv"
	"strings"
	"testing"

	"trackchat/api"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/protocol/all"
	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Every protocol says what its devices can be sent before one has connected: settings of the
// tracker count before those of its listener, and of several listeners what holds for all.
func TestCapabilitiesOfEveryProtocol(t *testing.T) {
	type set = map[string]string
	for name, c := range map[string]struct {
		protocol  string
		listeners []set // of the protocol
		tracker   set
		want      api.Capabilities
		lost      string // of "aяłש好😀🦕"
	}{
		"jt808": {
			"jt808",
			[]set{nil},
			nil,
			api.Capabilities{Charset: "gbk", PartBytes: 500, Choices: 8, Delivered: true, Urgent: true},
			"ש🦕",
		},
		"jt808, small parts": {
			"jt808",
			[]set{{"part_bytes": "300"}},
			set{"part_bytes": "100"},
			api.Capabilities{Charset: "gbk", PartBytes: 100, Choices: 8, Delivered: true, Urgent: true},
			"ש🦕",
		},
		"jt808, no listener here": {
			"jt808", nil, nil,
			api.Capabilities{Charset: "gbk", PartBytes: 500, Choices: 8, Delivered: true, Urgent: true},
			"ש🦕",
		},
		"jt808, wrong settings": {
			"jt808",
			[]set{{"part_bytes": "300"}},
			set{"part_bytes": "1"},
			api.Capabilities{Charset: "gbk", PartBytes: 300, Choices: 8, Delivered: true, Urgent: true},
			"ש🦕",
		},
		"wialon": {
			"wialon",
			[]set{nil},
			nil,
			api.Capabilities{Charset: "utf8", PartBytes: 1000, Delivered: true},
			"",
		},
		"wialon, cp1251 listener": {
			"wialon",
			[]set{{"charset": "cp1251", "ack": "none"}},
			nil,
			api.Capabilities{Charset: "cp1251", PartBytes: 1000},
			"ש好🦕",
		},
		"wialon, utf8 tracker": {
			"wialon",
			[]set{{"charset": "cp1251", "ack": "none"}},
			set{"charset": "utf8"},
			api.Capabilities{Charset: "utf8", PartBytes: 1000},
			"",
		},
		"wialon, two listeners": {
			"wialon",
			[]set{nil, {"charset": "cp1251", "part_bytes": "200", "ack": "none"}, nil},
			nil,
			api.Capabilities{Charset: "utf8/cp1251", PartBytes: 200},
			"ש好🦕",
		},
		"teltonika": {
			"teltonika",
			[]set{nil},
			set{"fmi_version": "a611"},
			api.Capabilities{
				Charset: "utf8", PartBytes: 1999, Choices: 8, Delivered: true,
				ReadReceipts: true,
			},
			"",
		},
		"teltonika, serial": {
			"teltonika",
			[]set{nil},
			set{"chat": "serial", "charset": "gbk"},
			api.Capabilities{Charset: "gbk", PartBytes: 478},
			"ש🦕",
		},
		"teltonika, serial, acks": {
			"teltonika",
			[]set{{"chat": "serial"}},
			set{"ack_pattern": "^OK$"},
			api.Capabilities{Charset: "utf8", PartBytes: 478, Delivered: true},
			"",
		},
		"egts": {
			"egts",
			[]set{nil},
			nil,
			api.Capabilities{
				Charset: "cp1251/ucs2", PartBytes: 990, Delivered: true,
				ReadReceipts: true,
			},
			"🦕",
		},
		"galileosky, commands": {
			"galileosky",
			[]set{nil},
			set{"chat": "command", "charset": "cp1251"},
			api.Capabilities{Charset: "cp1251", PartBytes: 255},
			"ש好🦕",
		},
		"watch": {
			"watch",
			[]set{nil},
			nil,
			api.Capabilities{Charset: "utf16be", PartBytes: 400, Delivered: true},
			"",
		},
		"watch, raw, without acks": {
			"watch",
			[]set{{"text": "utf8"}},
			set{"ack": "none"},
			api.Capabilities{Charset: "utf8", PartBytes: 300},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			listeners := []config.Listener{{Protocol: "other", Settings: set{"x": "y"}}}
			for _, s := range c.listeners {
				listeners = append(listeners, config.Listener{Protocol: c.protocol, Settings: s})
			}
			tracker := queue.Tracker{Protocol: c.protocol, Settings: c.tracker}
			got, ok := newCapabilities(listeners).of(&tracker)
			if !ok {
				t.Fatal("nothing is known")
			}
			lost := ""
			for _, r := range "aяłש好😀🦕" {
				if got.Lost(r) {
					lost += string(r)
				}
			}
			if lost != c.lost {
				t.Errorf("%q are lost, want %q", lost, c.lost)
			}
			c.want.Protocol = c.protocol
			apart := cmpopts.IgnoreFields(api.Capabilities{}, "Lost", "Asks", "MaxCharacters")
			diff := cmp.Diff(c.want, got, apart)
			if diff != "" || got.MaxCharacters < queue.MaxText {
				t.Errorf("%s, %d characters", diff, got.MaxCharacters)
			}
		})
	}
	for _, p := range all.Protocols() {
		got, ok := newCapabilities(nil).of(&queue.Tracker{Protocol: p.Name})
		if !ok || got.Charset == "" || got.PartBytes < 8 {
			t.Errorf("%s: %+v, %t", p.Name, got, ok)
		}
	}
	for _, nobody := range []queue.Tracker{
		{Protocol: "unknown"},
		{Protocol: "teltonika", Settings: set{"chat": "none"}},
		{Protocol: "galileosky", Settings: set{"chat": "none"}},
	} {
		if got, ok := newCapabilities(nil).of(&nobody); ok {
			t.Errorf("%+v: %+v", nobody, got)
		}
	}
	tiny := queue.Tracker{Protocol: "jt808", Settings: set{
		"part_bytes":  "8",
		"part_prefix": "true",
	}}
	if got, _ := newCapabilities(nil).of(&tiny); got.MaxCharacters != 4 {
		t.Errorf("parts without room for their number: %d characters", got.MaxCharacters)
	}
}

// Canned answers that would be left out or cut are told before sending.
func TestAskedBeforeSending(t *testing.T) {
	type set = map[string]string
	short, long := "yes", strings.Repeat("да", 13)
	for name, c := range map[string]struct {
		protocol string
		settings set
		text     string
		choices  []string
		fits     bool
	}{
		"jt808":                 {"jt808", nil, strings.Repeat("x", 255), []string{short}, true},
		"jt808, text":           {"jt808", nil, strings.Repeat("x", 256), []string{short}, false},
		"jt808, no answers":     {"jt808", nil, strings.Repeat("x", 256), nil, true},
		"jt808, last part":      {"jt808", nil, strings.Repeat("x", 600), []string{short}, true},
		"jt808, two bytes each": {"jt808", nil, strings.Repeat("д", 128), []string{short}, false},
		"jt808, all together":   {"jt808", nil, "?", []string{strings.Repeat("д", 520)}, false},
		"teltonika, 49 bytes":   {"teltonika", nil, "?", []string{strings.Repeat("x", 49)}, true},
		"teltonika, 50 bytes": {
			"teltonika", nil, "?",
			[]string{short, strings.Repeat("x", 50)},
			false,
		},
		"galileosky, UTF-8": {"galileosky", nil, "?", []string{long}, false},
		"galileosky, narrow": {
			"galileosky",
			set{"charset": "cp1251"},
			"?",
			[]string{long},
			true,
		},
		"galileosky, folded": {"galileosky", set{"charset": "cp1251"}, "?", []string{"ß" +
			strings.Repeat("x", 48)}, false},
		"wialon, which has none": {"wialon", nil, "?", []string{long}, true},
	} {
		tracker := queue.Tracker{Protocol: c.protocol, Settings: c.settings}
		can, _ := newCapabilities(nil).of(&tracker)
		if err := can.Asks(c.text, c.choices); (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A client of the service is told what a device would not show, by the settings in the
// configuration and the directory.
func TestStrictThroughTheService(t *testing.T) {
	cfg := apptest.Config(t, 2)
	for i := range cfg.Gateway.Listeners {
		if l := &cfg.Gateway.Listeners[i]; l.Protocol == "wialon" {
			l.Settings = map[string]string{"charset": "cp1251", "ack": "none"}
		}
	}
	s := startService(t, cfg)
	a := s.API.Call("capabilities", "tracker_id", "2")
	for name, want := range map[string]any{
		"protocol": "wialon", "charset": "cp1251", "delivered": "none",
		"max_characters": 20_000.0, "online": false,
	} {
		if a.Value[name] != want {
			t.Errorf("%s is not %v: %+v", name, want, a)
		}
	}
	for text, code := range map[string]int{"Płońsk → 好": 7, "Płońsk → 👍": 0, "مرحبا": 7} {
		a := s.API.Call("send", "tracker_id", "2", "message", text, "strict", "true")
		if a.Status.Code != code {
			t.Errorf("%s: %+v", text, a)
		}
	}
	if n := len(s.API.List(2)); n != 1 {
		t.Errorf("%d messages", n)
	}
	id := s.API.Call("send", "tracker_id", "1", "message", "Płońsk → 好", "strict", "true").ID
	s.Device(1, nil)
	s.API.Delivered(1, id)
	v := s.API.Call("capabilities", "tracker_id", "1").Value
	if v["charset"] != "gbk" || v["delivered"] != "device" || v["online"] != true {
		t.Errorf("%+v", v)
	}
	delivery, ok := s.API.Call("read", "message_id", strconv.FormatInt(id, 10)).Value["delivery"].(map[string]any)
	if !ok || delivery["replaced"] != 1.0 {
		t.Errorf("%+v", delivery)
	}
}
