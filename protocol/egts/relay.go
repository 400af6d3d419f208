package egts

import (
	"bytes"
	"fmt"
	"time"

	"trackchat/protocol"
)

var (
	_ protocol.Relay      = (*relay)(nil)
	_ protocol.Quitter    = (*relay)(nil)
	_ protocol.Withdrawer = (*relay)(nil)
)

// relay is a codec beside the tracking server's own, which answers the terminal. Packets of the
// terminal pass, but for a bare RESPONSE to a packet of ours; those of the server pass with the
// numbers that are ours replaced (numbers). A CID cannot be replaced in the server's command, so
// that ours gives way: a text whose CID the server uses is written again under another one.
//
// A server that signs, encrypts or compresses is not interrupted: its terminal would not take a
// plain packet of ours, or we do not see whose numbers it uses.
type relay struct {
	codec
	options protocol.RelayOptions
	traffic *traffic              // nil mostly
	login   []byte                // newest packet with TERM_IDENTITY, to be sent again
	hear    func(*protocol.Event) // r.event, made once
	emit    func(*protocol.Event) // of the frame that is read
	passes  bool                  // that frame does
	fresh   bool                  // that frame has TERM_IDENTITY
	opaque  bool                  // nothing of ours may go to the terminal any more
	bound   bool
	asked   bool // TERM_IDENTITY waits for its verdict
	// lenient: the terminal has named itself by its OID, and the server has not yet said anything
	// of the packet that did it (first) nor of the newest one since.
	naming        bool
	first, newest uint16
	told          uint8 // CT_DELIV for the packet whose events are answered
	again         replayed
}

// replayed is a login that was sent to the server again. Its answers are not the terminal's.
type replayed struct {
	pid      uint16
	response bool // is to come
	verdict  bool // is to come
}

func newRelay(s *shared, settings protocol.Settings, o protocol.RelayOptions) *relay {
	r := &relay{codec: *newCodec(s, settings), options: o}
	r.pid, r.rn = ownHalf, ownHalf
	r.hear = r.event
	return r
}

// Caps: nothing goes to a terminal whose server signs or hides what it says.
func (r *relay) Caps() protocol.TextCaps {
	caps := r.codec.Caps()
	caps.NotYet = caps.NotYet || r.opaque
	return caps
}

func (r *relay) Up(w *protocol.Ways, frame []byte, _ time.Time, emit func(*protocol.Event)) error {
	r.passes = !r.takes(frame) || r.options.PassAcks
	if r.passes {
		r.passUp(w, frame)
	}
	r.loggedIn = r.asked || r.bound // no OID has to name it
	r.fresh, r.emit = false, emit
	err := r.Decode(frame, r.hear)
	r.emit = nil
	if r.fresh && r.options.Replay {
		r.login = nil
		if len(frame) <= protocol.MaxReplay {
			r.login = bytes.Clone(frame)
		}
	}
	return err
}

// takes reports whether the frame of the terminal is of no concern to the server.
func (r *relay) takes(frame []byte) bool {
	if r.traffic == nil {
		return false
	}
	p, _, err := parse(frame)
	return err == nil && r.traffic.told(&p)
}

func (r *relay) passUp(w *protocol.Ways, frame []byte) {
	start := len(w.Server)
	w.Server = append(w.Server, frame...)
	if t := r.traffic; t == nil || len(t.pids.mapped)+len(t.rns.mapped) == 0 {
		return
	}
	if p, _, err := parse(w.Server[start:]); err == nil && r.traffic.restore(&p) {
		reseal(w.Server[start:])
		w.Mapped++
	}
}

// event passes on what the codec made of the terminal's packet. A word about a text counts only
// where that is ours.
func (r *relay) event(e *protocol.Event) {
	e.Passed = r.passes
	switch e.Kind {
	case protocol.KindLogin:
		r.asked = e.Msg != 0
		if r.asked {
			r.fresh = true
			r.again.verdict = false // the next one is the terminal's
		}
		if r.naming = !r.asked; r.naming {
			r.first = uint16(e.Seq)
		}
	case protocol.KindAck, protocol.KindEvidence:
		ref, ours := r.traffic.ref(uint32(e.Ref))
		e.Ref = uint64(ref)
		if !ours {
			e.Kind, e.Outcome = protocol.KindOther, 0
		}
	default:
	}
	if e.Aux&auxQuiet == 0 {
		r.newest = uint16(e.Seq)
	}
	r.emit(e)
}

// AppendReply: the server answers; only that its text is stored is told by us. CT_DELIV does not
// wait for the server's RESPONSE.
func (r *relay) AppendReply(dst []byte, e *protocol.Event, res protocol.Result) []byte {
	switch e.Kind {
	case protocol.KindAdmitted:
		r.bound = res == protocol.OK
	case protocol.KindDenied:
		r.bound = false
	case protocol.KindText:
		if res == protocol.OK && r.bound && !r.opaque && r.told < maxDelivered {
			r.told++
			of := message{uint32(e.Ref), uint32(e.Aux), e.Key}
			n := r.number()
			dst = r.appendDelivered(dst, of)
			r.own(n)
		}
	default:
	}
	if e.Aux&auxPacket != 0 {
		r.told = 0
	}
	return dst
}

// AppendText: a repetition after the server has used the CID has another one.
func (r *relay) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	if r.opaque {
		return dst, fmt.Errorf("%w: the server's packets are signed or cannot be read",
			protocol.ErrNotText)
	}
	ref := uint32(t.Ref)
	n := r.number()
	cid := r.traffic.cid(ref)
	t.Ref = uint64(cid)
	dst, err := r.codec.AppendText(dst, t)
	if err == nil {
		r.own(n)
		r.traffic.texts = remember(r.traffic.texts, written{ref, cid})
	}
	return dst, err
}

// AppendWithdraw: only of what cannot be the server's.
func (r *relay) AppendWithdraw(dst []byte, ref uint64) []byte {
	if r.traffic == nil || r.opaque {
		return dst
	}
	cid := r.traffic.cid(uint32(ref))
	if of, ours := r.traffic.ref(cid); !ours || of != uint32(ref) {
		return dst
	}
	n := r.number()
	dst = r.codec.AppendWithdraw(dst, uint64(cid))
	r.own(n)
	return dst
}

// seen returns what has been sent, from now on.
func (r *relay) seen() *traffic {
	if r.traffic == nil {
		r.traffic = &traffic{}
	}
	return r.traffic
}

// pair is the numbers of a packet of ours and of its record.
type pair struct{ pid, rn uint16 }

// number sets the counters to numbers that are free. What is written next takes at most one of
// each.
func (r *relay) number() pair {
	t := r.seen()
	r.pid, r.rn = t.pids.free(r.pid), t.rns.free(r.rn)
	return pair{r.pid, r.rn}
}

// own notes n where it was used.
func (r *relay) own(n pair) {
	if r.pid != n.pid {
		r.traffic.pids.ours = remember(r.traffic.pids.ours, n.pid)
		r.traffic.rns.ours = remember(r.traffic.rns.ours, n.rn)
	}
}

// drop forgets the newest text: a word about its numbers is none about it any more.
func (r *relay) drop() {
	if r.text.is {
		r.answered(r.text.pid)
		r.text = sent{}
	}
}

// blind gives up chat for this connection, and what of ours is on its way: the server has sent what
// cannot be read, so that it may have the same numbers.
func (r *relay) blind() {
	r.opaque = true
	r.drop()
	r.waiting = nil
	if t := r.traffic; t != nil {
		t.texts, t.pids.ours, t.rns.ours = nil, nil, nil
	}
}

// CutDown: what follows lost framing is not seen.
func (r *relay) CutDown(buf []byte, scanned int) (n, rest int, err error) {
	n, rest, err = cut(buf, scanned)
	if err != nil {
		r.blind()
	}
	return n, rest, err
}

// Replay: the newest packet with TERM_IDENTITY. A terminal that is known by its OID needs none: its
// next packet names it.
func (r *relay) Replay(w *protocol.Ways) bool {
	if r.login == nil {
		r.naming = r.offered
		return r.offered
	}
	// a terminal that has no verdict yet still waits for one
	r.again = replayed{le16(r.login[offsetPID:]), !r.asked, !r.asked}
	r.asked = true
	w.Server = append(w.Server, r.login...)
	return true
}
