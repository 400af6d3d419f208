package sqlitestore_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"
)

func TestAdminContract(t *testing.T) {
	queuetest.RunAdmin(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		return fixture(t,
			sqlitestore.Options{})
	})
}

// TestRemovalIsFinished: the process that removed a tracker ended before all of its messages were
// gone; the tracker that comes again begins with none of them, and the next process removes what is
// left of others.
func TestRemovalIsFinished(t *testing.T) {
	o := sqlitestore.Options{Path: t.TempDir()}
	s := open(t, o)
	edit := func(kind queue.EditKind, id queue.TrackerID) {
		t.Helper()
		res, err := s.EditDirectory(t.Context(), []queue.Edit{{
			Kind: kind,
			Tracker: queue.Tracker{
				ID: id, Account: 1, Protocol: "jt808", DeviceID: fmt.Sprint(id),
			},
		}})
		if err != nil || res[0].Err != nil {
			t.Fatal(res, err)
		}
	}
	_, err := s.ImportDirectory(t.Context(), []queue.Account{{ID: 1, Login: "a"}}, nil, false)
	must(t, err)
	db := other(t, o.Path)
	old := map[queue.TrackerID][]int64{}
	for id := queue.TrackerID(1); id <= 2; id++ {
		edit(queue.EditPutTracker, id)
		edit(queue.EditDropTracker, id)
		old[id] = mustSend(t, s, id, "one") // as if it were from before
		_, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: id, ID: old[id][0]}})
		must(t, err)
	}
	execute(t, db, "INSERT INTO purge (tracker) VALUES (1)")
	edit(queue.EditPutTracker, 1)
	wantStored(t, s, 1, nil)
	fresh := mustSend(t, s, 1, "fresh")
	execute(t, db, "INSERT INTO purge (tracker) VALUES (2)")
	must(t, s.Close())
	s = open(t, o)
	wantStored(t, s, 1, fresh)
	wantStored(t, s, 2, nil)
	if found, err := s.Find(t.Context(), append(old[1], old[2]...)); err != nil ||
		slices.ContainsFunc(found, func(m queue.Message) bool { return m.ID != 0 }) {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestRemovalsAreForgotten: of very many only the newest are told one by one; who has seen less
// begins anew.
func TestRemovalsAreForgotten(t *testing.T) {
	const removed, remembered = 16_000, 10_000
	s := open(t, sqlitestore.Options{Path: t.TempDir()})
	account := []queue.Account{{ID: 1, Login: "a"}}
	trackers := make([]queue.Tracker, removed)
	for i := range trackers {
		id := queue.TrackerID(i + 1)
		trackers[i] = queue.Tracker{
			ID: id, Account: 1, Protocol: "jt808", DeviceID: fmt.Sprint(id),
		}
	}
	_, err := s.ImportDirectory(t.Context(), account, trackers, false)
	must(t, err)
	before := removed + 1 // version: one for each row
	d, err := s.DirectoryChanges(t.Context(), int64(before), 10)
	if err != nil || d.More || len(d.Trackers) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	_, err = s.ImportDirectory(t.Context(), account, nil, true)
	must(t, err)
	if d, err := s.DirectoryChanges(t.Context(), int64(before), 10); !errors.Is(err,
		queue.ErrTooOld) {
		t.Errorf("%d changes, %v", len(d.GoneTrackers), err)
	}
	d, err = s.DirectoryChanges(t.Context(), int64(before+removed-remembered), removed)
	if err != nil || len(d.GoneTrackers) != remembered {
		t.Errorf("%d changes, %v", len(d.GoneTrackers), err)
	}
}
