package jt808

import "slices"

const (
	// maxNumbers bounds what is known of the texts of either side.
	maxNumbers = 64
	// numbersBlock is how many numbers a bit of numbers.forgotten stands for.
	numbersBlock = 1 << 16 / 64
)

// numbers are the serial numbers under which the texts of both sides went to the terminal over this
// connection. No number means a text of either side, except where ownNumber.lost says so.
type numbers struct {
	ours   []ownNumber   // the newest last
	theirs []theirNumber // the newest last
	// a bit for each block of numbers of which one was the server's and is no longer in theirs
	// although the terminal has not acknowledged it.
	forgotten uint64
}

// ownNumber is that of a text of ours.
type ownNumber struct {
	wire, ref, id uint16
	// the server has used the number as well, in a frame that cannot be changed: what names it
	// counts for nobody.
	lost bool
}

// theirNumber is that of a text of the server's.
type theirNumber struct {
	wire, server uint16
	acked        bool
}

// own returns the text of ours that a number means.
func (n *numbers) own(wire uint16) *ownNumber {
	if o := n.written(wire); o != nil && !o.lost {
		return o
	}
	return nil
}

// written returns the text of ours that went out under a number.
func (n *numbers) written(wire uint16) *ownNumber {
	if n == nil {
		return nil
	}
	i := slices.IndexFunc(n.ours, func(o ownNumber) bool { return o.wire == wire })
	if i < 0 {
		return nil
	}
	return &n.ours[i]
}

// their returns the server's text that a number means.
func (n *numbers) their(wire uint16) *theirNumber {
	if n == nil {
		return nil
	}
	i := slices.IndexFunc(n.theirs, func(t theirNumber) bool { return t.wire == wire })
	if i < 0 {
		return nil
	}
	return &n.theirs[i]
}

// named returns the server's text of a number of its own.
func (n *numbers) named(server uint16) *theirNumber {
	if n == nil {
		return nil
	}
	i := slices.IndexFunc(n.theirs, func(t theirNumber) bool { return t.server == server })
	if i < 0 {
		return nil
	}
	return &n.theirs[i]
}

// spoken reports whether the server has sent a text.
func (n *numbers) spoken() bool { return n != nil && len(n.theirs) > 0 }

// isFree reports whether a number means nothing. 0 is what terminals say that do not know what they
// answer.
func (n *numbers) isFree(wire uint16) bool {
	return wire != 0 && n.forgotten>>(wire/numbersBlock)&1 == 0 && n.written(wire) == nil &&
		n.their(wire) == nil
}

// free returns a number that means nothing, the wanted one if it does not. Another one lies far
// from it: servers count, and so do the parts of a message.
func (n *numbers) free(want uint16) (wire uint16, ok bool) {
	if n.isFree(want) {
		return want, true
	}
	wire = want + 1<<15
	const blocks = 1<<16/numbersBlock + 1 // the first one may be seen twice
	for range blocks + 3*maxNumbers + 1 {
		switch {
		case n.forgotten>>(wire/numbersBlock)&1 != 0:
			wire = wire/numbersBlock*numbersBlock + numbersBlock
		case n.isFree(wire):
			return wire, true
		default:
			wire++
		}
	}
	return 0, false
}

// forText returns the number for a text of ours: that under which it went out before, if it means
// nothing else by now.
func (n *numbers) forText(ref uint16) (wire uint16, ok bool) {
	for _, o := range slices.Backward(n.ours) {
		if o.ref == ref && !o.lost {
			return o.wire, true
		}
	}
	return n.free(ref)
}

// wrote notes a text of ours.
func (n *numbers) wrote(o ownNumber) {
	n.ours = slices.DeleteFunc(n.ours, func(x ownNumber) bool { return x.wire == o.wire })
	if len(n.ours) == maxNumbers {
		n.ours = slices.Delete(n.ours, 0, 1)
	}
	n.ours = append(n.ours, o)
}

// forTheirs returns the number under which a text of the server's goes on; false where there is
// none left for it.
func (n *numbers) forTheirs(server uint16) (wire uint16, ok bool) {
	if t := n.named(server); t != nil {
		t.acked = false
		return t.wire, true
	}
	wire = server
	if n.written(server) != nil || n.their(server) != nil {
		if wire, ok = n.free(server); !ok {
			return 0, false
		}
	}
	n.add(theirNumber{wire: wire, server: server})
	return wire, true
}

// seize notes that a text of the server's goes on under its own number, whatever else that means.
func (n *numbers) seize(server uint16) {
	if o := n.written(server); o != nil {
		o.lost = true
	}
	if t := n.their(server); t != nil {
		t.server, t.acked = server, false
		return
	}
	n.add(theirNumber{wire: server, server: server})
}

// add makes room for a number: one that was acknowledged gives way first.
func (n *numbers) add(t theirNumber) {
	if len(n.theirs) == maxNumbers {
		i := slices.IndexFunc(n.theirs, func(x theirNumber) bool { return x.acked })
		if i < 0 {
			i = 0
			n.forgotten |= 1 << (n.theirs[0].wire / numbersBlock)
		}
		n.theirs = slices.Delete(n.theirs, i, i+1)
	}
	n.theirs = append(n.theirs, t)
}
