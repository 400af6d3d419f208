package gateway

import (
	"slices"
	"sync"

	"trackchat/protocol"
	"trackchat/queue"
)

const (
	knownMinutes = 2       // of a generation; it is looked into for as long again
	maxKnown     = 1 << 16 // texts of one generation; beyond that the oldest are forgotten early
	maxTold      = 16      // of one session
)

// known remembers of which texts with a fleeting key the device knows that they were taken, so that
// the same key means another text from then on, also over its next connection. What is not
// remembered (a device that comes back to another node, a restart) is left to the window of the
// key.
type known struct {
	mu          sync.Mutex
	generation  int64
	now, before map[knownText]keyState
}

type knownText struct {
	tracker queue.TrackerID
	key     uint64
}

// keyState is what a device's key stands for: how many texts it stood for before, whether the one
// that it stands for has ended, and whether the device had numbered that one within its connection.
// A device whose numbers say nothing is not taken to repeat an earlier text.
type keyState struct {
	before         uint32
	ended, inOrder bool
}

func (k *known) turnLocked(minute int64) {
	generation := minute / knownMinutes
	if generation == k.generation && len(k.now) < maxKnown && k.now != nil {
		return
	}
	k.before = k.now
	if generation > k.generation+1 {
		k.before = nil
	}
	k.generation, k.now = generation, make(map[knownText]keyState)
}

// stateLocked returns what is remembered of a key, for as long again.
func (k *known) stateLocked(t knownText) (keyState, bool) {
	state, ok := k.now[t]
	if ok {
		return state, true
	}
	if state, ok = k.before[t]; ok {
		k.now[t] = state
	}
	return state, ok
}

// end notes that the device knows of the text: its key is that of another one now.
func (k *known) end(t queue.TrackerID, key uint64, minute int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turnLocked(minute)
	text := knownText{t, key}
	state, _ := k.stateLocked(text)
	state.ended = true
	k.now[text] = state
}

// key returns the key to store a text under: the device's own until it has ended, then one for each
// time. A copy under an earlier number shows that the device did not know when its key was ended.
func (k *known) key(t queue.TrackerID, e *protocol.Event, minute int64) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turnLocked(minute)
	text := knownText{t, e.Key}
	state, remembered := k.stateLocked(text)
	again := e.Earlier && state.inOrder
	if state.ended && !again {
		state.before++
	}
	if !again {
		state.inOrder = e.Fleeting && !e.Earlier
	}
	state.ended = false
	if remembered || state.inOrder {
		k.now[text] = state
	}
	const step = 0x9E3779B97F4A7C15
	return max(e.Key+uint64(state.before)*step, 1)
}

// told are texts whose answers have been written and that the device may not know of yet.
type told struct {
	keys   []uint64
	copied []uint64 // those of which a copy is in the frame at hand
}

// tell notes that a text with a fleeting key has its answer.
func (a *activity) tell(key uint64) {
	if a.told == nil {
		a.told = &told{}
	}
	if slices.Contains(a.told.keys, key) {
		return
	}
	if len(a.told.keys) == maxTold {
		a.told.keys = slices.Delete(a.told.keys, 0, 1)
	}
	a.told.keys = append(a.told.keys, key)
}

// copies takes note of an event of the frame at hand that has the key of a text that was answered.
func (t *told) copies(key uint64) {
	if slices.Contains(t.keys, key) && !slices.Contains(t.copied, key) {
		t.copied = append(t.copied, key)
	}
}

// wentOn takes a valid frame for the device's knowledge of the answers before it, except to texts
// that it has just repeated.
func (a *activity) wentOn(k *known, t queue.TrackerID, minute int64) {
	kept := a.told.keys[:0]
	for _, key := range a.told.keys {
		if slices.Contains(a.told.copied, key) {
			kept = append(kept, key)
			continue
		}
		k.end(t, key, minute)
	}
	a.told.keys, a.told.copied = kept, nil
	if len(kept) == 0 {
		a.told = nil
	}
}
