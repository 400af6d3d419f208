package redisstore

import (
	"encoding/binary"
	"fmt"

	"trackchat/queue"
)

// A chunk holds the records of one block of a tracker: 9 bytes of header (tracker 8, outgoing
// records 1, written when the block is closed) and up to 64 records.
//
// A record, all numbers big-endian:
//
//	 0 status 1
//	 1 reason 1    F: why; P: tries that got no answer; D V S: 1 says that the place of the
//	               acknowledged parts holds the number of replaced characters
//	 2 changed 6   ms: D V R when acknowledged or read, F E X S when ended, P when parts were
//	               acknowledged
//	 8 opened 6    ms: V; P the first of the tries; of what was P it stays behind
//	14 parts 2, acknowledged 2
//	18 slot 1
//	19 check 4     a random number: tells a record from text that looks like one
//	23 submitted 6 ms
//	29 flags 1     which of the following are there: 1 employee, 2 expires, 4 reply to, 8 choices,
//	    16 author; 32 urgent, of which nothing follows. What an older program does not know it
//	    cannot skip
//	30 length 3    of what follows
//	33 employee 8, expires 6 (ms), reply to 8, choices (count 1, then length as uvarint and bytes
//	    of each), author (kind 1, then id and name likewise), text
const (
	chunkHeader  = 9
	recordHeader = 33

	flagEmployee = 1
	flagExpires  = 2
	flagReplyTo  = 4
	flagChoices  = 8
	flagAuthor   = 16
	flagUrgent   = 32

	knownFlags = flagEmployee | flagExpires | flagReplyTo | flagChoices | flagAuthor | flagUrgent

	maxChoices = 255
)

// appendTail appends a record from its flags on.
func appendTail(dst []byte, m *queue.Message) []byte {
	at, flags := len(dst), byte(0)
	dst = append(dst, 0, 0, 0, 0)
	if m.Employee != 0 {
		flags |= flagEmployee
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.Employee))
	}
	if m.ExpiresMs != 0 {
		flags |= flagExpires
		dst = appendUint48(dst, m.ExpiresMs)
	}
	if m.ReplyTo != 0 {
		flags |= flagReplyTo
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.ReplyTo))
	}
	if len(m.Choices) > 0 {
		flags |= flagChoices
		choices := m.Choices[:min(len(m.Choices), maxChoices)]
		dst = append(dst, byte(len(choices)))
		for _, c := range choices {
			dst = appendString(dst, c)
		}
	}
	if m.Author != nil {
		flags |= flagAuthor
		dst = append(dst, byte(m.Author.Kind))
		dst = appendString(appendString(dst, m.Author.ID), m.Author.Name)
	}
	if m.Urgent {
		flags |= flagUrgent
	}
	dst = append(dst, m.Text...)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	dst[at] = flags
	return dst
}

// appendString appends the length of s as a uvarint, and s.
func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// maxTail bounds a record after its header, so that a block's length keeps within 24 bits.
const maxTail = 1 << 23

func appendUint48(dst []byte, v int64) []byte {
	return append(dst, byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func appendUint40(dst []byte, v int64) []byte {
	return append(dst, byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func uint48(b []byte) int64 {
	return int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

func uint56(b []byte) int64 { return int64(uint24(b))<<32 | int64(binary.BigEndian.Uint32(b[3:])) }

// chunkTracker returns the tracker that a chunk belongs to, false for something that is no chunk.
func chunkTracker(chunk string) (queue.TrackerID, bool) {
	if len(chunk) < chunkHeader {
		return 0, false
	}
	return queue.TrackerID(binary.BigEndian.Uint64([]byte(chunk[:8]))), true
}

// eachRecord decodes the records of block at of a chunk in the order they were stored, until yield
// returns false.
func eachRecord(chunk string, partition int, block int64, yield func(m *queue.Message) bool) error {
	t, ok := chunkTracker(chunk)
	if !ok {
		return fmt.Errorf("%w: block %d of partition %d has %d bytes", queue.ErrCorrupt, block,
			partition, len(chunk))
	}
	b := []byte(chunk)
	for at := chunkHeader; at < len(b); {
		m := queue.Message{Tracker: t}
		n, err := decodeRecord(&m, b[at:])
		if err != nil {
			return fmt.Errorf("block %d of partition %d, offset %d: %w", block, partition, at, err)
		}
		m.ID = place{partition, block, int(b[at+18])}.id()
		m.Hint = hintOf(t, at, b[at+19:])
		if !yield(&m) {
			return nil
		}
		at += n
	}
	return nil
}

// decodeRecord fills m from the record at the beginning of b and returns its length.
func decodeRecord(m *queue.Message, b []byte) (int, error) {
	if len(b) < recordHeader || len(b) < recordHeader+uint24(b[30:]) || b[18] >= slotsABlock {
		return 0, fmt.Errorf("%w: torn record", queue.ErrCorrupt)
	}
	m.Status, m.Reason = queue.Status(b[0]), queue.Reason(b[1])
	changed := uint48(b[2:])
	m.SubmitMs = uint48(b[23:])
	m.ChangeMs = max(m.SubmitMs, changed)
	switch m.Status {
	case queue.StatusDelivered, queue.StatusRead:
		m.UpdateMs = changed
	case queue.StatusOpened:
		m.UpdateMs, m.ReadMs = changed, uint48(b[8:])
		m.ChangeMs = max(m.ChangeMs, m.ReadMs)
	case queue.StatusPending:
		if m.TriedMs = uint48(b[8:]); m.TriedMs > 0 {
			m.Tries = int(m.Reason)
		}
		m.Reason = queue.ReasonNone
	case queue.StatusFailed, queue.StatusExpired, queue.StatusCancelled, queue.StatusSent,
		queue.StatusUnread:
	default:
		return 0, fmt.Errorf("%w: state %q", queue.ErrCorrupt, b[0])
	}
	m.Parts, m.Acked = int(binary.BigEndian.Uint16(b[14:])), int(binary.BigEndian.Uint16(b[16:]))
	if m.Reason != queue.ReasonNone && (m.Status.Acknowledged() || m.Status == queue.StatusSent) {
		m.Reason, m.Replaced, m.Acked = queue.ReasonNone, m.Acked, 0
		if m.Status.Acknowledged() {
			m.Acked = m.Parts
		}
	}
	n := recordHeader + uint24(b[30:])
	return n, decodeRest(m, b[29], b[recordHeader:n])
}

// decodeRest fills m from what follows a record's header. With a flag of a newer program nobody can
// say where the text begins.
func decodeRest(m *queue.Message, flags byte, rest []byte) error {
	if unknown := flags &^ knownFlags; unknown != 0 {
		return fmt.Errorf("%w: record with flags %#02x, written by a newer version of this program?",
			queue.ErrCorrupt, unknown)
	}
	need := 0
	for flag, size := range [...]int{1: 8, 2: 6, 4: 8, 8: 1, 16: 1} {
		if flags&byte(flag) != 0 {
			need += size
		}
	}
	if len(rest) < need {
		return fmt.Errorf("%w: torn record", queue.ErrCorrupt)
	}
	if flags&flagEmployee != 0 {
		m.Employee = int64(binary.BigEndian.Uint64(rest))
		rest = rest[8:]
	}
	if flags&flagExpires != 0 {
		m.ExpiresMs = uint48(rest)
		rest = rest[6:]
	}
	if flags&flagReplyTo != 0 {
		m.ReplyTo = int64(binary.BigEndian.Uint64(rest))
		rest = rest[8:]
	}
	if flags&flagChoices != 0 {
		var ok bool
		if m.Choices, rest, ok = decodeChoices(rest); !ok {
			return fmt.Errorf("%w: torn choices", queue.ErrCorrupt)
		}
	}
	if flags&flagAuthor != 0 {
		var ok bool
		if m.Author, rest, ok = decodeAuthor(rest); !ok {
			return fmt.Errorf("%w: torn author", queue.ErrCorrupt)
		}
	}
	m.Urgent, m.Text = flags&flagUrgent != 0, string(rest)
	return nil
}

func decodeChoices(b []byte) (choices []string, rest []byte, ok bool) {
	choices = make([]string, b[0])
	b = b[1:]
	for i := range choices {
		if choices[i], b, ok = cutString(b); !ok {
			return nil, nil, false
		}
	}
	return choices, b, true
}

func decodeAuthor(b []byte) (a *queue.Author, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	a = &queue.Author{Kind: queue.AuthorKind(b[0])}
	if a.ID, rest, ok = cutString(b[1:]); ok {
		a.Name, rest, ok = cutString(rest)
	}
	return a, rest, ok
}

// cutString is the reverse of appendString.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	return string(b[size : size+int(n)]), b[size+int(n):], true
}

// hintOf makes a message's Hint of its offset and its check. The check is masked with the tracker,
// so that a hint leads nowhere for another one.
func hintOf(t queue.TrackerID, offset int, check []byte) int64 {
	return int64(offset)<<32 | int64(binary.BigEndian.Uint32(check)^mask(t))
}

// fromHint returns what hintOf was given, offset 0 for what cannot be a hint.
func fromHint(t queue.TrackerID, hint int64) (offset int, check uint32) {
	if offset := hint >> 32; offset >= chunkHeader && offset < 1<<24 {
		return int(offset), uint32(hint) ^ mask(t)
	}
	return 0, 0
}

func mask(t queue.TrackerID) uint32 { return uint32(uint64(t) * 0x9e3779b97f4a7c15 >> 32) }

// state is what a tracker's key K:t:<id> holds, numbers big-endian:
//
//	 0 clock 6     ms of the last change, never goes back
//	 6 pending 3
//	 9 open 3      outgoing messages that no ack has reached
//	12 reset 6     ms of the last change to a record outside the newest 32 blocks
//	18 submitted 6 ms of the newest message, 0 if there is none
//	24 next slot 1
//	25 tail's bytes 3
//	28 tail's outgoing records 1
//	29 newest outgoing message 7
//	36 first block that may hold a pending message 5
//	41 unread 3
//	44 tail block 5
//	49 live blocks 4
//	53 first of the newest 32 blocks 5
//	58 epoch 6
//	64 since 6     ms when the owner came, or the last one went
//	70 seen 6      ms when the device was last heard of
//	76 owner
//
// What changes with every message comes first, so that one short SETRANGE writes it.
type state struct {
	clock, pending, open, reset, submitted, lastOut, unread, epoch, since, seen int64
	owner                                                                       queue.NodeID
}

const stateSize = 76

// decodeState reads a tracker's key; a missing one is a tracker that never had a message.
func decodeState(s string) (state, error) {
	if s == "" {
		return state{}, nil
	}
	if len(s) < stateSize {
		return state{}, fmt.Errorf("%w: tracker's state has %d bytes", queue.ErrCorrupt, len(s))
	}
	b := []byte(s[:stateSize])
	return state{
		clock: uint48(b), pending: int64(uint24(b[6:])), open: int64(uint24(b[9:])),
		reset: uint48(b[12:]), submitted: uint48(b[18:]),
		lastOut: uint56(b[29:]), unread: int64(uint24(b[41:])), epoch: uint48(b[58:]),
		since: uint48(b[64:]), seen: uint48(b[70:]), owner: queue.NodeID(s[stateSize:]),
	}, nil
}

func tracker8(t queue.TrackerID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t)) }
