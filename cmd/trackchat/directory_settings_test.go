package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A tracker's settings are those of its protocol: what is wrong is said by the import, with the
// line and with what would be right.
func TestSettingsOfTrackersAreChecked(t *testing.T) {
	for _, tc := range []struct{ protocol, settings, want string }{
		{"teltonika", `{ chat: serial, ack_pattern: '^A(\d+)$', eol: '\n', up_types: "6,11", charset: cp1251 }`, ""},
		{
			"teltonika", `{ chat: sms }`,
			`trackers[0].settings.chat (line 4): teltonika setting "chat": "sms" is none of fmi, serial, none`,
		},
		{"teltonika", `{ ack_pattern: '^A\d+$' }`, ""},
		{
			"teltonika", `{ ack_pattern: '^(A)(\d+)$' }`,
			`teltonika setting "ack_pattern": pattern may have one group, for the number`,
		},
		{
			"teltonika", `{ up_types: "6,16" }`,
			`teltonika setting "up_types": "16" is not a number from 0 to 15`,
		},
		{
			"teltonika", `{ delivered_on: record }`,
			`teltonika has no setting "delivered_on" (it has: ack_pattern, charset, chat, down_codec, down_type, eol, fmi_show, fmi_version, link_ack, part_bytes, part_prefix, up_types)`,
		},
		{"egts", `{ delivered_on: record, ucs2: le, sid: 7 }`, ""},
		{
			"egts", `{ delivered_on: displayed }`,
			`egts setting "delivered_on": "displayed" is none of deliv, record`,
		},
		{
			"egts", `{ part_bytes: 16 }`,
			`egts setting "part_bytes": "16" is not a whole number from 32 to 65205`,
		},
		{
			"egts", `{ login_by: tid }`,
			`egts setting "login_by" says how devices log in, so it belongs to the listener and not to a tracker`,
		},
		{"galileosky", `{ chat: command, delivered_on: reply, command_prefix: "show " }`, ""},
		{
			"galileosky", `{ command_prefix: "` + strings.Repeat("x", 65) + `" }`,
			`galileosky setting "command_prefix": 65 bytes, more than 64`,
		},
		{"jt808", `{ lenient: true }`, `jt808 setting "lenient" says how devices log in`},
		{
			"wialon", `{ ack: never }`,
			`wialon setting "ack": "never" is none of am, next_frame, none`,
		},
	} {
		file := filepath.Join(t.TempDir(), "directory.yaml")
		must(t, os.WriteFile(file, fmt.Appendf(nil,
			"accounts:\n  - { id: 1 }\ntrackers:\n  - { id: 2, account: 1, protocol: %s, device_id: \"1\", settings: %s }\n", tc.protocol, tc.settings), 0o600))
		_, err := LoadDirectory(file)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s %s: %v", tc.protocol, tc.settings, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s %s: %v, want %s", tc.protocol, tc.settings, err, tc.want)
		}
	}
}
