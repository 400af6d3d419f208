package redisstore

import (
	"encoding/binary"
	"fmt"

	"trackchat/queue"
)

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
