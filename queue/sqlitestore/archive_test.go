package sqlitestore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"github.com/google/go-cmp/cmp"
)

func openArchive(t *testing.T, path string) *sqlitestore.Archive {
	t.Helper()
	a, err := sqlitestore.OpenArchive(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return a
}

// TestArchiveReadsWhatTheStoreHas, of a stopped store and of its backup alike.
func TestArchiveReadsWhatTheStoreHas(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	trackers := []queue.Tracker{
		{ID: 1, Account: 1, Protocol: "jt808", DeviceID: "1"},
		{ID: 3, Account: 1, Protocol: "jt808", DeviceID: "3"},
	}
	if _, err := s.ImportDirectory(t.Context(), []queue.Account{{ID: 1, Login: "a"}}, trackers,
		false); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for i := range 300 {
		for tracker := queue.TrackerID(1); tracker <= 3; tracker++ {
			last = mustSend(t, s, tracker, fmt.Sprint(i))[0]
		}
	}
	want := map[queue.TrackerID][]queue.Message{}
	for tracker := queue.TrackerID(1); tracker <= 2; tracker++ {
		want[tracker] = history(t, s, tracker)
	}
	if res, err := s.EditDirectory(t.Context(), []queue.Edit{{
		Kind:    queue.EditDropTracker,
		Tracker: queue.Tracker{ID: 3},
	}}); err != nil || res[0].Err != nil {
		t.Fatal(res, err)
	}
	backup := filepath.Join(t.TempDir(), "copy.db")
	if err := sqlitestore.Backup(t.Context(), dir, backup); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitestore.OpenArchive(dir); !errors.Is(err, queue.ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"directory": dir, "file": filepath.Join(dir,
		"chat.db"), "backup": backup} {
		t.Run(name, func(t *testing.T) { readArchive(t, openArchive(t, path), want, last) })
	}
}

// TestArchivePages: a page has a message at least, no more than asked for, and not much more text.
func TestArchivePages(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	for range 6 {
		mustSend(t, s, 1, "0123456789")
	}
	must(t, s.Close())
	a := openArchive(t, dir)
	for _, c := range []struct{ limit, bytes, want int }{
		{3, 1 << 20, 3},
		{100, 1 << 20, 6},
		{100, 25, 3},
		{100, 30, 3},
		{100, 31, 4},
		{100, 1, 1},
		{1, 1, 1},
	} {
		if ms, err := a.Messages(0, c.limit, c.bytes); err != nil || len(ms) != c.want {
			t.Errorf("%+v: %d messages, %v", c, len(ms), err)
		}
	}
}

func readArchive(t *testing.T, a *sqlitestore.Archive, want map[queue.TrackerID][]queue.Message,
	last int64,
) {
	t.Helper()
	counts, err := a.Trackers(t.Context())
	if diff := cmp.Diff(map[queue.TrackerID]int{1: 300, 2: 300}, counts); err != nil || diff != "" {
		t.Errorf("%v, trackers (-want +got):\n%s", err, diff)
	}
	if id, err := a.LastID(); err != nil || id < last {
		t.Errorf("last id %d %v, a message had %d", id, err, last)
	}
	if accounts, trackers, err := a.Directory(t.Context()); err != nil || len(accounts) != 1 ||
		len(trackers) != 1 {
		t.Errorf("directory: %v %v %v", accounts, trackers, err)
	}
	got := map[queue.TrackerID][]queue.Message{}
	for after, pages := int64(0), 0; ; pages++ {
		ms, err := a.Messages(after, 70, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(ms) == 0 {
			if pages < 9 {
				t.Errorf("all in %d pages", pages)
			}
			break
		}
		for _, m := range ms {
			if m.ID <= after {
				t.Fatalf("id %d after %d", m.ID, after)
			}
			after = m.ID
			got[m.Tracker] = append(got[m.Tracker], m)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	var one []queue.Message
	for {
		var after queue.Message
		if len(one) > 0 {
			after = one[len(one)-1]
		}
		ms, err := a.History(1, after, 64)
		if err != nil {
			t.Fatal(err)
		}
		if one = append(one, ms...); len(ms) < 64 {
			break
		}
	}
	if diff := cmp.Diff(want[1], one); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	for i, m := range want[2] {
		before := i - slices.IndexFunc(want[2],
			func(o queue.Message) bool { return o.SubmitMs == m.SubmitMs })
		if found, n, err := a.Find(2, m.ID); err != nil || found.Text != m.Text || n != before {
			t.Fatalf("%+v %d %v, want %d", found, n, err, before)
		}
	}
	if m, _, err := a.Find(1, want[2][0].ID); err != nil || m.ID != 0 {
		t.Errorf("another tracker's message: %+v %v", m, err)
	}
}

// TestArchiveIsLocked: no service starts on a store that is being read.
func TestArchiveIsLocked(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, sqlitestore.Options{Path: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, dir)
	if _, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
		Path: dir,
		Now:  time.Now,
	}); !errors.Is(err, queue.ErrInUse) {
		t.Errorf("beside an archive: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, sqlitestore.Options{Path: dir})
}

func TestArchiveRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "missing")} {
		if _, err := sqlitestore.OpenArchive(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	wantNothingIn(t, dir)
	for name, content := range map[string]string{
		"empty": "",
		"other": strings.Repeat("not a database ", 1000),
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlitestore.OpenArchive(file); !errors.Is(err, queue.ErrCorrupt) {
			t.Errorf("%s file: %v", name, err)
		}
	}
	if err := open(t, sqlitestore.Options{Path: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	db := other(t, dir)
	execute(t, db, "PRAGMA user_version = 1")
	if _, err := sqlitestore.OpenArchive(dir); err == nil ||
		!strings.Contains(err.Error(), "start a service of this version on the store once") {
		t.Errorf("older schema: %v", err)
	}
	execute(t, db, "PRAGMA user_version = 99")
	if _, err := sqlitestore.OpenArchive(dir); !errors.Is(err, sqlitestore.ErrNewerSchema) {
		t.Errorf("newer schema: %v", err)
	}
}
