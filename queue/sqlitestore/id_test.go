package sqlitestore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"github.com/google/go-cmp/cmp"
)

// TestIDsAreSmall: clients of the platform keep ids in 32 bits, so that none may be wasted, neither
// on partitions that this store does not have nor on a restore.
func TestIDsAreSmall(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	if got := mustSend(t, s, 1, "a", "b", "c"); !slices.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("the first ids are %v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, sqlitestore.Options{Path: dir})
	if got := mustSend(t, s, 2, "d"); got[0] != 4 {
		t.Errorf("after a restart: id %d", got[0])
	}
	last := int64(4)
	for range 3 { // a copy of a copy of a copy
		file := filepath.Join(t.TempDir(), "copy")
		if err := sqlitestore.Backup(t.Context(), dir, file); err != nil {
			t.Fatal(err)
		}
		dir = t.TempDir()
		if err := os.Rename(file, filepath.Join(dir, "chat.db")); err != nil {
			t.Fatal(err)
		}
		s = open(t, sqlitestore.Options{Path: dir})
		// A store that runs has reserved some beforehand.
		if id := mustSend(t, s, 1, "after the restore")[0]; id <= last+1<<19 ||
			id > last+1<<20+1<<17 {
			t.Errorf("after a restore: id %d, the last one was %d", id, last)
		} else {
			last = id
		}
	}
}

// TestOldBackups: what may have been given since the copy is left out, be it restored after a
// month, and be the copy copied before anybody opened it.
func TestOldBackups(t *testing.T) {
	const leap = 1 << 20
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	last := mustSend(t, s, 1, "before the copy")[0]
	for range 2 {
		file := filepath.Join(t.TempDir(), "copy")
		if err := sqlitestore.Backup(t.Context(), dir, file); err != nil {
			t.Fatal(err)
		}
		dir = t.TempDir()
		if err := os.Rename(file, filepath.Join(dir, "chat.db")); err != nil {
			t.Fatal(err)
		}
	}
	after := func(by time.Duration) sqlitestore.Options {
		return sqlitestore.Options{Path: dir, Now: func() time.Time { return time.Now().Add(by) }}
	}
	const month = 30*24*time.Hour + time.Hour
	for range 2 { // opened and not used
		if err := open(t, after(month)).Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, after(2*month))
	id := mustSend(t, s, 1, "a month later")[0]
	if id < last+31*leap || id > last+33*leap {
		t.Errorf("id %d, %.1f leaps after %d", id, float64(id-last)/leap, last)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if next := mustSend(t, open(t, after(3*month)), 1, "then")[0]; next != id+1 {
		t.Errorf("id %d after %d", next, id)
	}
}

// TestOldIDsStay: a store whose ids had a partition in their low 8 bits goes on above them.
func TestOldIDsStay(t *testing.T) {
	dir := t.TempDir()
	ofSchema(t, dir, 6, "UPDATE meta SET value = 3 WHERE name = 'reserved'",
		"INSERT INTO message (id, tracker, status, submit_ms, change_ms, employee, reply_to, text) VALUES (256, 1, 68, 1, 1, 0, 0, 'a'), (512, 1, 85, 2, 2, 0, 0, 'b'), (768, 1, 80, 3, 3, 0, 256, 'c')",
		"INSERT INTO tracker (id, last_ms, change_ms, pending, unread, last_out, epoch, owner) VALUES (1, 3, 3, 1, 1, 768, 0, '')",
	)
	s := open(t, sqlitestore.Options{Path: dir})
	in, err := s.Receive(t.Context(), []queue.Incoming{{Tracker: 1, Text: "new"}})
	if err != nil || in[0].ID != 769 {
		t.Fatalf("new id: %+v %v", in, err)
	}
	wantStored(t, s, 1, []int64{256, 512, 768, 769})
	found, err := s.Find(t.Context(), []int64{256, 512, 768, 769, 1, 770})
	for i, want := range []int64{256, 512, 768, 769, 0, 0} {
		if m := found[i]; m.ID != want || want != 0 && m.Tracker != 1 {
			t.Errorf("found %+v, want %d", m, want)
		}
	}
	must(t, err)
	if acks, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: 768}}); err != nil ||
		acks[0] != queue.AckDelivered {
		t.Errorf("ack %v %v", acks, err)
	}
	if n, err := s.MarkReadAll(t.Context(), []queue.TrackerID{1}); err != nil || n != 2 {
		t.Errorf("%d marked read: %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now); err != nil ||
		len(rep.Problems) > 0 {
		t.Errorf("%+v %v", rep, err)
	}
}

// ofSchema makes a file of an earlier version of the schema, with what queries put into it.
func ofSchema(t *testing.T, dir string, version int, queries ...string) {
	t.Helper()
	db := other(t, dir)
	for n := 1; n <= version; n++ {
		scripts, err := filepath.Glob(fmt.Sprintf("schema/%03d_*.sql", n))
		if err != nil || len(scripts) != 1 {
			t.Fatalf("scripts %q: %v", scripts, err)
		}
		text, err := os.ReadFile(scripts[0])
		must(t, err)
		execute(t, db, string(text))
	}
	for _, q := range append(queries, fmt.Sprint("PRAGMA user_version = ", version)) {
		execute(t, db, q)
	}
	must(t, db.Close())
}

// TestTrackersOfAnEarlierVersion: the trackers of a file from before employees had names, and
// trackers upstreams, stay as they are, and can be given some.
func TestTrackersOfAnEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	ofSchema(t, dir, 9, "INSERT INTO account (id, login, password, title, time_zone, version)"+
		" VALUES (1, '', '', '', 'UTC', 1)",
		"INSERT INTO device (tracker, account, label, protocol, device_id, password, model,"+
			" blocked, chat, employee, version) VALUES (2, 1, 'Truck', 'p', '2', '', '', 0, 1, 7, 2)",
		"UPDATE meta SET value = 2 WHERE name = 'directory_version'")
	s := open(t, sqlitestore.Options{Path: dir})
	want := queue.Tracker{
		ID: 2, Account: 1, Label: "Truck", Protocol: "p", DeviceID: "2",
		Chat: true,
	}
	want.Employee = 7
	for _, c := range []struct {
		record   *queue.EmployeeRecord
		upstream string
	}{{}, {&queue.EmployeeRecord{FirstName: "Ann"}, ""}, {nil, "a.example:1"}} {
		want.EmployeeRecord, want.Upstream = c.record, c.upstream
		_, err := s.ImportDirectory(t.Context(), nil, []queue.Tracker{want}, false)
		must(t, err)
		_, got, err := s.LoadDirectory(t.Context())
		must(t, err)
		if d := cmp.Diff([]queue.Tracker{want}, got); d != "" {
			t.Errorf("trackers (-want +got):\n%s", d)
		}
	}
}
