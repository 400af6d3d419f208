package gateway

import (
	"sync"

	"trackchat/queue"
)

// trackerHistory remembers for a minute or two what trackers did that must not begin anew with each
// connection. Only those that did something have an entry, so it is bounded by what admission lets
// in within that time.
type trackerHistory struct {
	mu          sync.Mutex
	minute      int64 // of now
	now, before map[queue.TrackerID]trackerMinute
	known       known
}

// habits are those of one tracker within one minute.
type trackerMinute struct {
	texts   uint16 // of its driver, in sessions that have ended
	alarmed bool
	// place.short of a session that had acknowledged a text when it was taken over; 0 none.
	winner     uint32
	movedMs    int64 // when another node took the tracker over last, clock.ms; 0 never
	contenders []contender
}

func newTrackerHistory() *trackerHistory {
	return &trackerHistory{
		now: make(map[queue.TrackerID]trackerMinute),
	}
}

// turnLocked forgets what is over.
func (c *trackerHistory) turnLocked(minute int64) {
	if minute == c.minute {
		return
	}
	c.before = nil
	if minute == c.minute+1 {
		c.before = c.now
	}
	c.minute, c.now = minute, make(map[queue.TrackerID]trackerMinute)
}

// change lets f change what is known of a tracker in this minute.
func (c *trackerHistory) change(t queue.TrackerID, minute int64, f func(*trackerMinute)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	h := c.now[t]
	f(&h)
	c.now[t] = h
}

// look shows f what is known of a tracker from the minute before, then from this one.
func (c *trackerHistory) look(t queue.TrackerID, minute int64, f func(trackerMinute)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	f(c.before[t])
	f(c.now[t])
}

// alarm reports, once a minute, that the operator should be told of the tracker.
func (c *trackerHistory) alarm(t queue.TrackerID, minute int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	h := c.now[t]
	first := !h.alarmed
	h.alarmed = true
	c.now[t] = h
	return first
}

// spent notes how many texts a session that ends had sent in the given minute.
func (c *trackerHistory) spent(t queue.TrackerID, minute int64, texts uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(max(minute, c.minute))
	if minute != c.minute {
		return
	}
	h := c.now[t]
	h.texts = max(h.texts, texts)
	c.now[t] = h
}

// texts returns how many the tracker has sent in this minute, in sessions that have ended.
func (c *trackerHistory) texts(t queue.TrackerID, minute int64) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	return c.now[t].texts
}
