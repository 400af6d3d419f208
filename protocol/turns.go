package protocol

import "time"

// Turns has texts of the two sides of a Relay take turns at a device whose acks name none: ours
// waits for the ack of the tracking server's, and that one for ours, but no longer than RelayWait.
// Times are Clock.Ms.
type Turns struct {
	Ours, Theirs uint32 // texts at the device whose acks have not come

	held     []byte // texts of the server that wait for the ack of ours
	waiting  uint32 // how many
	oursMs   int64  // when ours was written; 0: at the next PollTurns
	theirsMs int64  // when the server's newest text went to the device
	asked    bool   // since the last PollTurns one of ours has asked in vain
	gone     bool
}

const (
	mostHeldTurns = 16 << 10 // bytes
	turnMs        = int64(RelayWait / time.Millisecond)
)

// TheirTurn reports whether ours has to wait; asks: there is one.
func (t *Turns) TheirTurn(asks bool) bool {
	theirs := t.Theirs > 0 || t.waiting > 0
	t.asked = t.asked || theirs && asks
	return theirs
}

// WroteOurs notes that a text of ours goes out that is acknowledged.
func (t *Turns) WroteOurs() {
	t.Ours++
	t.oursMs = 0
}

// AppendTheirs holds a text of the server back while ours alone is at the device, or passes it
// after those that were held back before.
func (t *Turns) AppendTheirs(dst, frame []byte, ms int64) []byte {
	t.waiting++
	if t.Ours > 0 && t.Theirs == 0 && !turnOver(t.oursMs, ms) &&
		len(t.held)+len(frame) <= mostHeldTurns {
		t.held = append(t.held, frame...)
		return dst
	}
	return append(t.release(dst, ms), frame...)
}

// release appends the texts that were held back. They are at the device then.
func (t *Turns) release(dst []byte, ms int64) []byte {
	dst = append(dst, t.held...)
	t.Theirs += t.waiting
	t.held, t.waiting, t.theirsMs = nil, 0, ms
	return dst
}

// DropTheirs forgets what was held back for a server that is gone. What is at the device stays the
// server's.
func (t *Turns) DropTheirs() { t.held, t.waiting = nil, 0 }

// PollTurns appends the server's texts whose turn it is, and returns when to ask again, 0 never.
// silent: no ack counts, so none can be mistaken.
func (t *Turns) PollTurns(dst []byte, ms int64, silent bool) (out []byte, next int64) {
	asked := t.asked
	t.asked = false
	if t.Ours > 0 && t.oursMs == 0 {
		t.oursMs = ms
	}
	if t.waiting > 0 && (t.Ours == 0 || turnOver(t.oursMs, ms)) {
		dst = t.release(dst, ms)
	}
	switch {
	case t.waiting > 0:
		return dst, t.oursMs + turnMs
	case t.Theirs == 0:
	case !turnOver(t.theirsMs, ms):
		return dst, t.theirsMs + turnMs
	case silent:
		t.Theirs = 0
	case asked:
		t.gone = true
	}
	return dst, 0
}

func turnOver(sinceMs, ms int64) bool { return sinceMs != 0 && ms >= sinceMs+turnMs }

// Mistaken notes that an ack came that could be for either side's text.
func (t *Turns) Mistaken() { t.gone = true }

// Gone reports that the next ack could mean either side's text, or one could have: see Quitter.
func (t *Turns) Gone() bool { return t.gone }
