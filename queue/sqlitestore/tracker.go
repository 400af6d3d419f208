package sqlitestore

import (
	"database/sql/driver"
	"strings"

	"trackchat/queue"
)

// tracker is the hot state of one tracker as the running transaction sees it. It belongs to the
// writer.
type tracker struct {
	id       queue.TrackerID
	lastMs   int64
	changeMs int64
	pending  int64
	unread   int64
	lastOut  int64
	epoch    int64
	owner    queue.NodeID
	sinceMs  int64
	seenMs   int64
	dirty    bool // differs from its row

	ring       []received // newest dedupeMemory texts with a key, oldest first
	ringLoaded bool
	ringDirty  bool
}

// tick returns the time of a change now. It never goes back within a tracker, also when the clock
// does.
func (t *tracker) tick(now int64) int64 {
	t.changeMs = max(t.changeMs, now)
	return t.changeMs
}

// cacheMs is how long a generation of the cache lasts at most.
const cacheMs = 5 * 60 * 1000

// cache keeps the trackers used last. Two generations: what is not used while the young one fills,
// or for cacheMs, is dropped with the old one.
type cache struct {
	limit      int
	young, old map[queue.TrackerID]*tracker
	born       int64 // Unix ms of the young one
	// of the running transaction alone: those of sessions that come, go and are heard of, with no
	// message.
	passing map[queue.TrackerID]*tracker
}

func newCache(limit int) cache {
	return cache{
		limit: limit, young: make(map[queue.TrackerID]*tracker),
		passing: make(map[queue.TrackerID]*tracker),
	}
}

// get finds a tracker, nil if it is not cached, and keeps it.
func (c *cache) get(id queue.TrackerID) *tracker {
	t, ok := c.young[id]
	if !ok {
		if t = c.peek(id); t != nil {
			c.young[id] = t
		}
	}
	return t
}

// peek finds a tracker, nil if it is not cached, and leaves it where it is.
func (c *cache) peek(id queue.TrackerID) *tracker {
	for _, m := range []map[queue.TrackerID]*tracker{c.young, c.old, c.passing} {
		if t, ok := m[id]; ok {
			return t
		}
	}
	return nil
}

// trim bounds the cache. Not within a transaction: dirty trackers must stay.
func (c *cache) trim(now int64) {
	clear(c.passing)
	if len(c.young) >= c.limit || now-c.born >= cacheMs || now < c.born {
		c.old, c.young, c.born = c.young, make(map[queue.TrackerID]*tracker), now
	}
}

func (c *cache) clear() {
	clear(c.young)
	clear(c.passing)
	c.old = nil
}

// forget drops everything cached after a failed transaction; the file knows better.
func (w *writer) forget() error {
	w.trackers.clear()
	w.dirty = w.dirty[:0]
	clear(w.wakes)
	w.changes = w.changes[:0]
	return w.loadReserved()
}

// tracker finds the state of a tracker; one that was never used has the zero state.
func (w *writer) tracker(id queue.TrackerID) (*tracker, error) {
	if t := w.trackers.get(id); t != nil {
		return t, nil
	}
	t, err := w.load(id)
	if err == nil {
		w.trackers.young[id] = t
	}
	return t, err
}

// leased is tracker for what concerns a session and no message: of as many trackers as there are,
// each once in a while, so what is read for it is not kept.
func (w *writer) leased(id queue.TrackerID) (*tracker, error) {
	if t := w.trackers.peek(id); t != nil {
		return t, nil
	}
	t, err := w.load(id)
	if err == nil {
		w.trackers.passing[id] = t
	}
	return t, err
}

func (w *writer) load(id queue.TrackerID) (*tracker, error) {
	t := &tracker{id: id}
	err := w.c.query("SELECT last_ms, change_ms, pending, unread, last_out, epoch, owner, since_ms, seen_ms FROM tracker WHERE id = ?", func(row []driver.Value) error {
		t.lastMs, t.changeMs, t.pending, t.unread = integer(row[0]), integer(row[1]),
			integer(row[2]), integer(row[3])
		t.lastOut, t.epoch, t.owner = integer(row[4]), integer(row[5]), queue.NodeID(text(row[6]))
		t.sinceMs, t.seenMs = integer(row[7]), integer(row[8])
		return nil
	}, int64(id))
	if err != nil {
		return nil, err
	}
	return t, nil
}

// change returns a tracker's state to be written with the transaction, and the time of the change.
func (w *writer) change(id queue.TrackerID) (*tracker, int64, error) {
	t, err := w.tracker(id)
	if err != nil {
		return nil, 0, err
	}
	return t, w.touch(t), nil
}

// touch has t written with the transaction and returns the time of the change.
func (w *writer) touch(t *tracker) int64 {
	w.mark(t)
	return t.tick(w.now)
}

// mark is touch for what is no change of a message.
func (w *writer) mark(t *tracker) {
	if !t.dirty {
		t.dirty = true
		w.dirty = append(w.dirty, t)
	}
}

// rowsAtOnce is how many tracker rows one statement writes; single rows cost nearly twice as much
// each.
const rowsAtOnce = 16

// storeTrackers writes what changed: once per transaction, however many operations a tracker had in
// it.
func (w *writer) storeTrackers() error {
	for rest := w.dirty; len(rest) > 0; {
		n := 1
		if len(rest) >= rowsAtOnce {
			n = rowsAtOnce
		}
		args := w.args[:0]
		for _, t := range rest[:n] {
			args = append(args, int64(t.id), t.lastMs, t.changeMs, t.pending, t.unread, t.lastOut,
				t.epoch, string(t.owner), t.sinceMs, t.seenMs)
		}
		w.args = args
		if _, err := w.c.exec(w.storeRows[n], args...); err != nil {
			return err
		}
		rest = rest[n:]
	}
	for _, t := range w.dirty {
		t.dirty = false
		if t.ringDirty {
			if _, err := w.c.exec("INSERT OR REPLACE INTO dedupe (tracker, ring) VALUES (?, ?)",
				int64(t.id), encodeRing(t.ring)); err != nil {
				return err
			}
			t.ringDirty = false
		}
	}
	return nil
}

func storeTrackersQuery(n int) string {
	return "INSERT OR REPLACE INTO tracker (id, last_ms, change_ms, pending, unread, last_out, epoch, owner, since_ms, seen_ms) VALUES " +
		strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?), ", n), ", ")
}
