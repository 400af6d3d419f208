package sqlitestore_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// TestCorruptKeys: where what a tracker has received cannot be read, no text of a batch is answered
// as stored that is not, nor one of another call that happens to be written with it.
func TestCorruptKeys(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	in := func(text string, trackers ...queue.TrackerID) []queue.Incoming {
		list := make([]queue.Incoming, len(trackers))
		for i, tracker := range trackers {
			list[i] = queue.Incoming{Tracker: tracker, Text: text, Key: 7, Window: time.Hour}
		}
		return list
	}
	db := other(t, dir)
	execute(t, db, "INSERT INTO dedupe (tracker, ring) VALUES (2, x'00')")
	if res, err := s.Receive(t.Context(), in("batch", 1, 2, 3)); !errors.Is(err, queue.ErrCorrupt) {
		t.Fatalf("%+v, %v", res, err)
	}
	for tracker := range queue.TrackerID(4) {
		wantStored(t, s, tracker, nil)
	}
	// Calls that wait for the writer are written together.
	unlock := holdWriter(t, dir)
	var calls sync.WaitGroup
	for tracker := range queue.TrackerID(3) {
		calls.Go(func() {
			res, err := s.Receive(t.Context(), in("alone", tracker+1))
			if err == nil && res[0].Err == nil {
				wantStoredText(t, s, tracker+1, "alone")
			}
			if tracker+1 == 2 != errors.Is(err, queue.ErrCorrupt) {
				t.Errorf("tracker %d: %+v, %v", tracker+1, res, err)
			}
		})
	}
	unlock()
	calls.Wait()
	wantStored(t, s, 2, nil)
	execute(t, db, "DELETE FROM dedupe WHERE tracker = 2")
	if res, err := s.Receive(t.Context(), in("whole again", 2)); err != nil || res[0].ID == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
}

func wantStoredText(t *testing.T, s queue.Store, tracker queue.TrackerID, text string) {
	t.Helper()
	msgs, err := s.List(t.Context(), queue.ListQuery{Tracker: tracker, ToMs: 1 << 52, Limit: 10})
	if err != nil || len(msgs) != 1 || msgs[0].Text != text {
		t.Errorf("tracker %d: %+v, %v", tracker, msgs, err)
	}
}
