package gateway

import (
	"testing"

	"trackchat/queue"

	"pgregory.net/rapid"
)

// TestRegistryAgainstMap has sessions come, take over and go.
func TestRegistryAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, want := new(registry), map[queue.TrackerID]*session{}
		most := rapid.SampledFrom([]int64{10, 1000, 1 << 40}).Draw(t, "trackers")
		var known []queue.TrackerID
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			id := queue.TrackerID(rapid.Int64Range(1, most).Draw(t, "tracker"))
			if len(known) > 0 && rapid.Bool().Draw(t, "again") {
				id = rapid.SampledFrom(known).Draw(t, "known")
			}
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				s := &session{delivery: delivery{tracker: id}}
				if old := r.swap(id, s); old != want[id] {
					t.Fatalf("tracker %d: replaced %p, want %p", id, old, want[id])
				}
				want[id] = s
				known = append(known, id)
			case 2:
				r.remove(id, want[id])
				delete(want, id)
			case 3:
				r.remove(id, &session{delivery: delivery{tracker: id}}) // one that was taken over
			}
		}
		if n := r.len(); n != len(want) {
			t.Fatalf("%d sessions, want %d", n, len(want))
		}
		for _, id := range known {
			if s := r.get(id); s != want[id] {
				t.Fatalf("tracker %d: %p, want %p", id, s, want[id])
			}
		}
	})
}

// TestRegistryGivesRoomBack has very many sessions come and go.
func TestRegistryGivesRoomBack(t *testing.T) {
	r := new(registry)
	const n = 100_000
	sessions := make([]session, n)
	for i := range sessions {
		sessions[i].tracker = queue.TrackerID(i + 1)
		r.swap(sessions[i].tracker, &sessions[i])
	}
	for i := range sessions {
		r.remove(sessions[i].tracker, &sessions[i])
	}
	room := 0
	for i := range r.stripe {
		room += len(r.stripe[i].slots)
	}
	if r.len() != 0 || room > stripes*leastSlots {
		t.Errorf("%d sessions, room for %d", r.len(), room)
	}
}
