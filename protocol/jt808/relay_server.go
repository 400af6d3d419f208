package jt808

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"trackchat/protocol"
)

// Down looks at answers, which may be those to a login, and at texts.
func (r *relay) Down(w *protocol.Ways, frame []byte, _ time.Time,
	emit func(*protocol.Event),
) error {
	var room [maxPayload]byte
	payload, err := opened(room[:0], frame)
	if err != nil {
		w.Device = append(w.Device, frame...)
		return err
	}
	h, body, err := parse(payload, false)
	switch {
	case err != nil:
		r.seizeUnread(payload)
	case h.id == msgServerReply && !h.encrypted() && h.total <= 1 && len(body) >= 5:
		if r.answered(body, emit) {
			return nil
		}
	case h.id == msgShow || h.id == msgAsk:
		if r.shows(w, frame, payload, &h) {
			return nil
		}
	}
	w.Device = append(w.Device, frame...)
	return err
}

// answered takes a general reply of the server's: serial WORD, id WORD, result BYTE. True: the
// terminal has not asked for it.
func (r *relay) answered(body []byte, emit func(*protocol.Event)) bool {
	named := request{binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])}
	ok := body[4] == resultOK
	r.waiting = slices.DeleteFunc(r.waiting, func(u unanswered) bool { return u.request == named })
	if len(r.waiting) == 0 {
		r.waiting = nil
	}
	if named.id == 0 {
		return false
	}
	replayed, login := named == r.replayed, named == r.presented
	if replayed {
		r.replayed = request{}
	} else if login {
		r.presented = request{}
	}
	switch login = login || replayed; {
	case ok && (login || r.lenient()):
		r.admitted = true
		r.events.Emit(emit, protocol.Event{Kind: protocol.KindAdmitted})
	case login && !ok && named.id == msgAuth:
		r.set(loggedIn, false)
		r.events.Emit(emit, protocol.Event{Kind: protocol.KindDenied})
	}
	return replayed
}

// lenient reports whether any good answer accepts the terminal.
func (r *relay) lenient() bool {
	return r.is(offered) && !r.admitted && !r.authenticates
}

// shows sends a text of the server's on, under another number where its own means something else.
// False: the frame goes on as it is, which is the only way for one of which we cannot see all.
func (r *relay) shows(w *protocol.Ways, frame, payload []byte, h *header) bool {
	n := r.needNumbers()
	if h.total > 1 || h.encrypted() {
		n.seize(h.serial)
		return false
	}
	wire, ok := n.forTheirs(h.serial)
	if !ok {
		n.seize(h.serial)
		return false
	}
	if wire == h.serial {
		return false
	}
	w.Device = appendRenumbered(w.Device, frame, payload, h.serialAt(), wire)
	w.Mapped++
	return true
}

// seizeUnread deals with a text of the server's that is damaged: there are terminals that
// acknowledge it all the same.
func (r *relay) seizeUnread(payload []byte) {
	if len(payload) <= shortHeader {
		return
	}
	for _, long := range [...]bool{false, true} {
		h, _ := split(payload[:len(payload)-1], long)
		if h.id == msgShow || h.id == msgAsk {
			r.needNumbers().seize(h.serial)
		}
	}
}

func (r *relay) needNumbers() *numbers {
	if r.numbers == nil {
		r.numbers = &numbers{}
	}
	return r.numbers
}

// serialAt is where the serial number lies in a payload.
func (h *header) serialAt() int {
	if h.long {
		return longHeader - 2
	}
	return shortHeader - 2
}

// appendRenumbered appends a frame with another number at an offset of its payload, and all else as
// it came.
func appendRenumbered(dst, frame, payload []byte, at int, number uint16) []byte {
	for _, b := range frame {
		if b != flag {
			break
		}
		dst = append(dst, flag)
	}
	last := len(payload) - 1
	sum := payload[last] ^ payload[at] ^ payload[at+1] ^ byte(number>>8) ^ byte(number)
	for i, b := range payload {
		switch i {
		case at:
			b = byte(number >> 8)
		case at + 1:
			b = byte(number)
		case last:
			b = sum
		}
		if b == flag || b == escape {
			dst = append(dst, escape)
			b = escapeSelf + (b - escape)
		}
		dst = append(dst, b)
	}
	return append(dst, flag)
}

// presents notes a login. One in parts cannot be replayed.
func (r *relay) presents(h *header, frame []byte) {
	r.presented = request{h.serial, h.id}
	if h.id == msgAuth {
		r.authenticates = true
		r.set(offered, true)
	}
	r.login = r.login[:0]
	if r.o.Replay && h.total <= 1 && len(frame) <= protocol.MaxReplay {
		r.login = append(r.login, frame...)
	}
}

// Replay: A login that the server of before has not answered is still to be answered. The numbers
// of its texts stay known, so that no late ack of them is taken for one of ours.
func (r *relay) Replay(w *protocol.Ways) bool {
	if len(r.login) == 0 {
		return false
	}
	payload, err := opened(nil, r.login)
	if err != nil {
		return false
	}
	h, _, err := parse(payload, r.is(contrary))
	if err != nil {
		return false
	}
	if r.login[0] != flag {
		w.Server = append(w.Server, flag)
	}
	w.Server = append(w.Server, r.login...)
	if r.presented.id == 0 {
		r.replayed = request{h.serial, h.id}
	}
	return true
}

// AppendReply answers what did not pass. The server's word about a login is what binds.
func (r *relay) AppendReply(dst []byte, e *protocol.Event, result protocol.Result) []byte {
	switch {
	case e.Kind == protocol.KindDenied:
	case e.Kind == protocol.KindAdmitted && result == protocol.Later:
		r.admitted = false
	case e.Kind == protocol.KindAdmitted:
		r.set(loggedIn, result == protocol.OK)
	case !e.Passed:
		return r.codec.AppendReply(dst, e, result)
	case e.Kind == protocol.KindText:
		r.note(e, result)
		r.stored(request{uint16(e.Seq), uint16(e.Msg)}, result == protocol.OK)
	}
	return dst
}

// AppendText writes a text under its reference, or another number where that one could mean a text
// of the server's as well.
func (r *relay) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	if !r.speaks() {
		return dst, fmt.Errorf("%w: the server has not accepted the terminal",
			protocol.ErrNotText)
	}
	ref := uint16(t.Ref)
	wire, ok := r.needNumbers().forText(ref)
	if !ok {
		return dst, fmt.Errorf("%w: no number is left that the server has not used",
			protocol.ErrNotText)
	}
	t.Ref = uint64(wire)
	out, err := r.codec.AppendText(dst, t)
	if err != nil {
		return out, err
	}
	id := uint16(msgShow)
	if r.is(asked) {
		id = msgAsk
	}
	r.numbers.wrote(ownNumber{wire: wire, ref: ref, id: id})
	return out, nil
}

// await gives the server the time to answer a text that passes.
func (r *relay) await(q request) {
	if slices.ContainsFunc(r.waiting, func(u unanswered) bool { return u.request == q }) {
		return
	}
	if len(r.waiting) == maxWaiting {
		r.waiting = slices.Delete(r.waiting, 0, 1)
	}
	r.waiting = append(r.waiting, unanswered{request: q})
}

// stored notes whether we could answer a text.
func (r *relay) stored(q request, ok bool) {
	i := slices.IndexFunc(r.waiting, func(u unanswered) bool { return u.request == q })
	switch {
	case i < 0:
	case ok:
		r.waiting[i].stored = true
	default:
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
}

// Poll answers the driver's texts that are stored and that the server leaves unanswered, and asks
// for what is missing of those that it does not get.
func (r *relay) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	var next time.Time
	if r.assembly != nil {
		dst, next = r.poll(dst, now)
	}
	kept := r.waiting[:0]
	for _, u := range r.waiting {
		switch {
		case !u.stored:
			kept = append(kept, u)
			continue
		case u.due.IsZero():
			u.due = now.Add(answerWait)
		case !now.Before(u.due):
			e := protocol.Event{Msg: uint32(u.id), Seq: uint32(u.serial)}
			dst = r.appendResult(dst, &e, resultOK)
			continue
		}
		kept = append(kept, u)
		if next.IsZero() || u.due.Before(next) {
			next = u.due
		}
	}
	if r.waiting = kept; len(kept) == 0 {
		r.waiting = nil
	}
	return dst, next
}
