package redisstore

import (
	"encoding/binary"
	"fmt"

	"trackchat/queue"
)

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
	return w, end, decodeRest(&w.Msg, b[42], b[size:end])
}
