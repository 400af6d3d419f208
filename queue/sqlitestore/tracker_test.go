package sqlitestore_test

import (
	"runtime"
	"slices"
	"testing"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// TestSessionsAtRestTakeNoMemory has very many devices log in and be heard of, none of which has a
// message.
func TestSessionsAtRestTakeNoMemory(t *testing.T) {
	const n, most = 20_000, 16 // bytes a tracker; a cached one takes about 190
	s := open(t, sqlitestore.Options{Path: t.TempDir()})
	ids := make([]queue.TrackerID, n)
	for i := range ids {
		ids[i] = queue.TrackerID(i + 1)
	}
	log := func(ts []queue.TrackerID) {
		t.Helper()
		ls, err := s.Acquire(t.Context(), "node", ts)
		if err == nil {
			err = s.Touch(t.Context(), ls)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	log(ids[:1024]) // what the store needs once
	before := live()
	for some := range slices.Chunk(ids, 1024) {
		log(some)
	}
	if grown := live() - before; grown > n*most {
		t.Errorf("%d bytes a tracker", grown/n)
	}
	runtime.KeepAlive(ids)
}

// live is what is reachable.
func live() int64 {
	runtime.GC()
	runtime.GC() // what pools kept over the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
