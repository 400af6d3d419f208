package teltonika

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

// leastCommand is the least length of the data of a command.
const leastCommand = commandHead + 1

// CutDown: The server sends one byte for each login, four bytes for each packet with positions, and
// packets. 00000000 refuses positions or begins a packet; where what follows does not tell, it is
// waited for until the device sends something or zerosWait is over.
func (r *relay) CutDown(buf []byte, _ int) (n, next int, err error) {
	switch {
	case len(buf) == 0:
		return 0, 0, nil
	case r.logins > 0 && buf[0] <= 1:
		return 1, 0, nil
	case buf[0] != 0 || len(buf) > 1 && buf[1] != 0:
		r.out = false // what is held goes before bytes that nobody can read
		return 0, 0, fmt.Errorf("%w: %#02x begins no answer", protocol.ErrFraming, buf[0])
	case len(buf) < ackBytes:
		return 0, 0, nil
	}
	if first := binary.BigEndian.Uint32(buf); first != 0 {
		return r.cutAck(buf, first)
	}
	if len(buf) <= head || r.zeros == zerosDue {
		if len(buf) >= head && !isLength(buf[4:]) || r.zeros == zerosDue {
			return r.whole(ackBytes, buf)
		}
		r.undecided()
		return 0, 0, nil
	}
	if !isLength(buf[4:]) || buf[head] == 0 { // no packet: an answer, and another
		return r.whole(ackBytes, buf)
	}
	return r.whole(head+int(binary.BigEndian.Uint32(buf[4:]))+tail, buf)
}

// cutAck cuts what does not begin with 00000000, unless that has been taken for an answer and was
// the beginning of this packet.
func (r *relay) cutAck(buf []byte, first uint32) (n, next int, err error) {
	switch {
	case !r.nak || !isLength(buf):
	case len(buf) > ackBytes && isCommand(buf[ackBytes]):
		return r.whole(ackBytes+int(first)+tail, buf)
	case len(buf) == ackBytes && r.zeros != zerosDue:
		r.undecided()
		return 0, 0, nil
	}
	return r.whole(ackBytes, buf)
}

// whole cuts a frame whose length is known.
func (r *relay) whole(n int, buf []byte) (int, int, error) {
	r.decide()
	if len(buf) < n {
		return 0, 0, nil
	}
	return n, 0, nil
}

func (r *relay) decide() { r.zeros, r.zerosMs = zerosNone, 0 }

func (r *relay) undecided() {
	if r.zeros == zerosNone {
		r.zeros, r.zerosMs = zerosSeen, 0
	}
}

// isLength reports whether b begins with what may be the length of a packet's data.
func isLength(b []byte) bool {
	size := binary.BigEndian.Uint32(b)
	return leastCommand <= size && size <= maxData
}

func isCommand(codec byte) bool { return codec12 <= codec && codec <= codec15 }

func (r *relay) Down(w *protocol.Ways, frame []byte, now time.Time,
	emit func(*protocol.Event),
) error {
	ms := r.shared.fmi.Clock.Ms(now)
	r.expire(ms)
	r.decide()
	switch {
	case r.logins > 0 && len(frame) == 1:
		r.loggedIn(w, frame, emit)
		return nil
	case len(frame) == ackBytes:
		r.acked(w, frame, ms)
		return nil
	}
	r.nak = false
	data, err := inner(frame)
	if err == nil && r.chat == withFMI && !r.inUse && hasFMI(data) {
		w.Conflicts++
		r.inUse, r.out = true, false
		r.fmi, r.queue = nil, nil
	}
	if r.out && len(r.held)+len(frame) <= mostHeld {
		r.held = append(r.held, frame...)
		return err
	}
	r.out = false // too much waits
	w.Device = r.passOn(r.release(w.Device, ms), frame, ms)
	return err
}

// loggedIn deals with the answer to a login. The device sees it unless it has had one (Replay).
func (r *relay) loggedIn(w *protocol.Ways, frame []byte, emit func(*protocol.Event)) {
	r.logins--
	if r.swallow > 0 {
		r.swallow--
	} else {
		w.Device = append(w.Device, frame...)
	}
	r.decided = true
	e := protocol.Event{Kind: protocol.KindAdmitted, Msg: msgLogin}
	if frame[0] != 1 {
		e.Kind = protocol.KindDenied
		r.shut()
	}
	r.events.Emit(emit, e)
}

// acked deals with the answer to positions. From the first one on the device takes commands.
func (r *relay) acked(w *protocol.Ways, frame []byte, ms int64) {
	w.Device = append(w.Device, frame...)
	r.nak = binary.BigEndian.Uint32(frame) == 0
	if r.avl > 0 {
		r.avl--
	}
	r.avlMs = ms
	if !r.nak && r.phase == phaseLogged {
		r.phase = phaseOpen
	}
}

// release writes the commands of the server that have waited for the answer to ours.
func (r *relay) release(dst []byte, ms int64) []byte {
	for len(r.held) > 0 {
		n, _, err := cut(r.held, 0)
		if err != nil || n == 0 { // a packet whose beginning has been passed on before
			n = len(r.held)
		}
		dst = r.passOn(dst, r.held[:n], ms)
		r.held = r.held[n:]
	}
	r.held = nil
	return dst
}

// passOn writes a command of the server, which is outstanding then.
func (r *relay) passOn(dst, frame []byte, ms int64) []byte {
	r.last, r.theirsMs = false, ms
	// Where the tracker's own answers come as lines do, they may look like an ack as well.
	line := r.isUp(typeResponse)
	if data, err := inner(frame); err == nil && r.terminal != nil {
		eachCommand(data, func(item command) {
			line = line || item.typ == r.envelope.typ
			if item.typ == r.envelope.typ && r.terminal.numbered() {
				r.noteNumbers(item.payload)
			}
		})
	}
	if line && r.isBare() {
		r.lines = min(r.lines, 0xFE) + 1
	} else {
		r.theirs = min(r.theirs, 0xFE) + 1
	}
	return append(dst, frame...)
}

// noteNumbers takes note of the numbers of texts that the server writes to the terminal as we do.
func (r *relay) noteNumbers(b []byte) {
	for len(b) > 0 {
		line := b
		if end, width := r.terminal.end(b); end >= 0 {
			line, b = b[:end], b[end+width:]
		} else {
			b = nil
		}
		digits, _, found := bytes.Cut(line, []byte{':'})
		if !found || len(digits) < 2 || digits[0] != 'M' {
			continue
		}
		if n, ok := number(digits[1:]); ok {
			r.numberOf(uint16(n)).theirs = true
		}
	}
}

// hasFMI reports whether a packet of the server is for a navigator.
func hasFMI(data []byte) bool {
	found := false
	eachCommand(data, func(item command) { found = found || fmi.IsFrames(item.payload) })
	return found
}

// eachCommand calls f for the items of a packet of codecs 12 to 15, as far as they can be read.
func eachCommand(data []byte, f func(command)) {
	rest := data[2 : len(data)-1]
	if !isCommand(data[0]) {
		return
	}
	for range data[1] {
		item, left, err := nextCommand(data[0], rest)
		if err != nil {
			return
		}
		rest = left
		f(item)
	}
}

// Replay: what was outstanding is forgotten, but answers to it that still come are not ours.
func (r *relay) Replay(w *protocol.Ways) bool {
	if len(r.imei) == 0 {
		return false
	}
	w.Server = append(w.Server, r.imei...)
	r.decide()
	r.late, r.stale = r.late || r.theirs > 0, r.stale || r.lines > 0
	r.held, r.theirs, r.lines, r.avl, r.nak = nil, 0, 0, 0, false
	r.logins, r.swallow = 1, 0
	if r.decided {
		r.swallow = 1
	}
	return true
}
