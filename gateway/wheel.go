package gateway

import "time"

const wheelSlots = 1200 // at tickEvery each: a minute

// wheel is a shard's timers: a session has at most one place in it. What is due later than a turn comes round and is put in again. Owned by the shard.
type wheel struct {
	slots [wheelSlots][]*session
	at    int64 // ticks since 1970 that have been run
}

func ticks(t time.Time) int64 { return t.UnixNano() / int64(tickEvery) }

func (w *wheel) start(now time.Time) { w.at = ticks(now) }

// add puts s in for the first tick at or after its time, a tick from now at the earliest.
func (w *wheel) add(s *session, at time.Time) {
	w.remove(s)
	tick := min(max(ticks(at.Add(tickEvery-1)), w.at+1), w.at+wheelSlots-1)
	slot := &w.slots[tick%wheelSlots]
	s.wheelSlot, s.wheelPos = int16(tick%wheelSlots)+1, int32(len(*slot))
	*slot = append(*slot, s)
}

// remove takes s out; it does nothing if s is not in.
func (w *wheel) remove(s *session) {
	if s.wheelSlot == 0 {
		return
	}
	slot := w.slots[s.wheelSlot-1]
	last := len(slot) - 1
	slot[s.wheelPos] = slot[last]
	slot[s.wheelPos].wheelPos = s.wheelPos
	slot[last] = nil
	w.slots[s.wheelSlot-1] = slot[:last]
	s.wheelSlot = 0
}

// advance takes out what is due up to now and calls fire for each. A clock that jumps runs at most one turn.
func (w *wheel) advance(now time.Time, fire func(*session)) {
	to := ticks(now)
	if to < w.at || to-w.at > wheelSlots {
		w.at = to - wheelSlots
	}
	for w.at < to {
		w.at++
		slot := w.slots[w.at%wheelSlots]
		w.slots[w.at%wheelSlots] = nil
		for i, s := range slot {
			s.wheelSlot = 0
			slot[i] = nil
			fire(s)
		}
		if w.slots[w.at%wheelSlots] == nil && cap(slot) <= 64 {
			w.slots[w.at%wheelSlots] = slot[:0]
		}
	}
}
