package jt808

import (
	"bytes"
	"encoding/binary"
	"fmt"
	mathbits "math/bits"
	"slices"
	"time"

	"trackchat/protocol"
)

// Bounds of what waits for its other parts, for one session.
const (
	maxRuns       = 3
	maxTextParts  = 128
	maxTextBytes  = 64 << 10 // 20,000 characters take 40,000
	maxMediaParts = 4096     // of which only the numbers and the first are kept
	maxLoginParts = 8        // of a registration or authentication, which come before the login
	maxLoginBytes = 2 << 10

	partTimeout = 60 * time.Second
	maxAsks     = 3
	maxListed   = 0xFF // part numbers in one 0x8003
)

// askAfter is how long a message lies still with parts missing before they are asked for; at once
// when its last part is there, since parts come in order.
func askAfter(asked int) time.Duration { return 10 * time.Second << asked }

// partKind is what becomes of a message in parts.
type partKind uint8

const (
	partsPassed partKind = iota // answered one by one, never put together
	partsText                   // put together
	partsLogin                  // put together before the login as well
	partsMedia                  // only its completeness matters
)

func (c *codec) partKind(id uint16) partKind {
	switch id {
	case msgText, msgTextReply:
		return partsText
	case msgSerial:
		if c.settings.String(settingSerialText) != "" {
			return partsText
		}
	case msgRegister, msgAuth:
		return partsLogin
	case msgMedia:
		return partsMedia
	}
	return partsPassed
}

// bounds are the most parts and bytes of a message; of media no bytes are counted.
func (k partKind) bounds() (parts uint16, size int) {
	switch k {
	case partsText:
		return maxTextParts, maxTextBytes
	case partsLogin:
		return maxLoginParts, maxLoginBytes
	case partsMedia:
		return maxMediaParts, maxBody
	default:
		return 0xFFFF, 0
	}
}

// part takes one subpackage. Texts, registrations and authentications are put together, of
// multimedia only the completeness matters, and of anything else nothing does.
func (c *codec) part(h *header, body []byte, emit func(*protocol.Event)) error {
	e := protocol.Event{
		Kind: protocol.KindOther, Msg: uint32(h.id), Seq: uint32(h.serial), Aux: auxPart,
	}
	kind := c.partKind(h.id)
	most, _ := kind.bounds()
	switch {
	case h.id == msgReply:
		return c.malformed(h, body, emit) // never that long
	case h.total > most:
		c.refuse(h, resultMalformed, emit)
		return fmt.Errorf("%w: message %04x in %d parts", protocol.ErrMalformed, h.id, h.total)
	case h.id == msgPositions && h.number == 1 && len(body) >= 2:
		e.Kind = protocol.KindPosition
		e.Count = min(int(binary.BigEndian.Uint16(body)), maxTextBytes/positionBytes)
	case kind == partsLogin, c.is(loggedIn) && kind != partsPassed:
		return c.assemble(h, body, kind, emit)
	}
	c.events.Emit(emit, e)
	return nil
}

func (c *codec) assemble(h *header, body []byte, kind partKind, emit func(*protocol.Event)) error {
	if c.assembly == nil {
		c.assembly = &assembly{}
	}
	r := c.assembly.take(h, body, kind)
	e := protocol.Event{
		Kind: protocol.KindOther, Msg: uint32(h.id), Seq: uint32(h.serial), Aux: auxPart,
	}
	if kind == partsLogin {
		e.Kind = protocol.KindUnknown // that needs no login
	}
	switch {
	case r.tooLong():
		c.refuse(h, resultMalformed, emit)
		return fmt.Errorf("%w: message %04x is longer than any", protocol.ErrMalformed, h.id)
	case kind == partsMedia && r.complete():
		e.Aux = auxParts | uint64(r.media())
	case kind == partsLogin && r.complete():
		c.assembly.drop(r)
		return c.whole(h, e, slices.Concat(r.parts...), emit)
	case r.complete() && !r.settled:
		// A repeated part of a text that could not be stored gives the text once more.
		h.first, e.Aux = r.first, auxText|uint64(r.total)<<16|uint64(r.first)
		text := slices.Concat(r.parts...)
		r.key = hash(r.first, h.id, text)
		err := c.whole(h, e, text, emit)
		r.settled = err != nil
		return err
	case r.settled:
		e.Key = r.key
	}
	c.events.Emit(emit, e)
	return nil
}

// assembly are the messages of which parts have arrived.
type assembly struct{ runs []*run }

// run is one message in parts. Only the message id and the number of parts say that parts belong
// together: terminals number other messages in between, send a part that was asked for under a
// number of its own, or give all parts the same (4.4.3 wants consecutive numbers).
type run struct {
	id, total   uint16
	first       uint16 // serial number of part 1, until it comes of the part that came first
	seenFirst   uint16 // the one under which part 1 came again
	newest      uint16 // number of the part that came last of those that were not there
	kind        partKind
	settled     bool // dealt with; stays until the timeout so that a repeated part begins nothing
	last        bool // the last part has arrived
	have        bits
	seen        bits      // came again since the newest part, or since the message was settled
	parts       [][]byte  // of media only part 1
	key         uint64    // of a text that is complete
	touched     time.Time // when Poll saw the newest part; zero: not yet
	asked, size int
}

// bits has a bit for each part, numbered from 0.
type bits []uint64

func newBits(n uint16) bits { return make(bits, (int(n)+63)/64) }

func (b bits) has(i uint16) bool { return b[i/64]>>(i%64)&1 != 0 }

func (b bits) set(i uint16) { b[i/64] |= 1 << (i % 64) }

func (b bits) count() int {
	n := 0
	for _, word := range b {
		n += mathbits.OnesCount64(word)
	}
	return n
}

func (r *run) complete() bool { return r.have.count() == int(r.total) }

func (r *run) tooLong() bool {
	_, most := r.kind.bounds()
	return r.size > most
}

// media is the id in part 1.
func (r *run) media() uint32 {
	if len(r.parts[0]) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(r.parts[0])
}

func (a *assembly) drop(r *run) {
	a.runs = slices.DeleteFunc(a.runs, func(x *run) bool { return x == r })
}

// settle notes that a text was dealt with.
func (a *assembly) settle(id, total, first uint16) {
	for _, r := range a.runs {
		if r.id == id && r.total == total && r.first == first && r.complete() {
			r.settled = true
		}
	}
}

// take puts a part into the run it belongs to. Another content under a number that is there is
// another message, which what has come again since begins; so is one that comes again whole.
func (a *assembly) take(h *header, body []byte, kind partKind) *run {
	i := slices.IndexFunc(a.runs, func(r *run) bool { return r.id == h.id && r.total == h.total })
	if i < 0 {
		return a.open(h, body, kind)
	}
	r := a.runs[i]
	switch {
	case r.tooLong() && h.number > 1:
	case r.tooLong():
		a.drop(r)
		return a.open(h, body, kind)
	case !r.have.has(h.number - 1):
		r.put(h, body)
	case r.sameAs(h.number, body):
		r.again(h)
	default:
		a.drop(r)
		n := a.open(h, body, kind)
		n.begin(r)
		return n
	}
	return r
}

// open begins a run. One that is complete gives way first, then media, then the oldest.
func (a *assembly) open(h *header, body []byte, kind partKind) *run {
	if len(a.runs) == maxRuns {
		i := slices.IndexFunc(a.runs, (*run).complete)
		if i < 0 {
			i = slices.IndexFunc(a.runs, func(r *run) bool { return r.kind == partsMedia })
		}
		i = max(i, 0)
		a.runs = slices.Delete(a.runs, i, i+1)
	}
	kept := h.total
	if kind == partsMedia {
		kept = 1
	}
	r := &run{
		id: h.id, total: h.total, first: h.serial, kind: kind,
		have: newBits(h.total), seen: newBits(h.total), parts: make([][]byte, kept),
	}
	r.put(h, body)
	a.runs = append(a.runs, r)
	return r
}

// sameAs reports whether a part that is there has this content, as far as that was kept.
func (r *run) sameAs(number uint16, body []byte) bool {
	return int(number) > len(r.parts) || bytes.Equal(r.parts[number-1], body)
}

// put keeps a part that is new.
func (r *run) put(h *header, body []byte) {
	i := h.number - 1
	r.have.set(i)
	if int(i) < len(r.parts) {
		r.parts[i] = append([]byte{}, body...)
		r.size += len(body)
	}
	if i == 0 {
		r.first = h.serial
	}
	if r.tooLong() {
		r.parts = nil
	}
	r.last, r.touched, r.newest = r.last || h.number == h.total, time.Time{}, h.number
	clear(r.seen)
}

// again notes that a part came again. A text that does so whole is another one: the driver may say
// the same twice. Whether its numbers are those of the first is for the key to tell.
func (r *run) again(h *header) {
	if h.number == 1 {
		r.seenFirst = h.serial
	}
	r.seen.set(h.number - 1)
	if !r.settled {
		return
	}
	r.touched = time.Time{}
	if r.seen.count() == int(r.total) {
		r.first, r.settled = r.seenFirst, false
		clear(r.seen)
	}
}

// begin takes over what came again under the run before, and a part 1 that came last there: it may
// have been the first of this one.
func (r *run) begin(before *run) {
	if before.newest == 1 && !before.seen.has(0) {
		before.seen.set(0)
		before.seenFirst = before.first
	}
	for i := range before.total {
		if !before.seen.has(i) || r.have.has(i) {
			continue
		}
		r.have.set(i)
		if int(i) < len(r.parts) {
			r.parts[i] = before.parts[i]
			r.size += len(r.parts[i])
		}
		if i == 0 {
			r.first = before.seenFirst
		}
	}
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
		if !r.complete() && !r.tooLong() && r.asked < maxAsks {
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

// appendAskAgain lists missing parts: serial of the first part WORD, count (BYTE, in 2019 WORD),
// numbers WORD each.
func (c *codec) appendAskAgain(dst []byte, r *run) []byte {
	dst, start := c.begin(dst, msgAskAgain)
	dst = binary.BigEndian.AppendUint16(dst, r.first)
	missing := min(int(r.total)-r.have.count(), maxListed)
	if c.peer.long {
		dst = append(dst, 0)
	}
	dst = append(dst, byte(missing))
	for i := uint16(0); i < r.total && missing > 0; i++ {
		if !r.have.has(i) {
			dst = binary.BigEndian.AppendUint16(dst, i+1)
			missing--
		}
	}
	return finish(dst, start)
}
