// Package batch is what the calls of a store wait in until they are carried out together: bounded,
// in an order of precedence, and given up by callers that leave.
package batch

import (
	"fmt"
	"sync/atomic"

	"trackchat/queue"
)

// Room bounds what waits in the lanes of a store.
type Room struct {
	items, bytes       atomic.Int64
	maxItems, maxBytes int64
}

// NewRoom returns room for as many items, of as many bytes together. What only adds load has three
// quarters of it.
func NewRoom(maxItems, maxBytes int) *Room {
	return &Room{maxItems: int64(maxItems), maxBytes: int64(maxBytes)}
}

// Items is how many items wait.
func (r *Room) Items() int64 { return r.items.Load() }

// Bytes is how many bytes wait.
func (r *Room) Bytes() int64 { return r.bytes.Load() }

// enter counts an item in; queue.ErrOverloaded where there is no room. An item larger than the room
// has it to itself.
func (r *Room) enter(l Load) error {
	maxItems, maxBytes := r.maxItems, r.maxBytes
	if l.Bulk {
		maxItems, maxBytes = maxItems*3/4, maxBytes*3/4
	}
	n, bytes := r.items.Add(1), r.bytes.Add(int64(l.Bytes))
	if n > maxItems || bytes > maxBytes && bytes > int64(l.Bytes) {
		r.leave(l)
		return fmt.Errorf("%w: %d requests of %d bytes wait", queue.ErrOverloaded, n-1,
			bytes-int64(l.Bytes))
	}
	return nil
}

func (r *Room) leave(l Load) {
	r.items.Add(-1)
	r.bytes.Add(-int64(l.Bytes))
}
