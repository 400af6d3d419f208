package redisstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

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

// expireLook is how many messages of a partition one call looks at.
const expireLook = 100

// Expire: It looks before it writes: mostly no partition has anything due.
func (s *Store) Expire(ctx context.Context) (queue.ExpireStats, error) {
	now := s.scriptClock()
	if s.opts.clock == nil {
		now = strconv.FormatInt(s.now().UnixMilli(), 10)
	}
	looks := make([]*query, partitions)
	for p := range looks {
		looks[p] = &query{slot: s.slots[p], args: []any{"zcount", s.keys[p] + ":e", "-inf", now}}
	}
	if err := s.ask(ctx, "expire_due", looks); err != nil {
		return queue.ExpireStats{}, err
	}
	var items []*item
	for p, look := range looks {
		if n, _ := look.reply.(int64); n > 0 {
			items = append(items, &item{
				partition: p, args: []any{expireLook}, weight: expireLook,
				width: 4, bytes: 64,
			})
		}
	}
	var st queue.ExpireStats
	if err := s.execute(ctx, opExpire, items); err != nil {
		return st, err
	}
	// of a partition with a message that cannot be read; what is due of all others has ended.
	var failed error
	for _, it := range items {
		if it.Err != nil {
			failed = cmp.Or(failed, it.Err)
			continue
		}
		st.Ended += int(binary.BigEndian.Uint16([]byte(it.reply)))
		st.More = st.More || binary.BigEndian.Uint16([]byte(it.reply[2:])) == expireLook
	}
	if failed != nil && st.Ended > 0 {
		failed = fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, failed)
	}
	return st, failed
}
