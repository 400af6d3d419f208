package redisstore

import (
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"

	"trackchat/queue"
)

// local tells the node of this process of what the process itself has sent, with the answer of the
// script: that saves a way through Redis. What other processes send, and other nodes of this one,
// go by what is published.
type local struct {
	carry     int                          // bytes of the longest text that a wake carries
	node      atomic.Pointer[queue.NodeID] // that began to listen last; nil: none
	listeners queue.Fanout[queue.NodeID, queue.Wake]
}

func (l *local) listen(ctx context.Context, node queue.NodeID, tell func([]queue.Wake)) error {
	if err := l.listeners.Listen(ctx, node, tell); err != nil {
		return err
	}
	l.node.Store(&node)
	return nil
}

// name is the script's argument.
func (l *local) name() string {
	if n := l.node.Load(); n != nil {
		return string(*n)
	}
	return ""
}

// toldSize is what send.lua tells of a message: item 2, epoch 6, previous id 7, offset 3,
// submitted 6.
const toldSize = 24

// hear tells a node of the messages that a batch of sends has stored for its trackers; list is what
// the script says of them, err what became of the batch. Those of a repeated call may have ended
// since they were stored: they are to be looked up.
func (l *local) hear(node queue.NodeID, items []*item, list string, err error, repeated bool) {
	switch {
	case node == "":
	case errors.Is(err, queue.ErrUnknownOutcome): // they may have been stored
		l.listeners.Tell(node, []queue.Wake{{Kind: queue.WakeResync}})
	case err == nil && len(list) > 0:
		l.listeners.Tell(node, l.decode(items, list, repeated))
	}
}

func (l *local) decode(items []*item, list string, repeated bool) []queue.Wake {
	wakes := make([]queue.Wake, 0, len(list)/toldSize)
	for b := []byte(list); len(b) > 0; b = b[toldSize:] {
		if len(b) < toldSize || int(binary.BigEndian.Uint16(b)) >= len(items) {
			return []queue.Wake{{Kind: queue.WakeResync}}
		}
		w, err := items[binary.BigEndian.Uint16(b)].wake(b[2:toldSize], l.carry)
		if err != nil {
			return []queue.Wake{{Kind: queue.WakeResync}}
		}
		w.Hint = w.Hint || repeated
		wakes = append(wakes, w)
	}
	return wakes
}

// wake is what would have been published; send.lua composes the same.
func (it *item) wake(told []byte, carry int) (queue.Wake, error) {
	meta, _ := it.args[1].([]byte)
	tail, _ := it.args[2].([]byte)
	if len(meta) < 12 || it.Err != nil {
		return queue.Wake{}, queue.ErrCorrupt
	}
	kind := byte(entryMessage)
	if len(tail) > carry {
		kind, tail = entryHint, nil
	}
	entry := append(make([]byte, 0, 64+len(tail)), kind)
	entry = append(append(entry, meta[:8]...), told[:6]...)
	entry = append(append(entry, it.reply[1:]...), told[6:]...)
	w, _, err := decodeWake(append(append(entry, meta[8:12]...), tail...))
	return w, err
}
