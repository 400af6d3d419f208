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
	return s.listen(ctx, &subscription{
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
