package queue

import (
	"context"
	"time"
)

// NodeLife is how long a node counts as living after its last Heartbeat. The trackers that a node
// owned when it died are offline from then on.
const NodeLife = 15 * time.Second

// Node is a process that serves devices, as it reported itself last.
type Node struct {
	ID        NodeID
	StartedMs int64
	BeatMs    int64 // of the last report, by the store's clock; not part of a report
	Sessions  int
	Draining  bool
}

// Presence says whether a tracker is connected. The zero value is that of a tracker which never
// was.
type Presence struct {
	Online bool // a session on a living node owns the tracker
	// when that began, to the precision of NodeLife where a node died; 0 never connected.
	SinceMs int64
	// when the device was last heard of: noted at login and at the session's end, and every few
	// minutes between (Delivery.Touch); 0 never.
	SeenMs int64
}

// Roster is what is known of the nodes of a fleet.
type Roster interface {
	// Heartbeat says that a node lives; see NodeLife.
	Heartbeat(ctx context.Context, n Node) error
	// Leave takes a node off. What it still owned is offline at once.
	Leave(ctx context.Context, id NodeID) error
	// Nodes returns the living nodes ordered by id.
	Nodes(ctx context.Context) ([]Node, error)
	// Kick takes the ownership of trackers away, so that their sessions end; false where nobody
	// owned the tracker. The device may log in again.
	Kick(ctx context.Context, ts []TrackerID) ([]bool, error)
}

// PresenceOf judges what a store keeps of a tracker: its owner, when that one began or ended, and
// when the device was last heard of. beat is when the owner reported itself last, 0 unknown; now is
// the store's clock.
func PresenceOf(owner NodeID, p Presence, beat, now int64) Presence {
	if owner == "" {
		return p
	}
	p.Online = Living(beat, now)
	if !p.Online { // its node died; nobody was there to note when
		p.SinceMs = max(beat, p.SeenMs)
	}
	return p
}

// Living reports whether a node whose last report came at beat, 0 never, counts as living now. A
// report of a later time is from before the store's clock was set back: who lives will report
// itself again.
func Living(beat, now int64) bool {
	age := now - beat
	return beat != 0 && -NodeLife.Milliseconds() < age && age < NodeLife.Milliseconds()
}
