package gateway

import (
	"math/bits"
	"sync"

	"trackchat/queue"
)

const stripes = 64

// registry finds the session of a tracker on this node. Striped, so that logins and wakes of
// different trackers do not meet.
type registry struct {
	stripe [stripes]struct {
		sync.Mutex
		sessionTable
	}
}

// swap makes s the tracker's session and returns the one it replaces, nil if none.
func (r *registry) swap(t queue.TrackerID, s *session) *session {
	st := &r.stripe[uint64(t)%stripes]
	st.Lock()
	defer st.Unlock()
	return st.put(t, s)
}

// remove takes s out unless another session has taken its place.
func (r *registry) remove(t queue.TrackerID, s *session) {
	st := &r.stripe[uint64(t)%stripes]
	st.Lock()
	defer st.Unlock()
	st.drop(t, s)
}

func (r *registry) get(t queue.TrackerID) *session {
	st := &r.stripe[uint64(t)%stripes]
	st.Lock()
	defer st.Unlock()
	return st.get(t)
}

func (r *registry) len() int {
	n := 0
	for i := range r.stripe {
		st := &r.stripe[i]
		st.Lock()
		n += st.count
		st.Unlock()
	}
	return n
}

// sessionTable holds sessions by their trackers. Open addressing: a session takes not much more
// than the pointer, and the table gets smaller again, which maps do not.
type sessionTable struct {
	slots []*session // a power of two of them, or none; from an eighth to three quarters are in use
	count int
}

const leastSlots = 8

// home is where the search for a tracker begins.
func (st *sessionTable) home(t queue.TrackerID) int {
	return int(uint64(t) * 0x9E3779B97F4A7C15 >> bits.LeadingZeros64(uint64(len(st.slots)-1)))
}

func (st *sessionTable) after(i int) int { return (i + 1) & (len(st.slots) - 1) }

// find returns the slot of a tracker's session, or the free one where it would be. There must be
// slots.
func (st *sessionTable) find(t queue.TrackerID) int {
	i := st.home(t)
	for st.slots[i] != nil && st.slots[i].tracker != t {
		i = st.after(i)
	}
	return i
}

func (st *sessionTable) get(t queue.TrackerID) *session {
	if len(st.slots) == 0 {
		return nil
	}
	return st.slots[st.find(t)]
}

// put enters s as the session of t and returns the one it replaces, nil if none.
func (st *sessionTable) put(t queue.TrackerID, s *session) *session {
	if 4*(st.count+1) > 3*len(st.slots) {
		st.resize(max(2*len(st.slots), leastSlots))
	}
	slot := &st.slots[st.find(t)]
	old := *slot
	*slot = s
	if old == nil {
		st.count++
	}
	return old
}

// drop takes s out; it does nothing if s is not in. What was put behind s because its own slot was
// taken moves up.
func (st *sessionTable) drop(t queue.TrackerID, s *session) {
	if st.get(t) != s || s == nil {
		return
	}
	free := st.find(t)
	for i := st.after(free); st.slots[i] != nil; i = st.after(i) {
		mask := len(st.slots) - 1
		if (i-st.home(st.slots[i].tracker))&mask >= (i-free)&mask {
			st.slots[free] = st.slots[i]
			free = i
		}
	}
	st.slots[free] = nil
	st.count--
	if len(st.slots) > leastSlots && 8*st.count < len(st.slots) {
		st.resize(len(st.slots) / 2)
	}
}

func (st *sessionTable) resize(n int) {
	old := st.slots
	st.slots = make([]*session, n)
	for _, s := range old {
		if s != nil {
			st.slots[st.find(s.tracker)] = s
		}
	}
}
