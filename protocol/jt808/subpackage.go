package jt808

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"trackchat/protocol"
)

// Bounds of what waits for its other parts, for one session.
const (
	maxRuns       = 2
	maxTextParts  = 128
	maxTextBytes  = 64 << 10 // 20,000 characters take 40,000
	maxMediaParts = 4096     // of which only the numbers are kept

	partTimeout = 60 * time.Second
	maxAsks     = 3
	maxListed   = 0xFF // part numbers in one 0x8003
)

// askAfter is how long a message lies still with parts missing before they are asked for; at once when its last part is there, since parts come in order.
func askAfter(asked int) time.Duration { return 10 * time.Second << asked }

// assembly are the messages of which parts have arrived.
type assembly struct{ runs []*run }

// run is one message in parts (4.4.3).
type run struct {
	id, first, total uint16
	got              int
	have             []uint64 // a bit for each part
	parts            [][]byte // of a text, nil otherwise
	bytes            int
	media            uint32
	settled          bool      // complete and dealt with; stays until the timeout so that a repeated part does not begin it anew
	last             bool      // the last part has arrived
	touched          time.Time // when Poll saw the newest part; zero: not yet
	asked            int
}

func (r *run) complete() bool { return r.got == int(r.total) }

func (a *assembly) find(id, first uint16) *run {
	for _, r := range a.runs {
		if r.id == id && r.first == first {
			return r
		}
	}
	return nil
}

// settle forgets the text of a message that was dealt with.
func (a *assembly) settle(id, first uint16) {
	if r := a.find(id, first); r != nil {
		r.settled, r.parts, r.bytes = true, nil, 0
	}
}

// open returns the run that h belongs to, begun if need be; the oldest one gives way.
func (a *assembly) open(h *header, text bool) *run {
	if r := a.find(h.id, h.first()); r != nil && r.total == h.total {
		return r
	}
	a.runs = slices.DeleteFunc(a.runs, func(r *run) bool { return r.id == h.id && r.first == h.first() })
	if len(a.runs) == maxRuns {
		a.runs = slices.Delete(a.runs, 0, 1)
	}
	r := &run{id: h.id, first: h.first(), total: h.total, have: make([]uint64, (int(h.total)+63)/64)}
	if text {
		r.parts = make([][]byte, h.total)
	}
	a.runs = append(a.runs, r)
	return r
}

// part takes one subpackage. Texts are put together, of multimedia only the completeness matters, and of anything else nothing does; before login nothing is kept.
func (c *codec) part(h *header, body []byte, emit func(*protocol.Event)) error {
	e := protocol.Event{Kind: protocol.KindOther, Msg: uint32(h.id), Seq: uint32(h.serial), Aux: auxPart}
	text := h.id == msgText || h.id == msgTextReply || (h.id == msgSerial && c.settings.String(settingSerialText) != "")
	switch {
	case h.id == msgReply, h.id == msgRegister, h.id == msgAuth:
		return c.malformed(h, body, emit) // never that long
	case h.id == msgPositions && h.number == 1 && len(body) >= 2:
		e.Kind, e.Count = protocol.KindPosition, min(int(binary.BigEndian.Uint16(body)), maxTextBytes/positionBytes)
	case (text && h.total > maxTextParts) || (h.id == msgMedia && h.total > maxMediaParts):
		c.refuse(h, resultMalformed, emit)
		return fmt.Errorf("%w: message %04x in %d parts", protocol.ErrMalformed, h.id, h.total)
	case c.loggedIn && (text || h.id == msgMedia):
		return c.assemble(h, body, text, emit)
	}
	c.events.Emit(emit, e)
	return nil
}

func (c *codec) assemble(h *header, body []byte, text bool, emit func(*protocol.Event)) error {
	if c.assembly == nil {
		c.assembly = &assembly{}
	}
	r := c.assembly.open(h, text)
	e := protocol.Event{Kind: protocol.KindOther, Msg: uint32(h.id), Seq: uint32(h.serial), Aux: auxPart}
	if word, bit := (h.number-1)/64, uint64(1)<<((h.number-1)%64); r.have[word]&bit == 0 {
		if text && r.bytes+len(body) > maxTextBytes {
			c.assembly.settle(h.id, h.first())
			c.refuse(h, resultMalformed, emit)
			return fmt.Errorf("%w: message %04x is longer than any text", protocol.ErrMalformed, h.id)
		}
		r.have[word] |= bit
		r.got++
		r.touched, r.last = time.Time{}, r.last || h.number == h.total
		if text && !r.settled {
			r.parts[h.number-1] = append([]byte{}, body...)
			r.bytes += len(body)
		}
		if !text && h.number == 1 && len(body) >= 4 {
			r.media = binary.BigEndian.Uint32(body)
		}
	}
	switch {
	case text && r.complete() && !r.settled:
		// A repeated part of a text that could not be stored gives the text once more.
		e.Aux = auxText | uint64(r.first)
		err := c.text(h, e, slices.Concat(r.parts...), emit)
		if err != nil {
			c.assembly.settle(h.id, r.first)
		}
		return err
	case !text && r.complete():
		e.Aux = auxParts | uint64(r.media)
	}
	c.events.Emit(emit, e)
	return nil
}

// poll asks for missing parts and drops what has waited too long.
func (c *codec) poll(dst []byte, now time.Time) ([]byte, time.Time) {
	var next time.Time
	kept := c.assembly.runs[:0]
	for _, r := range c.assembly.runs {
		if r.touched.IsZero() {
			r.touched = now
		}
		end := r.touched.Add(partTimeout)
		if !now.Before(end) {
			continue
		}
		kept = append(kept, r)
		due := end
		if !r.complete() && !r.settled && r.asked < maxAsks {
			due = r.touched.Add(askAfter(r.asked))
			if !now.Before(due) || (r.last && r.asked == 0) {
				dst = c.appendAskAgain(dst, r)
				r.asked++
				due = r.touched.Add(askAfter(r.asked))
			}
			if r.asked == maxAsks || due.After(end) {
				due = end
			}
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	clear(c.assembly.runs[len(kept):])
	if c.assembly.runs = kept; len(kept) == 0 {
		c.assembly = nil
	}
	return dst, next
}

// appendAskAgain lists missing parts: serial of the first part WORD, count (BYTE, in 2019 WORD), numbers WORD each.
func (c *codec) appendAskAgain(dst []byte, r *run) []byte {
	dst, start := c.begin(dst, msgAskAgain)
	dst = binary.BigEndian.AppendUint16(dst, r.first)
	missing := min(int(r.total)-r.got, maxListed)
	if c.peer.long {
		dst = append(dst, 0)
	}
	dst = append(dst, byte(missing))
	for word, have := range r.have {
		for lack := ^have; lack != 0 && missing > 0; lack &= lack - 1 {
			number := word*64 + bits.TrailingZeros64(lack) + 1
			if number > int(r.total) {
				break
			}
			dst = binary.BigEndian.AppendUint16(dst, uint16(number))
			missing--
		}
	}
	return finish(dst, start)
}
