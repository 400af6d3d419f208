package gateway

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestWheelAgainstTimes has sessions open, close and be armed, and wants each to fire when it is
// due: in the tick of the earliest time it was armed for since it fired last, or after a turn if
// that is longer away.
func TestWheelAgainstTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := int64(1_700_000_000_000)
		sh := new(shard)
		sh.wheel.shard = sh
		sh.wheel.start(at)
		due := map[*session]int64{} // tick
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			s := &session{placement: &placement{shard: sh}}
			if len(sh.live) > 0 {
				s = rapid.SampledFrom(sh.live).Draw(t, "session")
			}
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				sh.enter(&session{placement: &placement{shard: sh}})
			case 1, 2:
				if len(sh.live) == 0 {
					continue
				}
				when := at + rapid.Int64Range(-1000, 120_000).Draw(t, "in")
				tick := min(max(ticks(when+tickEvery.Milliseconds()-1), ticks(at)+1),
					ticks(at)+wheelSlots-1)
				if was, armed := due[s]; !armed || tick < was {
					due[s] = tick
				}
				s.arm(when)
			case 3:
				if len(sh.live) > 0 {
					sh.leave(s)
					delete(due, s)
				}
			case 4:
				at += rapid.SampledFrom([]int64{0, 50, 1000, 30_000, 300_000}).Draw(t, "passes")
				fired := map[*session]int64{}
				sh.wheel.advance(at, func(s *session) { fired[s] = due[s] })
				want := maps.Collect(maps.All(due))
				maps.DeleteFunc(want, func(_ *session, tick int64) bool { return tick > ticks(at) })
				if !maps.Equal(fired, want) {
					t.Fatalf("fired %v, want %v", slices.Collect(maps.Values(fired)),
						slices.Collect(maps.Values(want)))
				}
				maps.DeleteFunc(due, func(s *session, _ int64) bool {
					_,
						gone := fired[s]
					return gone
				})
			}
		}
		for i, s := range sh.live {
			if int(s.place) != i {
				t.Fatalf("session %d says it is at %d", i, s.place)
			}
		}
	})
}
