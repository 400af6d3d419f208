package egts

import (
	"encoding/binary"
	"slices"
)

const (
	// ownHalf is where the PIDs and RNs of our packets to a relayed terminal begin.
	ownHalf = 0x8000
	// maxNumbers bounds what is remembered of either side's numbers.
	maxNumbers = 64
	// apart is how far from its own a number of the server's is moved, so that its counter does not
	// run into it at once.
	apart = 0x4000
)

// traffic is what the terminal has been sent by either side, as far as a word of the terminal about
// one must not be taken for a word about the other. It exists once that can be.
type traffic struct {
	pids, rns numbers
	texts     []written // ours, newest last
	cids      []uint32  // of the server's commands, newest last
}

// written is a text that was written over this connection.
type written struct {
	ref  uint32 // the gateway's
	wire uint32 // its CID
}

// numbers are the PIDs, or the RNs, of what the terminal confirms. Ours are those of the upper half
// that the server has not used lately. The server's pass as they are, but for one that is ours
// already: the terminal gets another one of the upper half in its place, which neither side has,
// and the same one each time the server repeats it. So no number means both sides.
type numbers struct {
	ours, theirs []uint16 // in the upper half, newest last
	mapped       []mapping
}

type mapping struct{ server, wire uint16 }

// remember puts v last in a list that holds each value once; the oldest gives way.
func remember[T comparable](list []T, v T) []T {
	if i := slices.Index(list, v); i >= 0 {
		list = slices.Delete(list, i, i+1)
	} else if len(list) == maxNumbers {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, v)
}

// forget takes v off a list that holds each value once.
func forget[T comparable](list []T, v T) []T {
	if i := slices.Index(list, v); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// server returns the number of the server's that reaches the terminal as wire.
func (l *numbers) server(wire uint16) (n uint16, mapped bool) {
	for _, m := range l.mapped {
		if m.wire == wire {
			return m.server, true
		}
	}
	return wire, false
}

// free returns the first number from n on that is in the upper half and nobody's.
func (l *numbers) free(n uint16) uint16 {
	for n |= ownHalf; ; n = (n + 1) | ownHalf {
		if _, mapped := l.server(n); !mapped && !slices.Contains(l.ours, n) &&
			!slices.Contains(l.theirs, n) {
			return n
		}
	}
}

// wire returns the number under which the terminal gets the server's number n, of the upper half.
func (l *numbers) wire(n uint16) uint16 {
	i := slices.IndexFunc(l.mapped, func(m mapping) bool { return m.server == n })
	if i >= 0 {
		m := l.mapped[i]
		l.mapped = remember(l.mapped, m)
		return m.wire
	}
	if _, taken := l.server(n); taken || slices.Contains(l.ours, n) {
		m := mapping{n, l.free(n ^ apart)}
		l.mapped = remember(l.mapped, m)
		return m.wire
	}
	l.theirs = remember(l.theirs, n)
	return n
}

// pass returns the number under which the terminal gets the server's number n: n itself where its
// packet must not be touched.
func (l *numbers) pass(n uint16, touch bool) uint16 {
	if touch {
		return l.wire(n)
	}
	l.give(n)
	return n
}

// give makes n the server's, which the terminal gets as it is.
func (l *numbers) give(n uint16) {
	l.ours = forget(l.ours, n)
	l.mapped = slices.DeleteFunc(l.mapped, func(m mapping) bool { return m.wire == n })
	l.theirs = remember(l.theirs, n)
}

// cidStep is odd, and moves a CID far from its neighbours.
const cidStep = 0x9E3779B9

// cid returns the CID for the text ref: the one that it had, else ref itself, unless that means
// another text by now.
func (t *traffic) cid(ref uint32) uint32 {
	for _, w := range t.texts {
		if w.ref == ref {
			return w.wire
		}
	}
	wire := ref
	for slices.Contains(t.cids, wire) || t.has(wire) {
		wire += cidStep
	}
	return wire
}

func (t *traffic) has(wire uint32) bool {
	return slices.ContainsFunc(t.texts, func(w written) bool { return w.wire == wire })
}

// ref returns which text of ours the CID means; false: none that is known.
func (t *traffic) ref(wire uint32) (ref uint32, ours bool) {
	if t == nil {
		return 0, false
	}
	for _, w := range t.texts {
		if w.wire == wire {
			return w.ref, true
		}
	}
	return 0, false
}

// use notes a CID of the server's. A text of ours that had it means nothing any more: the terminal
// may speak of either.
func (t *traffic) use(cid uint32) {
	t.texts = slices.DeleteFunc(t.texts, func(w written) bool { return w.wire == cid })
	t.cids = remember(t.cids, cid)
}

// told reports whether a RESPONSE with this data is about a packet of ours and nothing else.
func (t *traffic) told(p *packet) bool {
	if t == nil || !p.response() || len(p.data) < responseHead ||
		!slices.Contains(t.pids.ours, le16(p.data)) ||
		checkRecords(p.data[responseHead:]) != codeOK {
		return false
	}
	for data := p.data[responseHead:]; len(data) > 0; {
		var r record
		r, data, _ = nextRecord(data)
		if len(r.data) == 0 || !checkSubs(r.data) {
			return false
		}
		for subs := r.data; len(subs) > 0; {
			var kind byte
			var sub []byte
			kind, sub, subs, _ = nextSub(subs)
			if kind != subRecordResponse || len(sub) < 3 ||
				!slices.Contains(t.rns.ours, le16(sub)) {
				return false
			}
		}
	}
	return true
}

// restore puts the server's own numbers into the terminal's words about its packets and records,
// and reports whether there was one that differed. The data is that of a packet which can be read.
func (t *traffic) restore(p *packet) (changed bool) {
	data := p.data
	switch {
	case p.kind == typeResponse && len(data) >= responseHead:
		changed = t.pids.restore(data)
		data = data[responseHead:]
	case p.kind != typeAppData:
		return false
	}
	if checkRecords(data) != codeOK {
		return changed
	}
	for len(data) > 0 {
		var r record
		r, data, _ = nextRecord(data)
		for subs := r.data; len(subs) > 0; {
			kind, sub, rest, ok := nextSub(subs)
			if !ok {
				break
			}
			if kind == subRecordResponse && len(sub) >= 3 && t.rns.restore(sub) {
				changed = true
			}
			subs = rest
		}
	}
	return changed
}

// restore replaces the number at the head of field by the server's own where that is another one.
func (l *numbers) restore(field []byte) bool {
	n, mapped := l.server(le16(field))
	if mapped {
		binary.LittleEndian.PutUint16(field, n)
	}
	return mapped
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
