package gateway

import (
	"sync"
	"time"

	"trackchat/queue"
)

// Wrong credentials: so many at once, then one after a pause that doubles with each.
const (
	freeAttempts = 5
	firstPause   = time.Minute
	longestPause = 15 * time.Minute
	limitMemory  = time.Hour // after the last wrong one
	maxLimited   = 1 << 16   // trackers, and places, that are remembered
	maxHomes     = 1 << 20
	scanLimited  = 16 // of them looked at to make room for one
)

// loginLimiter refuses those who present wrong credentials again and again, before what they
// present is compared: passwords of devices are short. A tracker has a bucket for the places that
// wrong ones have come from, another for all other places, and where it has logged in before one of
// its own; a place has one for the trackers that are guessed at from there and were never at home
// there. So nobody locks out a tracker that comes from elsewhere, or that has been there before,
// unless he guesses at that very tracker from there. Each node counts for itself and from its
// start.
type loginLimiter struct {
	warnings *logLimiter

	mu       sync.Mutex
	trackers map[limited]bucket
	places   map[place]bucket
	homes    map[queue.TrackerID]uint32 // place.short of the last login with credentials
}

// limited is whose bucket it is.
type limited struct {
	tracker queue.TrackerID
	from    uint32 // place.short of where it has logged in before, or:
}

const (
	otherwise    uint32 = iota // all other places
	nowhereWrong               // those that no wrong credentials have come from
)

// bucket are the wrong credentials of late. Times are those of clock.ms.
type bucket struct {
	credentials uint32 // hash of the right ones: others begin anew
	wrong       uint16
	lastMs      int64
}

func newLoginLimiter() *loginLimiter {
	return &loginLimiter{
		warnings: newLogLimiter(time.Second, 20), trackers: make(map[limited]bucket),
		places: make(map[place]bucket), homes: make(map[queue.TrackerID]uint32),
	}
}

// pause is how long after the last wrong credentials others are compared.
func (b bucket) pause() time.Duration {
	if b.wrong < freeAttempts {
		return 0
	}
	return min(firstPause<<min(b.wrong-freeAttempts, 10), longestPause)
}

func (b bucket) over(nowMs int64) bool { return nowMs-b.lastMs >= limitMemory.Milliseconds() }

func (b bucket) refuses(nowMs int64) bool { return nowMs-b.lastMs < b.pause().Milliseconds() }

// checked is the outcome of a try.
type checked struct {
	right   bool
	refused bool          // nothing was compared
	pause   time.Duration // for which all others are refused from now on
}

// try compares credentials for t, unless there were too many wrong ones. All of it is one step, so
// that a volley over many connections gets no more than its share.
func (g *loginLimiter) try(t *queue.Tracker, from place, nowMs int64, compare func() bool) checked {
	g.mu.Lock()
	defer g.mu.Unlock()
	there := g.places[from]
	if there.over(nowMs) {
		there = bucket{}
	}
	key, home := limited{t.ID, otherwise}, g.homes[t.ID] == from.short()
	switch {
	case home:
		key.from = from.short()
	case there.wrong == 0:
		key.from = nowhereWrong
	}
	if g.bucket(key, t, nowMs).refuses(nowMs) || !home && there.refuses(nowMs) {
		return checked{refused: true}
	}
	if compare() {
		if !home {
			g.moveIn(t.ID, from)
		}
		return checked{right: true}
	}
	of := g.add(key, t, nowMs)
	if key.from == nowhereWrong { // which it is no more
		of = g.add(limited{t.ID, otherwise}, t, nowMs)
	}
	if !home && (of.wrong == 1 || there.wrong == 0) {
		there.wrong, there.lastMs = there.wrong+1, nowMs
		makeRoom(g.places, maxLimited, func(b bucket) bool { return b.over(nowMs) })
		g.places[from] = there
	}
	return checked{pause: of.pause()}
}

// bucket returns one of t's.
func (g *loginLimiter) bucket(key limited, t *queue.Tracker, nowMs int64) bucket {
	b := g.trackers[key]
	if credentials := credentialsOf(t); b.credentials != credentials || b.over(nowMs) {
		b = bucket{credentials: credentials}
	}
	return b
}

// add counts wrong credentials in one of t's.
func (g *loginLimiter) add(key limited, t *queue.Tracker, nowMs int64) bucket {
	b := g.bucket(key, t, nowMs)
	b.wrong, b.lastMs = b.wrong+1, nowMs // a few in an hour: it never wraps
	makeRoom(g.trackers, maxLimited, func(b bucket) bool { return b.over(nowMs) })
	g.trackers[key] = b
	return b
}

// moveIn makes a place the tracker's. Many devices may come from there: one that belongs there
// makes up for one that does not.
func (g *loginLimiter) moveIn(t queue.TrackerID, at place) {
	_, known := g.homes[t]
	makeRoom(g.homes, maxHomes, func(uint32) bool { return false })
	g.homes[t] = at.short()
	b, ok := g.places[at]
	if known || !ok { // going to and fro earns nothing
		return
	}
	if b.wrong--; b.wrong == 0 {
		delete(g.places, at)
		return
	}
	g.places[at] = b
}

// makeRoom sees to it that one more entry fits: a few that are over give way, else any.
func makeRoom[K comparable, V any](m map[K]V, most int, over func(V) bool) {
	if len(m) < most {
		return
	}
	seen := 0
	for k, v := range m {
		if seen++; seen > scanLimited && len(m) < most {
			return
		}
		if over(v) || seen > scanLimited {
			delete(m, k)
		}
	}
}

func credentialsOf(t *queue.Tracker) uint32 { return hashOf(t.DeviceID + "\x00" + t.Password) }
