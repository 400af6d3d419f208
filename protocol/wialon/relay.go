package wialon

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"trackchat/protocol"
)

var (
	_ protocol.Relay   = (*relay)(nil)
	_ protocol.Quitter = (*relay)(nil)
)

// relay is a codec whose device has another server. Answers to messages have no numbers, so one
// message of either side is at the device at a time. An answer that may mean either side's counts
// for nobody, and the connection ends.
//
// The device is bound by #AL#1 to its #L#; one that names itself in front of every packet instead,
// by the first answer that takes such a packet.
type relay struct {
	codec
	protocol.Turns
	login    []byte // the newest #L#, for Replay; nil: there was none, or it is too long
	logins   uint32 // #L# that the server has not answered yet
	last     uint64 // hash of the newest #L#
	readable bool   // the newest #L# is one for us, too
	differ   bool   // the unanswered logins are not copies of one: only the last answer counts
	swallow  bool   // the first of logins is Replay's
	named    bool   // the device has named itself in front of its packets and awaits an answer
	nameOnly bool   // it never logged in otherwise
	bound    bool

	passAcks, onlyChat, replays bool
}

func newRelay(s *shared, settings protocol.Settings, o protocol.RelayOptions) *relay {
	r := &relay{
		codec:    codec{shared: s},
		passAcks: o.PassAcks, onlyChat: o.OnlyChat, replays: o.Replay,
	}
	r.Bind(settings)
	return r
}

// Caps: It is taken that who asks has a text.
func (r *relay) Caps() protocol.TextCaps {
	caps := r.codec.Caps()
	caps.Turn = r.TheirTurn(r.bound)
	caps.NotYet = caps.Turn || !r.bound
	return caps
}

// AppendText: ErrNotText also while the server's message is at the device.
func (r *relay) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	if r.Caps().NotYet {
		return dst, fmt.Errorf("%w: the session is not bound, or it is the server's turn",
			protocol.ErrNotText)
	}
	dst, err := r.codec.AppendText(dst, t)
	if err == nil && !r.silent {
		r.WroteOurs()
	}
	return dst, err
}

// AppendReply answers what the server does not get, and binds the session.
func (r *relay) AppendReply(dst []byte, e *protocol.Event, res protocol.Result) []byte {
	switch {
	case e.Kind == protocol.KindAdmitted:
		r.bound = res == protocol.OK
		return dst
	case e.Passed:
		return dst
	}
	return r.codec.AppendReply(dst, e, res)
}

// Poll writes the server's messages whose turn it is.
func (r *relay) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	dst, next := r.PollTurns(dst, r.shared.clock.Ms(now), r.silent)
	if next == 0 {
		return dst, time.Time{}
	}
	return dst, r.shared.clock.Time(next)
}

func (r *relay) Up(w *protocol.Ways, frame []byte, _ time.Time, emit func(*protocol.Event)) error {
	d := decoding{codec: &r.codec, emit: emit, relay: r}
	was := r.device
	var err error
	if d.packed = isContainer(frame); d.packed {
		err = r.shared.inflaters.inflate(frame[containerHeader:], d.line)
	} else {
		err = d.plain(frame)
	}
	if r.device != was {
		r.bound, r.named, r.nameOnly = false, d.login, d.login
	}
	if d.packet.typ == typeL {
		r.loggingIn(frame, err == nil)
	}
	if !d.kept {
		w.Server = append(w.Server, frame...)
	}
	return err
}

// look deals with an event of the device's frame before anything of that frame goes out.
func (r *relay) look(d *decoding, e *protocol.Event, first bool) {
	if first && (e.Kind == protocol.KindAck || r.nextFrame) {
		d.ours = r.answered()
		r.unanswered = r.unanswered && d.ours
	}
	switch {
	case e.Kind == protocol.KindAck && !d.ours:
		e.Kind, e.Outcome = protocol.KindOther, 0
	case e.Kind == protocol.KindAck:
		d.kept = !r.passAcks && !d.packed
	case e.Kind == protocol.KindText && e.Msg == typeM:
		d.kept = r.onlyChat && r.bound && !d.packed
	}
}

// answered takes note that the device has answered a message, and reports whether that can only be
// ours. With ack: next_frame it has answered all there are.
func (r *relay) answered() (ours bool) {
	switch {
	case r.Gone(): // for good: the next one is not written any more
	case r.Ours > 0 && r.Theirs > 0:
		r.Mistaken()
	case r.Theirs > 0:
		if r.Theirs--; r.nextFrame {
			r.Theirs = 0
		}
	case r.Ours > 0:
		if r.Ours--; r.nextFrame {
			r.Ours = 0
		}
		return true
	}
	return false
}

// loggingIn takes note of a #L# that goes to the server. What the server says to one counts only
// for the device that the gateway was told of, which is the newest.
func (r *relay) loggingIn(frame []byte, readable bool) {
	h := hash(hashSeed, frame)
	r.differ = r.logins > 0 && (r.differ || h != r.last)
	r.logins++
	r.last, r.readable = h, readable
	r.named = false
	if !readable {
		return
	}
	r.nameOnly, r.login = false, nil
	if r.replays && len(frame) <= protocol.MaxReplay {
		r.login = bytes.Clone(frame)
	}
}

func (r *relay) Down(w *protocol.Ways, frame []byte, now time.Time, emit func(*protocol.Event),
) error {
	var err error
	if isContainer(frame) {
		err = r.shared.inflaters.inflate(frame[containerHeader:], func(line []byte) error {
			r.down(w, frame, line, now, emit)
			return nil
		})
		if err != nil {
			w.Device = append(w.Device, frame...)
		}
		return err
	}
	r.down(w, frame, frame, now, emit)
	return nil
}

// down deals with a frame of the server's; line is what stands in it.
func (r *relay) down(w *protocol.Ways, frame, line []byte, now time.Time,
	emit func(*protocol.Event),
) {
	if lf := bytes.IndexByte(line, '\n'); lf >= 0 {
		line = trimEnd(line[:lf+1])
	}
	p, ok := parsePacket(line)
	switch {
	case ok && p.typ == typeM:
		w.Device = r.AppendTheirs(w.Device, frame, r.shared.clock.Ms(now))
		return
	case ok && p.typ == typeAL:
		if r.admission(string(p.msg) == "1", emit) {
			return
		}
	case ok && r.named && takes(p):
		r.named = false
		r.shared.events.Emit(emit, protocol.Event{Kind: protocol.KindAdmitted, Msg: p.typ})
	}
	w.Device = append(w.Device, frame...)
}

// admission deals with the server's answer to a login and reports whether it is to be swallowed.
func (r *relay) admission(accepted bool, emit func(*protocol.Event)) (swallow bool) {
	if r.logins == 0 {
		return false
	}
	swallow, r.swallow = r.swallow, false
	r.logins--
	if r.differ && r.logins > 0 || !r.readable {
		return swallow
	}
	kind := protocol.KindAdmitted
	if !accepted {
		kind = protocol.KindDenied
		r.bound, r.device, r.version = false, 0, versionUnknown
	}
	r.shared.events.Emit(emit, protocol.Event{Kind: kind, Msg: typeAL})
	return swallow
}

// takes reports whether a packet of the server's says that it has taken one of the device's. #AP#
// answers strangers as well.
func takes(p packet) bool {
	switch p.typ {
	case 'A'<<8 | typeB:
		n, ok := parseUint(p.msg, 1)
		return ok && n > 0
	case 'A'<<16 | typeSD, 'A'<<8 | typeD, typeAM, 'A'<<16 | typeIT:
		return string(p.msg) == "1"
	case 'A'<<8 | typeI, 'A'<<8 | typeT:
		return string(p.msg) == "1" || bytes.HasSuffix(p.msg, []byte(";1"))
	default:
		return false
	}
}

// Replay: A device that names itself in front of its packets has no login. An answer that it still
// awaits from the old connection is not swallowed.
func (r *relay) Replay(w *protocol.Ways) bool {
	r.DropTheirs()
	waits := r.logins > 1 || r.logins == 1 && !r.swallow
	r.logins, r.differ, r.swallow = 0, false, false
	if r.login == nil {
		return r.nameOnly
	}
	w.Server = append(w.Server, r.login...)
	r.logins, r.swallow = 1, !waits
	r.last, r.readable = hash(hashSeed, r.login), true
	return true
}

// maxDown bounds a frame of the server's, in bytes.
const maxDown = 64 << 10

// CutDown: a line, with the raw bytes that #US# and #UC# announce. The video packets have theirs
// only when the device sends them.
func (r *relay) CutDown(buf []byte, scanned int) (n, next int, err error) {
	if len(buf) == 0 {
		return 0, 0, nil
	}
	if n, wait := cutContainer(buf); n > 0 || wait {
		return n, 0, nil
	}
	seen := min(len(buf), maxDown)
	scanned = min(scanned, seen)
	lf := bytes.IndexByte(buf[scanned:seen], '\n')
	switch {
	case lf < 0 && seen == maxDown:
		return 0, 0, fmt.Errorf("%w: %d bytes without a line's end", protocol.ErrFraming, seen)
	case lf < 0:
		return 0, seen, nil
	}
	lf += scanned
	size := 0
	if p, ok := parsePacket(trimEnd(buf[:lf+1])); ok && slices.Contains([]uint32{typeUS, typeUC},
		p.typ) {
		field, _, _ := bytes.Cut(p.msg, []byte{';'})
		most, _ := parseUint(field, maxFrame)
		size = int(most)
	}
	if n = lf + 1 + size; n > maxDown {
		return 0, 0, fmt.Errorf("%w: a block of %d bytes", protocol.ErrFraming, size)
	}
	if len(buf) < n {
		return 0, lf, nil
	}
	return n, 0, nil
}
