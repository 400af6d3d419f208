package gateway

const wheelSlots = 1200 // at tickEvery each: a minute

// wheel is a shard's timers: a session has at most one place in it. What is due later than a turn
// comes round and is put in again. A slot is a list through the sessions themselves, by their
// places among the shard's open ones, so that the wheel of any number of them takes no memory of
// its own. Owned by the shard.
type wheel struct {
	shard *shard
	first [wheelSlots]int32 // place of a slot's first session, from 1; 0 none
	at    int64             // ticks of clock.ms that have been run
}

func ticks(ms int64) int64 { return ms / tickEvery.Milliseconds() }

func (w *wheel) start(ms int64) { w.at = ticks(ms) }

// arm has s fire in the first tick at or after ms, a tick from now at the earliest, unless it fires
// earlier anyhow.
func (w *wheel) arm(s *session, ms int64) {
	tick := min(max(ticks(ms+tickEvery.Milliseconds()-1), w.at+1), w.at+wheelSlots-1)
	if s.wheelSlot != 0 {
		if w.at+(int64(s.wheelSlot-1)-w.at%wheelSlots+wheelSlots)%wheelSlots <= tick {
			return
		}
		w.remove(s)
	}
	slot := tick % wheelSlots
	s.wheelSlot, s.wheelPrev, s.wheelNext = int16(slot)+1, 0, w.first[slot]
	w.link(s)
}

// link makes the neighbours of s know where it is.
func (w *wheel) link(s *session) {
	if s.wheelSlot == 0 {
		return
	}
	place := s.place + 1
	if s.wheelPrev == 0 {
		w.first[s.wheelSlot-1] = place
	} else {
		w.shard.live[s.wheelPrev-1].wheelNext = place
	}
	if s.wheelNext != 0 {
		w.shard.live[s.wheelNext-1].wheelPrev = place
	}
}

// remove takes s out; it does nothing if s is not in.
func (w *wheel) remove(s *session) {
	if s.wheelSlot == 0 {
		return
	}
	if s.wheelPrev == 0 {
		w.first[s.wheelSlot-1] = s.wheelNext
	} else {
		w.shard.live[s.wheelPrev-1].wheelNext = s.wheelNext
	}
	if s.wheelNext != 0 {
		w.shard.live[s.wheelNext-1].wheelPrev = s.wheelPrev
	}
	s.wheelSlot, s.wheelPrev, s.wheelNext = 0, 0, 0
}

// advance takes out what is due up to ms and calls fire for each. After a pause it runs at most one
// turn.
func (w *wheel) advance(ms int64, fire func(*session)) {
	to := ticks(ms)
	if to-w.at > wheelSlots {
		w.at = to - wheelSlots
	}
	for w.at < to {
		w.at++
		for first := &w.first[w.at%wheelSlots]; *first != 0; {
			s := w.shard.live[*first-1]
			w.remove(s)
			fire(s) // never puts it in here again
		}
	}
}
