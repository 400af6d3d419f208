package queue

import "context"

// ChangeKind tells the changes apart. The values of what happens to messages and trackers are part
// of what stores publish.
type ChangeKind byte

// Kinds of Change.
const (
	ChangeStored    ChangeKind = 'N' // a message was stored, in either direction
	ChangeDelivered ChangeKind = 'D' // acknowledged by the device
	ChangeOpened    ChangeKind = 'V' // the driver has opened it
	ChangeRead      ChangeKind = 'R' // an incoming message was marked read
	ChangeFailed    ChangeKind = 'F'
	ChangeExpired   ChangeKind = 'E'
	ChangeCancelled ChangeKind = 'X'
	ChangeSent      ChangeKind = 'S' // written to a device that cannot confirm
	ChangeProgress  ChangeKind = 'A' // more parts are acknowledged
	ChangePresence  ChangeKind = 'O' // a session has begun to own the tracker, or ended

	ChangeResync ChangeKind = 1 // changes may not have been told: ask Changed and Changes
	// everything that happened before Ms was told, or a ChangeResync was.
	ChangeWatermark ChangeKind = 2
)

// PresenceOwned is the ID of a ChangePresence of a tracker that was owned before: the session has
// ended, or a newer one has taken over.
const PresenceOwned = 1

// Change is a hint at something that has happened. What it is about may have changed again since.
type Change struct {
	Kind    ChangeKind
	Tracker TrackerID
	ID      int64 // of the message; ChangePresence: PresenceOwned or 0
	Ms      int64 // when it happened; ChangeWatermark: see there
}

// Feed tells what changes. Hints come from Watch, the truth is in Changed and Changes. All methods
// are safe for concurrent use.
type Feed interface {
	// Watch tells every change of every tracker from when it returns until ctx or the store ends,
	// in order for each tracker. tell is called beside the work that is told of, by several
	// goroutines at once: it must not wait, nor change the list. Changes are hints: ChangeResync
	// stands for what may not have been told. ChangeWatermark comes about once a second; its time
	// is exact up to the differences between clocks.
	Watch(ctx context.Context, tell func([]Change)) error
	// Changed returns those of ts with a message that was stored or changed at or after sinceMs, as
	// far as that is still known.
	Changed(ctx context.Context, ts []TrackerID, sinceMs int64) ([]TrackerID, error)
	// Changes returns the messages of a tracker that were stored or changed at or after sinceMs,
	// ordered by (ChangeMs, ID); ErrTooOld if that is too long ago to know. It returns more than
	// limit rather than splitting a millisecond: who has seen all of an answer goes on at the last
	// ChangeMs and knows what it has seen of that one.
	Changes(ctx context.Context, t TrackerID, sinceMs int64, limit int) ([]Message, error)
}

// NewChangeBuffer returns a buffer for up to limit changes that Watch tells; ChangeResync stands
// for what does not fit.
func NewChangeBuffer(limit int, filled func()) *Buffer[Change] {
	b := NewBuffer(limit, Change{Kind: ChangeResync}, filled)
	// A later time says more than the one before it.
	b.covers = func(last, next *Change) bool {
		return last.Kind == ChangeWatermark && next.Kind == ChangeWatermark
	}
	return b
}
