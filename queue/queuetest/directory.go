package queuetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func directoryRules() []rule {
	return []rule{
		{"import and load", importLoads},
		{"update, prune, unchanged", importUpdates},
		{"devices and logins may change places", importSwaps},
		{"conflicts are refused and name both sides", importConflicts},
		{"many trackers", importMany},
		{"messages stay when their tracker goes", importKeepsMessages},
	}
}

func someAccounts() []queue.Account {
	return []queue.Account{
		{
			ID: 2, Login: "second", Title: "Second", TimeZone: "UTC",
			Keys: []queue.Key{
				{
					Hash: queue.HashKey("bb"), Name: "ERP «нов»", Role: queue.RoleDispatcher,
					EndMs: 4_102_444_800_123,
				},
				{Hash: queue.HashKey("aa")},
			},
		},
		{
			ID: 1, Login: "first", Password: "$argon2id$…", Title: "First «fleet»",
			TimeZone: "Europe/Berlin", Keys: []queue.Key{{Hash: queue.HashKey("cc")}},
			People: &queue.People{
				LastID: 9,
				Users: []queue.User{
					{
						ID: 1, Login: "ann", Password: "$argon2id$…", Name: "Ann «A.»",
						Role: queue.RoleViewer, Locale: "de_DE",
					},
					{ID: 4, Login: "bob", Name: "Bob", Role: queue.RoleManager},
				},
				Groups: []queue.Group{{ID: 2, Title: "North", Color: "FF6DDC"}},
				Templates: []queue.Template{{
					ID: 3, Name: "Call", Text: "Call {label}\n\"now\"",
					Choices: []string{"yes", "no"}, TTL: 3600,
				}},
			},
		},
		{ID: 3},
		{ID: 4},
	}
}

func someTrackers() []queue.Tracker {
	return []queue.Tracker{
		{
			ID: 20, Account: 1, Label: "Truck", Protocol: "jt808", DeviceID: "013812345678",
			Password: "pw", Model: "m", Blocked: true, Chat: true,
			Features: []string{"chat", "fuel"}, Employee: 7,
			Sorting:  &queue.Sorting{Group: 2, Tags: []string{"frigo", "нов"}},
			Settings: map[string]string{"part_bytes": "512", "x": ""}, Upstream: "[::1]:6808",
			EmployeeRecord: &queue.EmployeeRecord{
				FirstName: "Ann «A.»", LastName: "O'Neil",
				Phone: "+49 1",
			},
		},
		{ID: 10, Account: 1, Protocol: "wialon", DeviceID: "ABC"},
		{
			ID: 30, Account: 2, Protocol: "jt808", DeviceID: "abc", Chat: true,
			Features: []string{"chat"},
		},
	}
}

func (c *check) load() ([]queue.Account, []queue.Tracker) {
	c.Helper()
	accounts, trackers, err := c.Store.LoadDirectory(c.Context())
	c.must(err)
	return accounts, trackers
}

func (c *check) importAll(accounts []queue.Account, trackers []queue.Tracker, prune bool,
	want queue.ImportStats,
) {
	c.Helper()
	got, err := c.Store.ImportDirectory(c.Context(), accounts, trackers, prune)
	c.must(err)
	if got != want {
		c.Fatalf("import: %+v, want %+v", got, want)
	}
}

func sortDirectory(accounts []queue.Account, trackers []queue.Tracker) {
	slices.SortFunc(accounts, func(a, b queue.Account) int { return int(a.ID - b.ID) })
	slices.SortFunc(trackers, func(a, b queue.Tracker) int { return int(a.ID - b.ID) })
}

// wantDirectory compares what is stored with accounts and trackers, whatever their order.
func (c *check) wantDirectory(accounts []queue.Account, trackers []queue.Tracker) {
	c.Helper()
	accounts, trackers = slices.Clone(accounts), slices.Clone(trackers)
	sortDirectory(accounts, trackers)
	for i := range trackers {
		trackers[i].DeviceID = queue.NormalizeDeviceID(trackers[i].DeviceID)
	}
	gotAccounts, gotTrackers := c.load()
	if d := cmp.Diff(accounts, gotAccounts, cmpopts.EquateEmpty()); d != "" {
		c.Fatalf("accounts (-want +got):\n%s", d)
	}
	if d := cmp.Diff(trackers, gotTrackers, cmpopts.EquateEmpty()); d != "" {
		c.Fatalf("trackers (-want +got):\n%s", d)
	}
}

func importLoads(c *check) {
	c.wantDirectory(nil, nil)
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	c.wantDirectory(someAccounts(), someTrackers())
	c.reopen()
	c.wantDirectory(someAccounts(), someTrackers())
	s := queue.NewSnapshot(c.load())
	if t, ok := s.Device("jt808", "13812345678"); !ok || t.ID != 20 {
		c.Fatalf("device: %+v", t)
	}
	if a, k, ok := s.Key(queue.HashKey("AA")); !ok || a.ID != 2 || k.Role != queue.RoleManager {
		c.Fatalf("key: %+v, %+v", a, k)
	}
}

func importUpdates(c *check) {
	accounts, trackers := someAccounts(), someTrackers()
	c.importAll(accounts, trackers, false, queue.ImportStats{Added: 7})
	c.importAll(accounts, trackers, true, queue.ImportStats{Unchanged: 7})
	accounts[0].Keys = accounts[0].Keys[:1]
	trackers[0].Settings = map[string]string{"x": "y"}
	trackers[1].Blocked = true
	c.importAll(accounts[:1], trackers[:2], false, queue.ImportStats{Updated: 3})
	c.wantDirectory(accounts, trackers)
	c.importAll(accounts[:2], trackers[:2], true, queue.ImportStats{Unchanged: 4, Removed: 3})
	c.reopen()
	c.wantDirectory(accounts[:2], trackers[:2])
	// Only what is known of the employees is another one.
	trackers[0].EmployeeRecord = nil
	trackers[1].EmployeeRecord = &queue.EmployeeRecord{Phone: "1"}
	c.importAll(nil, trackers[:2], false, queue.ImportStats{Updated: 2})
	c.wantDirectory(accounts[:2], trackers[:2])
	trackers[1].EmployeeRecord = &queue.EmployeeRecord{Phone: "2"}
	c.importAll(nil, trackers[:2], false, queue.ImportStats{Updated: 1, Unchanged: 1})
	c.wantDirectory(accounts[:2], trackers[:2])
	// Only where their devices are answered.
	trackers[0].Upstream, trackers[1].Upstream = "", queue.UpstreamNone
	c.importAll(nil, trackers[:2], false, queue.ImportStats{Updated: 2})
	c.wantDirectory(accounts[:2], trackers[:2])
	c.importAll(nil, []queue.Tracker{{ID: 5, Account: 1, Protocol: "p", DeviceID: "5"}}, false,
		queue.ImportStats{Added: 1})
	c.importAll(nil, nil, false, queue.ImportStats{})
	c.importAll(nil, nil, true, queue.ImportStats{Removed: 5})
	c.wantDirectory(nil, nil)
}

func importSwaps(c *check) {
	accounts, trackers := someAccounts(), someTrackers()
	c.importAll(accounts, trackers, false, queue.ImportStats{Added: 7})
	accounts[0].Login, accounts[1].Login = accounts[1].Login, accounts[0].Login
	accounts[0].Keys, accounts[1].Keys = accounts[1].Keys, accounts[0].Keys
	trackers[0].Protocol, trackers[1].Protocol = trackers[1].Protocol, trackers[0].Protocol
	trackers[0].DeviceID, trackers[1].DeviceID = trackers[1].DeviceID, trackers[0].DeviceID
	c.importAll(accounts, trackers, true, queue.ImportStats{Updated: 4, Unchanged: 3})
	c.wantDirectory(accounts, trackers)
	moved := queue.Tracker{
		ID: 99, Account: 2, Protocol: trackers[2].Protocol,
		DeviceID: trackers[2].DeviceID,
	}
	c.importAll(accounts, append(trackers[:2:2], moved), true, queue.ImportStats{
		Added:   1,
		Removed: 1, Unchanged: 6,
	})
}

func importConflicts(c *check) {
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	for _, bad := range []struct {
		name     string
		accounts []queue.Account
		trackers []queue.Tracker
		prune    bool
		words    []string
	}{
		{"same device", nil, []queue.Tracker{{
			ID: 41, Account: 1, Protocol: "jt808",
			DeviceID: "0ABC",
		}}, false, []string{"30", "41", "jt808"}},
		{
			"same device in one import", nil,
			[]queue.Tracker{{
				ID: 41, Account: 1, Protocol: "p",
				DeviceID: "1",
			}, {ID: 42, Account: 1, Protocol: "p", DeviceID: "01"}},
			false,
			[]string{"41", "42"},
		},
		{"unknown account", nil, []queue.Tracker{{
			ID: 41, Account: 77, Protocol: "p",
			DeviceID: "1",
		}}, false, []string{"41", "77"}},
		{"account is pruned", []queue.Account{{ID: 9}}, someTrackers(), true, []string{"10", "1"}},
		{"same id", nil, []queue.Tracker{{ID: 41, Account: 1, DeviceID: "1"}, {
			ID: 41, Account: 1,
			DeviceID: "2",
		}}, false, []string{"41"}},
		{
			"same account id",
			[]queue.Account{{ID: 8, Login: "x"}, {ID: 8, Login: "y"}},
			nil, false,
			[]string{"8"},
		},
		{"same login", []queue.Account{{ID: 8, Login: "first"}}, nil, false, []string{
			"8", "1",
			"first",
		}},
		{
			"same key",
			[]queue.Account{{ID: 8, Keys: []queue.Key{{Hash: queue.HashKey("cc")}}}},
			nil,
			false,
			[]string{"8", "1"},
		},
	} {
		_, err := c.Store.ImportDirectory(c.Context(), bad.accounts, bad.trackers, bad.prune)
		if !errors.Is(err, queue.ErrConflict) {
			c.Fatalf("%s: %v", bad.name, err)
		}
		for _, w := range bad.words {
			if !strings.Contains(err.Error(), w) {
				c.Fatalf("%s: %q does not name %s", bad.name, err, w)
			}
		}
		c.wantDirectory(someAccounts(), someTrackers())
	}
}

func importMany(c *check) {
	const n = 2000
	trackers := make([]queue.Tracker, n)
	for i := range trackers {
		trackers[i] = queue.Tracker{
			ID: queue.TrackerID(i + 1), Account: 1, Protocol: "jt808",
			DeviceID: fmt.Sprint(13_800_000_000 + i), Features: []string{"chat"}, Chat: true,
		}
	}
	c.importAll([]queue.Account{{ID: 1}}, trackers, true, queue.ImportStats{Added: n + 1})
	trackers[7].Label = "changed"
	c.importAll([]queue.Account{{ID: 1}}, trackers, true, queue.ImportStats{
		Updated:   1,
		Unchanged: n,
	})
	c.wantDirectory([]queue.Account{{ID: 1}}, trackers)
}

func importKeepsMessages(c *check) {
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	id := c.send(10, "stays")[0]
	c.importAll(nil, nil, true, queue.ImportStats{Removed: 7})
	c.wantStatus(10, id, queue.StatusPending)
	c.importAll(someAccounts(), someTrackers(), false, queue.ImportStats{Added: 7})
	c.wantIDs(c.claim(c.acquire("a", 10), 0, 100).Msgs, []int64{id})
}
