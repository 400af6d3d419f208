package queue_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"trackchat/queue"

	"pgregory.net/rapid"
)

func device(id queue.TrackerID, account queue.AccountID, deviceID string) queue.Tracker {
	return queue.Tracker{ID: id, Account: account, Protocol: "p", DeviceID: deviceID, Chat: true}
}

func owned(s *queue.Snapshot, id queue.AccountID) []queue.TrackerID {
	ids := []queue.TrackerID{}
	for t := range s.TrackersOf(id) {
		ids = append(ids, t.ID)
	}
	return ids
}

// A directory holds a million trackers: this fails when a field is added without looking for one to
// give up.
func TestSizeOfATracker(t *testing.T) {
	if size := unsafe.Sizeof(queue.Tracker{}); size > 184 {
		t.Errorf("a tracker takes %d bytes", size)
	}
}

func TestSnapshotSharesNothingThatChanges(t *testing.T) {
	old := queue.NewSnapshot(
		[]queue.Account{
			{ID: 1, Login: "a", Keys: []queue.Key{{Hash: queue.HashKey("k1")}}},
			{ID: 2, Login: "b"},
		},
		[]queue.Tracker{device(10, 1, "10"), device(11, 1, "11"), device(12, 2, "12")},
	)
	s := old.With(queue.DirectoryChanges{
		Version: 9,
		Accounts: []queue.Account{{
			ID: 1, Login: "c",
			Keys: []queue.Key{{Hash: queue.HashKey("k2")}},
		}},
		Trackers:     []queue.Tracker{device(10, 2, "10"), device(13, 1, "11")},
		GoneTrackers: []queue.TrackerID{11},
	})
	if got := owned(old, 1); !slices.Equal(got, []queue.TrackerID{10, 11}) || old.Version() != 0 {
		t.Errorf("old fleet %v, version %d", got, old.Version())
	}
	if got := owned(s, 1); !slices.Equal(got, []queue.TrackerID{13}) || s.Version() != 9 {
		t.Errorf("new fleet %v, version %d", got, s.Version())
	}
	if got := owned(s, 2); !slices.Equal(got, []queue.TrackerID{10, 12}) {
		t.Errorf("fleet of account 2: %v", got)
	}
	for _, c := range []struct {
		s          *queue.Snapshot
		login, key string
		found      bool
		tracker    queue.TrackerID
	}{
		{old, "a", "k1", true, 11},
		{old, "c", "k2", false, 11},
		{s, "c", "k2", true, 13},
		{s, "a", "k1", false, 13},
	} {
		_, _, byLogin := c.s.Login(c.login)
		_, _, byKey := c.s.Key(queue.HashKey(c.key))
		d, _ := c.s.Device("p", "0011")
		if byLogin != c.found || byKey != c.found || d == nil || d.ID != c.tracker {
			t.Errorf("login %s: %v, key %s: %v, device 11: %v", c.login, byLogin, c.key, byKey, d)
		}
	}
}

func TestUpstreamsOfASnapshot(t *testing.T) {
	own := device(2, 1, "2")
	own.Upstream = "a.example:1"
	old := queue.NewSnapshot([]queue.Account{{ID: 1}}, []queue.Tracker{device(1, 1, "1"), own})
	other := own
	other.Upstream = queue.UpstreamNone
	changed := old.With(queue.DirectoryChanges{Trackers: []queue.Tracker{other}})
	gone := changed.With(queue.DirectoryChanges{GoneTrackers: []queue.TrackerID{1, 2}})
	without := old.With(queue.DirectoryChanges{Trackers: []queue.Tracker{device(2, 1, "2")}})
	for i, c := range []struct {
		s    *queue.Snapshot
		want int
	}{{queue.NewSnapshot(nil, nil), 0}, {old, 1}, {changed, 1}, {gone, 0}, {without, 0}} {
		if n := c.s.Upstreams(); n != c.want {
			t.Errorf("snapshot %d: %d, want %d", i, n, c.want)
		}
	}
}

func TestIsUpstream(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "none": true, "a.example:1": true, "192.0.2.1:65535": true, "[::1]:6808": true,
		"localhost:1": true, "None": false, "a.example": false, ":1": false, "a.example:0": false,
		"a.example:65536": false, "a.example:http": false, "::1:6808": false, "1.2.3:4": false,
		"a b:1": false, "http://a.example:1": false, strings.Repeat("a", 64) + ":1": false,
		strings.Repeat("a.", 127) + "a:1": false,
	} {
		if queue.IsUpstream(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// TestSnapshotAgreesWithAMap changes a directory at random and compares every lookup with a plain
// map.
func TestSnapshotAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		trackers := map[queue.TrackerID]queue.Tracker{}
		s := queue.NewSnapshot(nil, nil)
		for round := range rapid.IntRange(1, 12).Draw(rt, "rounds") {
			c := queue.DirectoryChanges{Version: int64(round + 1)}
			touched := map[queue.TrackerID]bool{}
			for range rapid.SampledFrom([]int{0, 1, 3, 900}).Draw(rt, "changes") {
				id := queue.TrackerID(rapid.IntRange(1, 2000).Draw(rt, "id"))
				if touched[id] {
					continue
				}
				touched[id] = true
				if _, ok := trackers[id]; ok && rapid.Bool().Draw(rt, "remove") {
					delete(trackers, id)
					c.GoneTrackers = append(c.GoneTrackers, id)
					continue
				}
				tr := device(id, queue.AccountID(rapid.IntRange(1, 2).Draw(rt, "account")),
					fmt.Sprint(id, "v", round))
				tr.Upstream = rapid.SampledFrom([]string{
					"", "", queue.UpstreamNone,
					"a.example:1",
				}).Draw(rt, "upstream")
				trackers[id] = tr
				c.Trackers = append(c.Trackers, tr)
			}
			s = s.With(c)
		}
		if _, n := s.Len(); n != len(trackers) {
			rt.Fatalf("%d trackers, want %d", n, len(trackers))
		}
		own := 0
		for _, tr := range trackers {
			if tr.Upstream != "" {
				own++
			}
		}
		if n := s.Upstreams(); n != own {
			rt.Fatalf("%d upstreams, want %d", n, own)
		}
		for account := range queue.AccountID(3) {
			want := []queue.TrackerID{}
			for _, id := range slices.Sorted(maps.Keys(trackers)) {
				if trackers[id].Account == account {
					want = append(want, id)
				}
			}
			if got := owned(s, account); !slices.Equal(got, want) {
				rt.Fatalf("fleet of %d: %v, want %v", account, got, want)
			}
		}
		for id := range queue.TrackerID(2001) {
			want, ok := trackers[id]
			got, found := s.Tracker(id)
			if found != ok || ok && !queue.SameTracker(got, &want) {
				rt.Fatalf("tracker %d: %+v, want %+v", id, got, want)
			}
			if d, found := s.Device("p", want.DeviceID); ok && (!found || d.ID != id) {
				rt.Fatalf("device of tracker %d: %+v", id, d)
			}
		}
	})
}

func million(accounts int) *queue.Snapshot {
	const n = 1_000_000
	as := make([]queue.Account, accounts)
	for i := range as {
		as[i] = queue.Account{ID: queue.AccountID(i + 1)}
	}
	ts := make([]queue.Tracker, n)
	for i := range ts {
		ts[i] = device(queue.TrackerID(i+1), queue.AccountID(i%accounts+1),
			fmt.Sprint(13_800_000_000+i))
	}
	return queue.NewSnapshot(as, ts)
}

// BenchmarkChangeOneOfAMillion changes the label and the device id of one tracker among a million.
func BenchmarkChangeOneOfAMillion(b *testing.B) {
	for _, accounts := range []int{1, 1000} {
		b.Run(fmt.Sprintf("accounts=%d", accounts), func(b *testing.B) {
			s := million(accounts)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				id := queue.TrackerID(i*7919%1_000_000 + 1)
				i++
				old, _ := s.Tracker(id)
				t := *old
				t.Label, t.DeviceID = fmt.Sprint(i), fmt.Sprint(id, "-", i)
				s = s.With(queue.DirectoryChanges{Version: int64(i), Trackers: []queue.Tracker{t}})
			}
		})
	}
}

func BenchmarkLookupInAMillion(b *testing.B) {
	s := million(1000)
	for name, found := range map[string]func(i int) bool{
		"tracker": func(i int) bool { _, ok := s.Tracker(queue.TrackerID(i + 1)); return ok },
		"device": func(i int) bool {
			_, ok := s.Device("p", strconv.Itoa(13_800_000_000+i))
			return ok
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !found(i * 7919 % 1_000_000) {
					b.Fatal("missing")
				}
			}
		})
	}
}

func BenchmarkIndexAMillion(b *testing.B) {
	for _, accounts := range []int{1, 1000, 1_000_000} {
		b.Run(fmt.Sprintf("accounts=%d", accounts), func(b *testing.B) {
			before := heap()
			var s *queue.Snapshot
			for b.Loop() {
				s = million(accounts)
			}
			b.ReportMetric(float64(heap()-before)/1_000_000, "B/tracker")
			runtime.KeepAlive(s)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
