package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
)

const (
	// of an entry that change.inc.lua publishes: kind 1, tracker 8, id 7, ms 6.
	changeSize    = 22
	changeChannel = ":w"        // of a partition
	pingChanges   = time.Second // how often a reader learns how late it is
)

// Watch: It returns when every partition is subscribed to.
func (s *Store) Watch(ctx context.Context, tell func([]queue.Change)) error {
	late := lateness{}
	return s.wakes.listen(ctx, &subscription{
		channel: changeChannel, every: pingChanges,
		onMessage: decoded(decodeChanges, tell),
		onGap:     func() { tell([]queue.Change{{Kind: queue.ChangeResync}}) },
		through: func(ps []queue.Partition, ms int64) {
			if all, ok := late.heard(ps, ms); ok {
				tell([]queue.Change{{Kind: queue.ChangeWatermark, Ms: all}})
			}
		},
	})
}

// lateness knows how late each partition has been heard.
type lateness struct {
	mu   sync.Mutex // guards what follows
	ms   [partitions]int64
	told int64
}

// heard notes that partitions were heard up to ms and returns how late all are, if that is another
// time than before: the clock may have been set back.
func (l *lateness) heard(ps []queue.Partition, ms int64) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		l.ms[p] = ms
	}
	all := slices.Min(l.ms[:])
	if all == l.told {
		return 0, false
	}
	l.told = all
	return all, true
}

// decodeChanges reads one published payload.
func decodeChanges(payload string) ([]queue.Change, error) {
	if len(payload)%changeSize != 0 {
		return nil, fmt.Errorf("%w: changes of %d bytes", queue.ErrCorrupt, len(payload))
	}
	list := make([]queue.Change, 0, len(payload)/changeSize)
	for b := []byte(payload); len(b) > 0; b = b[changeSize:] {
		list = append(list, queue.Change{
			Kind: queue.ChangeKind(b[0]), Tracker: queue.TrackerID(binary.BigEndian.Uint64(b[1:])),
			ID: uint56(b[9:]), Ms: uint48(b[16:]),
		})
	}
	return list, nil
}

func (s *Store) Changed(ctx context.Context, ts []queue.TrackerID,
	sinceMs int64,
) ([]queue.TrackerID, error) {
	states, err := s.states(ctx, "changed", ts)
	if err != nil {
		return nil, err
	}
	var changed []queue.TrackerID
	for i, t := range ts {
		if ms := states[i].clock; ms > 0 && ms >= sinceMs {
			changed = append(changed, t)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed), nil
}

// Kinds of entries in what is published to a node's channels; tracker 8, epoch 6 follow.
const (
	// id 7, previous id 7, offset 3, submitted 6, check 4, record from its flags on.
	entryMessage = 'M'
	entryHint    = 'H' // the same without the record
	entryKick    = 'K'
	entryEnd     = 'E' // id 7, status 1
)

// decodeWakes reads one published payload.
func decodeWakes(payload string) ([]queue.Wake, error) {
	var list []queue.Wake
	for b := []byte(payload); len(b) > 0; {
		w, n, err := decodeWake(b)
		if err != nil {
			return list, err
		}
		list = append(list, w)
		b = b[n:]
	}
	return list, nil
}

func decodeWake(b []byte) (queue.Wake, int, error) {
	size := map[byte]int{entryMessage: 46, entryHint: 42, entryKick: 15, entryEnd: 23}[b[0]]
	if size == 0 || len(b) < size {
		return queue.Wake{}, 0, fmt.Errorf("%w: wake of %d bytes, kind %q", queue.ErrCorrupt,
			len(b), b[0])
	}
	w := queue.Wake{Tracker: queue.TrackerID(binary.BigEndian.Uint64(b[1:])), Epoch: uint48(b[9:])}
	switch b[0] {
	case entryKick:
		w.Kind = queue.WakeKick
		return w, size, nil
	case entryEnd:
		w.Kind = queue.WakeEnd
		w.Msg = queue.Message{ID: uint56(b[15:]), Tracker: w.Tracker, Status: queue.Status(b[22])}
		return w, size, nil
	}
	w.Kind, w.Prev, w.Hint = queue.WakeMessage, uint56(b[22:]), b[0] == entryHint
	ms := uint48(b[32:])
	w.Msg = queue.Message{
		ID: uint56(b[15:]), Tracker: w.Tracker, Status: queue.StatusPending, SubmitMs: ms,
		ChangeMs: ms, Hint: hintOf(w.Tracker, uint24(b[29:]), b[38:]),
	}
	if w.Hint {
		return w, size, nil
	}
	end := size + uint24(b[43:])
	if len(b) < end {
		return queue.Wake{}, 0, fmt.Errorf("%w: torn wake", queue.ErrCorrupt)
	}
	if b[42]&^knownFlags != 0 {
		// a newer program's: the claim of it fails, for its tracker alone
		w.Hint = true
		return w, end, nil
	}
	return w, end, decodeRest(&w.Msg, b[42], b[size:end])
}
