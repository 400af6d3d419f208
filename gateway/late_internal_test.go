package gateway

import (
	"fmt"
	"testing"

	"trackchat/protocol"
	"trackchat/queue"
)

// TestLateAckMeansOnePart: a late ack counts for the part that is due, of exactly one message; what
// the driver opened, chose or answered may name any.
func TestLateAckMeansOnePart(t *testing.T) {
	caps := protocol.TextCaps{PartBytes: 16, RefBits: 16, Charset: protocol.UTF8()}
	const three = "a text that is shown in three parts"
	if parts, err := protocol.Split(three, caps); err != nil || len(parts) != 3 {
		t.Fatalf("%q, %v", parts, err)
	}
	again := int64(1) // another message whose numbers are those of 5<<8
	for protocol.Reference(again<<8, 0, 16) != protocol.Reference(5<<8, 0, 16) || again == 5 {
		again++
	}
	message := func(id int64, status queue.Status, parts, acked int) queue.Message {
		return queue.Message{ID: id << 8, Status: status, Text: three, Parts: parts, Acked: acked}
	}
	expired := message(5, queue.StatusExpired, 0, 0)
	begun := message(5, queue.StatusPending, 3, 1)
	delivered := message(5, queue.StatusDelivered, 3, 3)
	for _, c := range []struct {
		what  string
		ack   lateAck
		named int // part
		among []queue.Message
		want  string
	}{
		{"nothing", lateAck{}, 0, nil, "none 0"},
		{"its first part", lateAck{}, 0, []queue.Message{expired}, "matched 0"},
		{"its second part before the first", lateAck{}, 1, []queue.Message{expired}, "stale 1"},
		{"no part of it", lateAck{}, 3, []queue.Message{expired}, "none 0"},
		{"the part that is due", lateAck{}, 1, []queue.Message{begun}, "matched 1"},
		{"the part before", lateAck{}, 0, []queue.Message{begun}, "stale 0"},
		{"the part behind", lateAck{}, 2, []queue.Message{begun}, "stale 2"},
		{"the last part", lateAck{opened: true}, 2, []queue.Message{delivered}, "matched 2"},
		{"an earlier part", lateAck{opened: true}, 1, []queue.Message{delivered}, "stale 1"},
		{"what was cut otherwise", lateAck{}, 0, []queue.Message{
			message(5, queue.StatusPending, 2, 1),
		}, "matched 0"},
		{"a choice", lateAck{answer: true}, 2, []queue.Message{begun}, "matched 2"},
		{"an answer", lateAck{reply: true}, 0, []queue.Message{begun}, "matched 0"},
		{"two messages", lateAck{}, 0, []queue.Message{
			expired, message(again, queue.StatusExpired, 0, 0),
		}, "several 0"},
		{"another message", lateAck{}, 0, []queue.Message{
			message(6, queue.StatusExpired, 0, 0), expired,
		}, "matched 0"},
	} {
		c.ack.caps, c.ack.ref = caps, protocol.Reference(5<<8, c.named, 16)
		m := c.ack.match(c.among)
		if got := fmt.Sprint(m.result, " ", m.part); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
		if m.result == "matched" && m.msg.ID != 5<<8 {
			t.Errorf("%s: message %d", c.what, m.msg.ID)
		}
	}
}
