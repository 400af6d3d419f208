package gateway

import (
	"sync"

	"trackchat/queue"
)

const stripes = 64

// registry finds the session of a tracker on this node. Striped, so that logins and wakes of different trackers do not meet.
type registry struct {
	stripe [stripes]struct {
		sync.Mutex
		sessions map[queue.TrackerID]*session
	}
}

func newRegistry() *registry {
	r := &registry{}
	for i := range r.stripe {
		r.stripe[i].sessions = make(map[queue.TrackerID]*session)
	}
	return r
}

// swap makes s the tracker's session and returns the one it replaces, nil if none.
func (r *registry) swap(t queue.TrackerID, s *session) *session {
	st := &r.stripe[uint64(t)%stripes]
	st.Lock()
	defer st.Unlock()
	old := st.sessions[t]
	st.sessions[t] = s
	return old
}

// remove takes s out unless another session has taken its place.
func (r *registry) remove(t queue.TrackerID, s *session) {
	st := &r.stripe[uint64(t)%stripes]
	st.Lock()
	defer st.Unlock()
	if st.sessions[t] == s {
		delete(st.sessions, t)
	}
}

func (r *registry) get(t queue.TrackerID) *session {
	st := &r.stripe[uint64(t)%stripes]
	st.Lock()
	defer st.Unlock()
	return st.sessions[t]
}

func (r *registry) len() int {
	n := 0
	for i := range r.stripe {
		st := &r.stripe[i]
		st.Lock()
		n += len(st.sessions)
		st.Unlock()
	}
	return n
}

// rounds counts in how many sessions a message of a protocol with unnumbered acks was written and never confirmed. Only trackers in that trouble have an entry.
// Each node counts for itself and from its start: a message whose device moves from node to node is tried that often on each.
type rounds struct {
	door *door
	mu   sync.Mutex
	of   map[queue.TrackerID]round
}

type round struct {
	message int64
	n       int
}

func newRounds(d *door) *rounds { return &rounds{door: d, of: make(map[queue.TrackerID]round)} }

// add counts one more round of message and returns how many there were.
func (r *rounds) add(t queue.TrackerID, message int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.of[t]
	if !known && len(r.of) >= maxRounds {
		r.giveWay()
	}
	if was.message != message {
		was = round{message: message}
	}
	was.n++
	r.of[t] = was
	return was.n
}

// giveWay forgets the count of any one tracker, whose text is tried a few times more for it. Entries stay where a device never comes back.
func (r *rounds) giveWay() {
	for t := range r.of {
		delete(r.of, t)
		r.door.refuse("rounds")
		return
	}
}

func (r *rounds) clear(t queue.TrackerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, t)
}
