package redisstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"trackchat/queue"
)

// Scripts of an import; they are sent as they are, because no service needs them.
const (
	scriptHistory = "history"
	scriptSkip    = "skip"

	importItems = 256       // messages of one script
	importBytes = 256 << 10 // about
)

// Codes of history.lua beyond storedNow and storedBefore.
const (
	historyForeign = 2
	historyNewer   = 3
)

func (s *Store) SkipIDs(ctx context.Context, last int64) error {
	at, ok := placeOf(last)
	if !ok {
		return fmt.Errorf("no id: %d", last)
	}
	text, err := assemble(scriptSkip)
	if err != nil {
		return err
	}
	qs := make([]*query, partitions)
	for p := range qs {
		qs[p] = &query{slot: s.slots[p], args: []any{"eval", text, 1, s.keys[p], at.block}}
	}
	return s.ask(ctx, "skip_ids", qs)
}

// markKey holds a tracker's newest imported message: its id in the other store 7 bytes, its time 6.
func (s *Store) markKey(t queue.TrackerID) string {
	return s.keys[partitionOf(t)] + ":h:" + trackerArg(t)
}

const markSize = 13

func (s *Store) Imported(ctx context.Context, ts []queue.TrackerID) ([]queue.Imported, error) {
	states, err := s.states(ctx, "imported", ts)
	if err != nil {
		return nil, err
	}
	qs := make([]*query, len(ts))
	for i, t := range ts {
		qs[i] = &query{slot: s.slots[partitionOf(t)], args: []any{"get", s.markKey(t)}}
	}
	if err := s.ask(ctx, "imported", qs); err != nil {
		return nil, err
	}
	list := make([]queue.Imported, len(ts))
	for i, st := range states {
		list[i] = queue.Imported{
			NewestMs: st.submitted, Pending: int(st.pending),
			Unread: int(st.unread),
		}
		mark, ok := qs[i].reply.(string)
		if !ok {
			continue
		}
		if len(mark) != markSize {
			return nil, fmt.Errorf("%w: import of tracker %d", queue.ErrCorrupt, ts[i])
		}
		list[i].ID, list[i].SubmitMs = uint56([]byte(mark)), uint48([]byte(mark[7:]))
	}
	return list, nil
}

func (s *Store) FinishImport(ctx context.Context, ts []queue.TrackerID) error {
	qs := make([]*query, len(ts))
	for i, t := range ts {
		qs[i] = &query{slot: s.slots[partitionOf(t)], args: []any{"del", s.markKey(t)}}
	}
	return s.ask(ctx, "finish_import", qs)
}

// ImportMessages: The partitions go side by side, each with one script at a time, so that a
// tracker's messages stay in order.
func (s *Store) ImportMessages(ctx context.Context, ms []queue.Message) ([]int64, error) {
	text, err := assemble(scriptHistory)
	if err != nil {
		return nil, err
	}
	waiting := make(map[int][]int) // partition to indexes
	for i := range ms {
		if _, ok := placeOf(ms[i].ID); !ok {
			return nil, fmt.Errorf("no id: %d", ms[i].ID)
		}
		p := partitionOf(ms[i].Tracker)
		if err := s.roomIn(s.slots[p]); err != nil {
			return nil, err
		}
		waiting[p] = append(waiting[p], i)
	}
	ids := make([]int64, len(ms))
	for len(waiting) > 0 {
		if err := s.importRound(ctx, text, ms, waiting, ids); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// importRound runs one script for every partition that has something left.
func (s *Store) importRound(ctx context.Context, text string, ms []queue.Message,
	waiting map[int][]int, ids []int64,
) error {
	var qs []*query
	var taken [][]int
	for p, list := range waiting {
		args, n := []any{"eval", text, 1, s.keys[p], p}, 0
		for bytes := 0; n < len(list) && n < importItems && bytes < importBytes; n++ {
			m := &ms[list[n]]
			record := appendHistory(make([]byte, 0, recordHeader+32+len(m.Text)), m)
			if len(record)-recordHeader > maxTail {
				return fmt.Errorf("message %d: %w", m.ID, queue.ErrTooLarge)
			}
			args = append(args, trackerArg(m.Tracker),
				binary.BigEndian.AppendUint64(tracker8(m.Tracker), uint64(m.ID)<<8)[:15], record)
			bytes += len(record)
		}
		qs, taken = append(qs, &query{slot: s.slots[p], args: args}), append(taken, list[:n])
		if waiting[p] = list[n:]; n == len(list) {
			delete(waiting, p)
		}
	}
	if err := s.ask(ctx, "import_messages", qs); err != nil {
		return err
	}
	var errs []error
	for i, q := range qs {
		reply, ok := q.reply.(string)
		if !ok || len(reply) != 8*len(taken[i]) {
			return fmt.Errorf("%w: importing answered %T", queue.ErrCorrupt, q.reply)
		}
		for k, index := range taken[i] {
			ids[index] = uint56([]byte(reply[8*k+1:]))
			errs = append(errs, importError(&ms[index], reply[8*k]))
		}
	}
	return errors.Join(errs...)
}

func importError(m *queue.Message, code byte) error {
	switch code {
	case historyForeign:
		return fmt.Errorf("%w: tracker %d has messages that are not imported", queue.ErrConflict,
			m.Tracker)
	case historyNewer:
		return fmt.Errorf("%w: tracker %d has a message that is newer than the next one to import; is a service using the store?", queue.ErrConflict, m.Tracker)
	default:
		return nil
	}
}

// appendHistory appends the record of a message that has a past; the slot is the script's to fill
// in.
func appendHistory(dst []byte, m *queue.Message) []byte {
	changed := m.UpdateMs
	if changed == 0 && m.ChangeMs != m.SubmitMs {
		changed = m.ChangeMs // ended without an ack, or acknowledged in part
	}
	reason, acked := m.Reason, m.Acked
	if m.Replaced > 0 {
		reason, acked = 1, m.Replaced
	}
	opened := m.ReadMs
	if m.Status == queue.StatusPending {
		reason, opened = queue.Reason(m.Tries), m.TriedMs
	}
	dst = append(dst, byte(m.Status), byte(reason))
	dst = appendUint48(appendUint48(dst, changed), opened)
	dst = binary.BigEndian.AppendUint16(dst, uint16(min(m.Parts, math.MaxUint16)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(min(acked, math.MaxUint16)))
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, rand.Uint32())
	return appendTail(appendUint48(dst, m.SubmitMs), m)
}

func (s *Store) History(ctx context.Context, t queue.TrackerID) iter.Seq2[queue.Message, error] {
	return func(yield func(queue.Message, error) bool) {
		err := s.walk(ctx, "history", run{
			tracker: t, forward: true, from: fromEnd,
			bytes: readBytes, blocks: readBlocks,
		},
			func(*state) bool { return true },
			func(m *queue.Message) bool { return yield(*m, nil) })
		if err != nil {
			yield(queue.Message{}, err)
		}
	}
}
