package gateway

import (
	"sync"

	"trackchat/queue"
)

// conduct remembers for a minute or two what trackers did that must not begin anew with each connection. Only those that did something have an entry,
// so it is bounded by what the door lets in within that time.
type conduct struct {
	mu          sync.Mutex
	minute      int64 // of now
	now, before map[queue.TrackerID]habits
	known       known
}

// habits are those of one tracker within one minute.
type habits struct {
	takeovers uint16 // sessions that ended because it had logged in elsewhere
	texts     uint16 // of its driver, in sessions that have ended
	alarmed   bool
}

func newConduct() *conduct { return &conduct{now: make(map[queue.TrackerID]habits)} }

// turnLocked forgets what is over.
func (c *conduct) turnLocked(minute int64) {
	if minute == c.minute {
		return
	}
	c.before = nil
	if minute == c.minute+1 {
		c.before = c.now
	}
	c.minute, c.now = minute, make(map[queue.TrackerID]habits)
}

// takeover counts one.
func (c *conduct) takeover(t queue.TrackerID, minute int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	h := c.now[t]
	h.takeovers = max(h.takeovers, h.takeovers+1) // never wraps
	c.now[t] = h
}

// takeovers returns how often the tracker's sessions have taken over each other in this minute and
// the one before.
func (c *conduct) takeovers(t queue.TrackerID, minute int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	return int(c.now[t].takeovers) + int(c.before[t].takeovers)
}

// alarm reports, once a minute, that the operator should be told of the tracker.
func (c *conduct) alarm(t queue.TrackerID, minute int64) bool {
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
func (c *conduct) spent(t queue.TrackerID, minute int64, texts uint16) {
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
func (c *conduct) texts(t queue.TrackerID, minute int64) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turnLocked(minute)
	return c.now[t].texts
}
