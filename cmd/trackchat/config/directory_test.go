package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
)

func TestDirectoryFiles(t *testing.T) {
	for _, file := range cases(t, "directory") {
		t.Run(name(file), func(t *testing.T) {
			f, err := LoadDirectory(file)
			if (f == nil) == (err == nil) {
				t.Errorf("directory %v and error %v together", f, err)
			}
			golden(t, file, err)
		})
	}
}

func TestDirectoryContent(t *testing.T) {
	key := queue.HashKey("a6aa75587e5c59c32d347da438505fc3")
	chat := []string{queue.FeatureChat}
	plain := queue.Account{ID: 1, TimeZone: "UTC"}
	for file, want := range map[string]DirectoryFile{
		"example": {
			Accounts: []queue.Account{{
				ID: 1, Login: "demo", Title: "Demo fleet",
				TimeZone: "Europe/Berlin", Keys: []queue.Key{{Hash: key}},
			}},
			Trackers: []queue.Tracker{
				{
					ID: 999199, Account: 1, Label: "Truck 1", Protocol: "jt808",
					DeviceID: "13812345678", Model: "jt808", Chat: true, Features: chat,
					Employee: 7, Settings: map[string]string{}, Upstream: "tracking.example:6808",
					EmployeeRecord: &queue.EmployeeRecord{
						FirstName: "Ann", LastName: "Lee",
						Phone: "+49 170 1234567",
					},
				},
				{
					ID: 999201, Account: 1, Protocol: "wialon", DeviceID: "a1", Password: "0700",
					Blocked: true, Features: []string{},
					Settings: map[string]string{"ack": "none"},
				},
			},
			Passwords: map[Holder]string{{Account: 1}: "demo"},
		},
		"defaults": {
			Accounts: []queue.Account{plain},
			Trackers: []queue.Tracker{{
				ID: 2, Account: 1, Protocol: "wialon",
				DeviceID: "352093081234567", Chat: true, Features: chat,
			}},
		},
		"flow": {
			Accounts: []queue.Account{{ID: 1, TimeZone: "UTC", Keys: []queue.Key{{Hash: key}}}},
			Trackers: []queue.Tracker{{
				ID: 2, Account: 1, Protocol: "jt808",
				DeviceID: "13812345678", Chat: true, Features: chat,
				Settings: map[string]string{"part_bytes": "300"},
			}},
		},
		"trackers_first": {
			Accounts: []queue.Account{plain},
			Trackers: []queue.Tracker{{
				ID: 2, Account: 1, Protocol: "jt808", DeviceID: "1",
				Chat: true, Features: chat,
			}},
		},
		"aliases": {
			Accounts: []queue.Account{plain},
			Trackers: []queue.Tracker{
				{
					ID: 2, Account: 1, Protocol: "jt808", DeviceID: "1", Chat: true, Features: chat,
					Settings: map[string]string{"part_bytes": "300"},
				},
				{
					ID: 3, Account: 1, Protocol: "jt808", DeviceID: "2", Chat: true, Features: chat,
					Settings: map[string]string{"part_bytes": "300"},
				},
			},
		},
		"people": {
			Accounts: []queue.Account{
				{
					ID: 1, Login: "demo", TimeZone: "UTC",
					Keys: []queue.Key{
						{Hash: key},
						{Hash: queue.HashKey("0f3c9a1b7d5e42868a6b0c1d2e3f4051")},
						{
							Hash: queue.HashKey("1f3c9a1b7d5e42868a6b0c1d2e3f4051"), Name: "ERP",
							Role: queue.RoleDispatcher, EndMs: 1_893_456_000_000,
						},
					},
					People: &queue.People{
						Users: []queue.User{
							{ID: 1, Login: "ann", Name: "Ann Lee", Locale: "de_DE"},
							{ID: 4, Login: "bob", Name: "Bob", Role: queue.RoleViewer},
						},
						Groups: []queue.Group{{ID: 2, Title: "North", Color: "FF6DDC"}},
						Templates: []queue.Template{
							{
								ID: 3, Name: "Call", Text: "Call {label}\nnow",
								Choices: []string{"yes", "no"}, TTL: 3600,
							},
						},
					},
				},
				{
					ID: 2, TimeZone: "UTC", Keys: []queue.Key{},
					People: &queue.People{Users: []queue.User{}},
				},
			},
			Trackers: []queue.Tracker{
				{
					ID: 2, Account: 1, Protocol: "jt808", DeviceID: "1", Chat: true, Features: chat,
					Sorting: &queue.Sorting{Group: 2, Tags: []string{"frigo", "north"}},
				},
				{
					ID: 3, Account: 2, Protocol: "jt808", DeviceID: "2", Chat: true, Features: chat,
					Sorting: &queue.Sorting{Tags: []string{}},
				},
				{
					ID: 4, Account: 2, Protocol: "jt808", DeviceID: "3", Chat: true, Features: chat,
					Sorting: &queue.Sorting{Group: 9},
				},
			},
			Passwords: map[Holder]string{{Account: 1, User: 1}: "secret"},
		},
		"empty":                    {},
		"sections_without_entries": {},
	} {
		got, err := LoadDirectory(testdata("directory", file+".yaml"))
		must(t, err)
		if want.Passwords == nil {
			want.Passwords = map[Holder]string{}
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// bigDirectory is a file of many trackers in the usual form, comments and longer entries included.
func bigDirectory(trackers int) []byte {
	var b bytes.Buffer
	b.WriteString("# a fleet\naccounts: # one\n  - { id: 1 }\n\ntrackers:\n")
	for i := 1; i <= trackers; i++ {
		switch i % 500 {
		case 1:
			b.WriteString("  # some more\n\n")
		case 2:
			fmt.Fprintf(&b, "  - id: %d\n    account: 1\n    protocol: wialon\n    device_id: %d\n    password: |\n      Truck - {\n\n      - x\n", i, 35_000_000_000+i)
			continue
		case 3:
			fmt.Fprintf(&b, "  -\n    { id: %d, account: 1,\n      protocol: wialon, device_id: %d }\n", i, 35_000_000_000+i)
			continue
		}
		fmt.Fprintf(&b, "  - { id: %d, account: 1, label: Truck %d, protocol: jt808, device_id: \"0%d\", password: \"\", model: jt808, blocked: false, features: [chat], employee_id: 7, settings: {} }\n", i, i, 13_800_000_000+i)
	}
	return b.Bytes()
}

// readBoth reads a text in pieces and as a whole.
func readBoth(t *testing.T, data []byte) (pieces, whole *directoryReader, pieceErr error) {
	t.Helper()
	pieces, whole = newDirectoryReader(), newDirectoryReader()
	pieceErr = pieces.pieces(data)
	pieces.owners()
	must(t, whole.whole(data))
	whole.owners()
	return pieces, whole, pieceErr
}

// However a file is read, it says the same and is wrong on the same lines.
func TestDirectoryInPiecesIsTheWhole(t *testing.T) {
	data := bigDirectory(5000)
	for _, damaged := range []string{"id: 4999,", "id: 12,", "id: 2502\n"} {
		data = bytes.Replace(data, []byte(damaged), []byte(strings.Replace(damaged, "id", "idd",
			1)), 1)
	}
	pieces, whole, err := readBoth(t, data)
	must(t, err)
	if len(data) < 3*pieceBytes {
		t.Fatalf("%d bytes are too few to be read in pieces", len(data))
	}
	if diff := cmp.Diff(whole.problems.list, pieces.problems.list); diff != "" ||
		len(pieces.problems.list) < 6 {
		t.Errorf("problems (-whole +pieces):\n%s\n%q", diff, pieces.problems.list)
	}
	if diff := cmp.Diff(whole.file, pieces.file); diff != "" {
		t.Errorf("content (-whole +pieces):\n%.2000s", diff)
	}
	lines := strings.Split(string(data), "\n")
	var line int
	for _, p := range pieces.problems.list {
		if _, err := fmt.Sscanf(p, "trackers[4998].idd (line %d)", &line); err == nil {
			break
		}
	}
	if line == 0 || !strings.Contains(lines[line-1], "idd: 4999") {
		t.Errorf("line %d is not that of tracker 4999", line)
	}
}

func FuzzDirectoryInPieces(f *testing.F) {
	files, err := filepath.Glob(testdata("directory", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(bigDirectory(3))
	f.Add([]byte("accounts:\n  - id: 1\ntrackers:#0\n"))
	f.Add([]byte("accounts:\n  # \x0f\n  - id: 1\n"))
	f.Add([]byte("accounts:\n  - { id: 0, \r\rlogin: a }\n  - { ir: 1,\u2028 id: 2 }\n  - { ib: 1 }\n"))
	f.Add([]byte("trackers:\n- - id: 1\n- |\n  - x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pieces, whole := newDirectoryReader(), newDirectoryReader()
		if pieces.pieces(data) != nil {
			return
		}
		must(t, whole.whole(data))
		pieces.owners()
		whole.owners()
		if diff := cmp.Diff(whole.file, pieces.file); diff != "" {
			t.Errorf("content (-whole +pieces):\n%s", diff)
		}
		if diff := cmp.Diff(whole.problems.list, pieces.problems.list); diff != "" {
			t.Errorf("problems (-whole +pieces):\n%s", diff)
		}
	})
}

func BenchmarkLoadDirectory(b *testing.B) {
	const trackers = 100_000
	file := filepath.Join(b.TempDir(), "directory.yaml")
	must(b, os.WriteFile(file, bigDirectory(trackers), 0o600))
	b.ReportAllocs()
	for b.Loop() {
		f, err := LoadDirectory(file)
		must(b, err)
		if len(f.Trackers) != trackers {
			b.Fatalf("%d trackers", len(f.Trackers))
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys>>20), "MiB-heap-taken")
}

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
