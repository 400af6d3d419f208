package egts

import (
	"bytes"
	"slices"
	"time"
)

// Repetition of packets that the terminal has not answered (5.7: TL_RESPONSE_TO,
// TL_RESEND_ATTEMPTS).
const (
	responseTimeout = 5 * time.Second
	resendAttempts  = 3
	maxUnanswered   = 4 // the oldest gives way
)

// unanswered are packets of ours that wait for their RESPONSE: texts, RESULT_CODE and CT_DELIV. A
// terminal that answers none of the copies of a text is gone: the connection is closed, as the
// standard wants it, and the text goes out again after the next login. The other two are given up
// without a word: both only repeat what the terminal finds out otherwise, and to close the
// connection for that would cost a session with each terminal that is careless about it.
//
// told are the texts of the driver that CT_DELIV spoke of. They are remembered until the terminal
// confirms that, also after it was given up.
type unanswered struct {
	packets []waitingPacket
	told    []told // at most maxDelivered; the oldest gives way
}

// told is a CT_DELIV: its packet and record, and the key of the text.
type told struct {
	pid, rn uint16
	key     uint64
}

type waitingPacket struct {
	pid   uint16
	frame []byte
	since time.Time // of the last sending, as Poll saw it; zero: not yet
	tries int
	text  bool
}

func (c *codec) await() *unanswered {
	if c.waiting == nil {
		c.waiting = &unanswered{}
	}
	return c.waiting
}

// rest gives up what is not needed until something else has to be answered.
func (c *codec) rest() {
	if w := c.waiting; w != nil && len(w.packets) == 0 && len(w.told) == 0 {
		c.waiting = nil
	}
}

// tell notes a CT_DELIV. Of several for one text only the newest says that the terminal knows of
// it.
func (c *codec) tell(t told) {
	w := c.await()
	w.told = slices.DeleteFunc(w.told, func(o told) bool { return o.key == t.key })
	if len(w.told) == maxDelivered {
		w.told = slices.Delete(w.told, 0, 1)
	}
	w.told = append(w.told, t)
}

// learned returns the key of the text whose CT_DELIV the terminal confirms, 0 for none, and forgets
// it.
func (c *codec) learned(confirms func(told) bool) uint64 {
	if c.waiting == nil {
		return 0
	}
	w := c.waiting
	i := slices.IndexFunc(w.told, confirms)
	if i < 0 {
		return 0
	}
	key := w.told[i].key
	w.told = slices.Delete(w.told, i, i+1)
	c.rest()
	return key
}

// wait notes a packet that has to be answered.
func (c *codec) wait(p waitingPacket, frame []byte) {
	w := c.await()
	if len(w.packets) == maxUnanswered {
		w.packets = slices.Delete(w.packets, 0, 1)
	}
	p.frame = bytes.Clone(frame)
	w.packets = append(w.packets, p)
}

// repeated takes note of a copy that the gateway has sent by its own timeouts.
func (c *codec) repeated(pid uint16) {
	if c.waiting == nil {
		return
	}
	for i := range c.waiting.packets {
		if p := &c.waiting.packets[i]; p.pid == pid {
			p.since = time.Time{}
			p.tries++
		}
	}
}

func (c *codec) Gone() bool { return c.gone }

// answered forgets a packet, whatever the terminal said of it.
func (c *codec) answered(pid uint16) {
	if c.waiting == nil {
		return
	}
	w := c.waiting
	w.packets = slices.DeleteFunc(w.packets, func(p waitingPacket) bool { return p.pid == pid })
	c.rest()
}

// Poll: it repeats what the terminal has not answered.
func (c *codec) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	var next time.Time
	if c.waiting == nil {
		return dst, next
	}
	w := c.waiting
	for i := range w.packets {
		p := &w.packets[i]
		switch {
		case p.since.IsZero():
			p.since = now
		case now.Before(p.since.Add(responseTimeout)):
		case p.tries < resendAttempts:
			dst = append(dst, p.frame...)
			p.since = now
			p.tries++
		default:
			p.tries = resendAttempts + 1
			c.gone = c.gone || p.text
		}
		if due := p.since.Add(responseTimeout); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	w.packets = slices.DeleteFunc(w.packets,
		func(p waitingPacket) bool { return p.tries > resendAttempts })
	if len(w.packets) == 0 {
		c.rest()
		return dst, time.Time{}
	}
	return dst, next
}
