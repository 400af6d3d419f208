package sqlitestore_test

import (
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// inspected opens the store's file aside and wants it sound.
func inspected(t *testing.T, dir string) {
	t.Helper()
	rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
	if err != nil || len(rep.Problems) != 0 {
		t.Fatalf("the file suffered: %+v %v", rep, err)
	}
}

// wantStored checks that exactly ids are stored.
func wantStored(t *testing.T, s queue.Store, tracker queue.TrackerID, ids []int64) {
	t.Helper()
	msgs, err := s.List(t.Context(), queue.ListQuery{Tracker: tracker, ToMs: 1 << 52, Limit: 1024})
	if err != nil {
		t.Fatal(err)
	}
	if len(msgs) != len(ids) {
		t.Fatalf("%d messages, want %d", len(msgs), len(ids))
	}
	for i, m := range msgs {
		if m.ID != ids[i] {
			t.Fatalf("message %d is %d, want %d", i, m.ID, ids[i])
		}
	}
}

// wantPending checks the count that the writer keeps.
func wantPending(t *testing.T, s queue.Store, tracker queue.TrackerID, n int) {
	t.Helper()
	ls, err := s.Acquire(t.Context(), "counter", []queue.TrackerID{tracker})
	if err != nil || ls[0].Pending != n {
		t.Fatalf("%+v, want %d pending: %v", ls, n, err)
	}
}
