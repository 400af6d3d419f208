package sqlitestore

import (
	"database/sql/driver"
	"strings"

	"trackchat/queue"
)

// tracker is the hot state of one tracker as the running transaction sees it. It belongs to the
// writer.
//
// Its row is written by what is rare beside sends and acks: sessions, texts from devices, and what
// takes messages away. Whatever a send, an ack or another end changes is found in the messages by
// their indexes, so that nothing has to be repaired after a crash. See load.
type tracker struct {
	id       queue.TrackerID
	changeMs int64
	pending  int64
	unread   int64
	lastOut  int64
	epoch    int64
	owner    queue.NodeID
	sinceMs  int64
	seenMs   int64
	// what messages say is in it. Else changeMs, pending and lastOut are the row's, which stays as
	// true with them.
	whole bool
	dirty bool // its row is written with the transaction

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
	t := w.trackers.get(id)
	if t != nil && t.whole {
		return t, nil
	}
	loaded, err := w.load(id)
	if err != nil {
		return nil, err
	}
	if t == nil {
		w.trackers.young[id] = loaded
		return loaded, nil
	}
	// A session came or went in the same transaction.
	t.changeMs, t.pending, t.lastOut = loaded.changeMs, loaded.pending, loaded.lastOut
	t.whole = true
	return t, nil
}

// leased is tracker for what concerns a session and no message: of as many trackers as there are,
// each once in a while, so its messages are not looked at, and what is read for it is not kept.
func (w *writer) leased(id queue.TrackerID) (*tracker, error) {
	if t := w.trackers.peek(id); t != nil {
		return t, nil
	}
	t := &tracker{id: id}
	err := w.c.query(rowQuery, func(row []driver.Value) error {
		t.scan(row)
		return nil
	}, int64(id))
	if err != nil {
		return nil, err
	}
	w.trackers.passing[id] = t
	return t, nil
}

// scan takes over what a query for rowColumns has found.
func (t *tracker) scan(row []driver.Value) {
	t.changeMs, t.unread, t.lastOut = integer(row[0]), integer(row[1]), integer(row[2])
	t.epoch, t.owner = integer(row[3]), queue.NodeID(text(row[4]))
	t.sinceMs, t.seenMs = integer(row[5]), integer(row[6])
}

// States of a tracker in SQL, where asked.id is its id. What the row says of change_ms and last_out
// is as of when it was written: the messages say what came after.
const (
	countPending = "(SELECT count(*) FROM message INDEXED BY message_pending WHERE tracker = asked.id AND " + isPending + ")"
	newestMs     = "(SELECT max(submit_ms) FROM message INDEXED BY message_time WHERE tracker = asked.id)"
	// The newest message, if it is outgoing: one that is not was stored with the row.
	newestOut = "(SELECT CASE WHEN " + isIncoming + " THEN 0 ELSE id END FROM message INDEXED BY message_time WHERE tracker = asked.id ORDER BY submit_ms DESC, id DESC LIMIT 1)"
	lastOut   = "max(ifnull(last_out, 0), ifnull(" + newestOut + ", 0))"
	lateMs    = "(SELECT max(change_ms) FROM message INDEXED BY message_late WHERE tracker = asked.id AND " + isLate + ")"

	rowColumns = "change_ms, unread, last_out, epoch, owner, since_ms, seen_ms"
	rowQuery   = "SELECT " + rowColumns + " FROM tracker WHERE id = ?"
	ofTracker  = " FROM (SELECT ?1 AS id) AS asked LEFT JOIN tracker USING (id)"
	leaseQuery = "SELECT " + countPending + ", " + lastOut + ofTracker
	loadQuery  = "SELECT " + rowColumns + ", " + countPending + ", " + lastOut +
		", max(ifnull(" + newestMs + ", 0), ifnull(" + lateMs + ", 0))" + ofTracker
	// What changed after ?2, the time that loadQuery gives, is no late change and so of a message
	// of the hour before.
	recentQuery = "SELECT max(change_ms) FROM message INDEXED BY message_time WHERE tracker = ?1 AND submit_ms > ?2 - 3600000"
)

// load finds what is known of a tracker in its row and its messages.
func (w *writer) load(id queue.TrackerID) (*tracker, error) {
	t := &tracker{id: id, whole: true}
	err := w.c.query(loadQuery, func(row []driver.Value) error {
		t.scan(row)
		t.pending, t.lastOut = integer(row[7]), integer(row[8])
		t.changeMs = max(t.changeMs, integer(row[9]))
		return nil
	}, int64(id))
	if err != nil {
		return nil, err
	}
	ms, _, err := w.c.number(recentQuery, int64(id), t.changeMs)
	if err != nil {
		return nil, err
	}
	t.changeMs = max(t.changeMs, ms)
	return t, nil
}

// mark has the row of t written with the transaction.
func (w *writer) mark(t *tracker) {
	if !t.dirty {
		t.dirty = true
		w.dirty = append(w.dirty, t)
	}
}

// rowsAtOnce is how many tracker rows one statement writes; single rows cost nearly twice as much
// each.
const rowsAtOnce = 16

// storeTrackers writes the rows that are marked: once per transaction, however many operations a
// tracker had in it.
func (w *writer) storeTrackers() error {
	for rest := w.dirty; len(rest) > 0; {
		n := 1
		if len(rest) >= rowsAtOnce {
			n = rowsAtOnce
		}
		args := w.args[:0]
		for _, t := range rest[:n] {
			args = append(args, int64(t.id), t.changeMs, t.unread, t.lastOut, t.epoch,
				string(t.owner), t.sinceMs, t.seenMs)
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
	return "INSERT OR REPLACE INTO tracker (id, change_ms, unread, last_out, epoch, owner, since_ms, seen_ms) VALUES " +
		strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?, ?, ?, ?), ", n), ", ")
}
