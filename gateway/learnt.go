package gateway

import (
	"sync"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

// maxLearnt bounds the trackers of which something is remembered that their codecs found out.
const maxLearnt = 1 << 16

// learnt is what codecs found out about trackers and their next connections need not find out
// again, see protocol.Learner. Only trackers of which there is something have an entry.
type learnt struct {
	mu sync.Mutex
	of map[queue.TrackerID]uint8
}

func newLearnt() *learnt { return &learnt{of: make(map[queue.TrackerID]uint8)} }

func (l *learnt) get(t queue.TrackerID) uint8 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[t]
}

// set remembers what was learnt, 0 forgets. Where there is no room left some other tracker's entry
// gives way: that one learns anew.
func (l *learnt) set(t queue.TrackerID, what uint8) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if what == 0 {
		delete(l.of, t)
		return
	}
	if _, known := l.of[t]; !known && len(l.of) >= maxLearnt {
		for other := range l.of {
			delete(l.of, other)
			break
		}
	}
	l.of[t] = what
}

// recall tells the codec of a session that is being bound what earlier ones of its tracker learnt.
func (l *learnt) recall(t queue.TrackerID, codec protocol.Codec) {
	if c, ok := codec.(protocol.Learner); ok {
		if what := l.get(t); what != 0 {
			c.Recall(what)
		}
	}
}

// learn takes note of what the codec has found out.
func (l *learnt) learn(t queue.TrackerID, codec protocol.Codec, now time.Time) {
	if c, ok := codec.(protocol.Learner); ok && t != 0 {
		if what, news := c.Learnt(now); news {
			l.set(t, what)
		}
	}
}
