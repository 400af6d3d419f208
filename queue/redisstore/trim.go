package redisstore

import (
	"context"
	"encoding/binary"

	"trackchat/queue"
)

// trimLook is how many blocks one call looks at.
const trimLook = 32

// Partitions: as many as the schema has.
func (s *Store) Partitions() int { return partitions }

// Trim: It removes whole blocks, up to 64 messages each: those without a pending message and with
// nothing as new as the cutoff. A Max below 64 leaves fuller blocks alone. Blocks are looked at in
// the order they were made; a pass ends where a whole look finds only young ones.
func (s *Store) Trim(ctx context.Context, p queue.Partition, r queue.Retention) (queue.TrimStats,
	error,
) {
	s.trimMu.Lock()
	index := s.trimAt[p]
	s.trimMu.Unlock()
	items := []*item{{
		partition: int(p), args: []any{index, trimLook, r.CutoffMs, r.Max},
		weight: 16, width: 12, bytes: 64,
	}}
	if err := s.execute(ctx, opTrim, items); err != nil {
		return queue.TrimStats{}, err
	}
	b := []byte(items[0].reply)
	seen, young := binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	st := queue.TrimStats{Removed: int(binary.BigEndian.Uint32(b))}
	// Fewer than asked for were looked at because there are no more, or because the call's share of
	// messages was removed.
	st.More = st.Removed > 0 || seen == trimLook && young < trimLook
	index = 0
	if st.More {
		index = int64(binary.BigEndian.Uint32(b[4:]))
	}
	s.trimMu.Lock()
	s.trimAt[p] = index
	s.trimMu.Unlock()
	return st, nil
}
