package queue

import (
	"context"
	"encoding/binary"
	"fmt"
)

// MaxBroadcasts is how many broadcasts of an account are kept; a further one ends the memory of the
// oldest.
const MaxBroadcasts = 200

// Broadcast is one text to many trackers, and how far it has got.
type Broadcast struct {
	ID       int64   `json:"id"` // of its account; the newest has the greatest
	SubmitMs int64   `json:"submit_ms"`
	Text     string  `json:"text"`
	Author   *Author `json:"author,omitempty"`
	Trackers int     `json:"trackers"` // that it is for
	Sent     int     `json:"sent"`     // of them, so far
	Refused  int     `json:"refused"`  // of them, so far: those that got no message
	Complete bool    `json:"complete"` // it has been at each tracker
}

// BroadcastTarget is what became of a broadcast at one tracker.
type BroadcastTarget struct {
	Tracker TrackerID // the key of its conversation
	Message int64     // 0: it got none
}

// BroadcastStore remembers the broadcasts of accounts: which messages they are. It ends with the
// account.
type BroadcastStore interface {
	// SaveBroadcast stores what is known of a broadcast, in place of what was before, and its
	// targets from the one with number first on, as given once. It may be repeated.
	SaveBroadcast(ctx context.Context, a AccountID, b Broadcast, first int,
		ts []BroadcastTarget) error
	// Broadcasts returns up to limit broadcasts of an account with smaller ids than before, 0 any,
	// the newest first.
	Broadcasts(ctx context.Context, a AccountID, before int64, limit int) ([]Broadcast, error)
	// BroadcastTargets returns the targets of a broadcast in their order; none of one that is not
	// known.
	BroadcastTargets(ctx context.Context, a AccountID, id int64) ([]BroadcastTarget, error)
}

const targetSize = 16

// AppendTargets appends targets as stores keep them: tracker and message, 8 bytes each, big-endian.
func AppendTargets(dst []byte, ts []BroadcastTarget) []byte {
	for _, t := range ts {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.Tracker))
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.Message))
	}
	return dst
}

// DecodeTargets appends what AppendTargets was given; ErrCorrupt for anything else.
func DecodeTargets(ts []BroadcastTarget, b []byte) ([]BroadcastTarget, error) {
	if len(b)%targetSize != 0 {
		return ts, fmt.Errorf("%w: targets of a broadcast with %d bytes", ErrCorrupt, len(b))
	}
	for ; len(b) > 0; b = b[targetSize:] {
		ts = append(ts, BroadcastTarget{
			Tracker: TrackerID(binary.BigEndian.Uint64(b)),
			Message: int64(binary.BigEndian.Uint64(b[8:])),
		})
	}
	return ts, nil
}
