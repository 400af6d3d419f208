package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"slices"

	"trackchat/queue"
)

const (
	dedupeMemory = 32 // texts with a key that a tracker remembers
	receivedSize = 32 // bytes of one of them in its row
)

// received is an incoming text as a repetition would know it.
type received struct {
	key   uint64
	id    int64
	ms    int64 // when it was stored
	epoch int64 // it came under, or its last copy did; 0 unknown
}

func (s *Store) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult, error) {
	in = slices.Clone(in)
	res := make([]queue.ReceiveResult, len(in))
	size := 64 * len(in)
	for i := range in {
		size += len(in[i].Text)
	}
	err := s.write(ctx, &operation{
		name: "receive", items: len(in), bytes: size, grows: true,
		run: func(w *writer) (err error) {
			for i := range in {
				if res[i], err = w.receive(&in[i]); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (w *writer) receive(in *queue.Incoming) (queue.ReceiveResult, error) {
	if queue.TextTooLong(in.Text) {
		return queue.ReceiveResult{Err: queue.ErrTooLarge}, nil
	}
	t, err := w.tracker(in.Tracker)
	if err != nil {
		return queue.ReceiveResult{}, err
	}
	if in.Key != 0 {
		if err := w.loadRing(t); err != nil {
			return queue.ReceiveResult{}, err
		}
		if r := t.copyOf(in, w.now); r != nil {
			if in.Epoch != 0 {
				r.epoch = in.Epoch
				t.ringDirty = true
				w.mark(t)
			}
			return queue.ReceiveResult{ID: r.id, Dup: true}, nil
		}
	}
	m := queue.Message{
		Tracker: in.Tracker, Status: queue.StatusUnread, Employee: in.Employee,
		Text: in.Text, ReplyTo: in.ReplyTo,
	}
	if err := w.insert(t, &m); err != nil {
		return queue.ReceiveResult{}, err
	}
	t.unread++
	w.mark(t)
	if in.Key != 0 {
		if len(t.ring) == dedupeMemory {
			t.ring = slices.Delete(t.ring, 0, 1)
		}
		t.ring = append(t.ring, received{in.Key, m.ID, m.SubmitMs, in.Epoch})
		t.ringDirty = true
	}
	return queue.ReceiveResult{ID: m.ID}, nil
}

// copyOf finds the stored text that in repeats. Without epochs that is the newest with the key;
// with them the oldest that came under another one: a device that resends two equal texts after a
// reconnect means both of them.
func (t *tracker) copyOf(in *queue.Incoming, now int64) *received {
	var found *received
	now = max(now, t.changeMs)
	for i := range t.ring {
		r := &t.ring[i]
		if r.key != in.Key || now-r.ms >= in.Window.Milliseconds() ||
			in.Epoch != 0 && r.epoch == in.Epoch {
			continue
		}
		found = r
		if in.Epoch != 0 {
			break
		}
	}
	return found
}

func (w *writer) loadRing(t *tracker) error {
	if t.ringLoaded {
		return nil
	}
	t.ring = t.ring[:0]
	err := w.c.query("SELECT ring FROM dedupe WHERE tracker = ?",
		func(row []driver.Value) (err error) {
			t.ring, err = decodeRing(t.ring, blob(row[0]))
			return err
		}, int64(t.id))
	if err != nil {
		return fmt.Errorf("reading the received keys of tracker %d: %w", t.id, err)
	}
	t.ringLoaded = true
	return nil
}

func encodeRing(ring []received) []byte {
	b := make([]byte, 0, len(ring)*receivedSize)
	for _, r := range ring {
		b = binary.BigEndian.AppendUint64(b, r.key)
		b = binary.BigEndian.AppendUint64(b, uint64(r.id))
		b = binary.BigEndian.AppendUint64(b, uint64(r.ms))
		b = binary.BigEndian.AppendUint64(b, uint64(r.epoch))
	}
	return b
}

func decodeRing(ring []received, b []byte) ([]received, error) {
	if len(b)%receivedSize != 0 || len(b) > dedupeMemory*receivedSize {
		return nil, fmt.Errorf("%w: %d bytes", queue.ErrCorrupt, len(b))
	}
	for ; len(b) > 0; b = b[receivedSize:] {
		ring = append(ring, received{
			key: binary.BigEndian.Uint64(b), id: int64(binary.BigEndian.Uint64(b[8:])),
			ms:    int64(binary.BigEndian.Uint64(b[16:])),
			epoch: int64(binary.BigEndian.Uint64(b[24:])),
		})
	}
	return ring, nil
}
