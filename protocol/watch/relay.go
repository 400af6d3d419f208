package watch

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"trackchat/protocol"
)

var (
	_ protocol.Relay   = (*relay)(nil)
	_ protocol.Quitter = (*relay)(nil)
)

// maxHeld bounds the server's texts that wait for the echo of ours, in bytes.
const maxHeld = 16 << 10

// relay is the gateway's side of a device that another server answers. An echo names no text, so
// that of one side is at the device at a time: ours waits for the echo of the server's, and the
// server's for that of ours, but no longer than protocol.RelayWait. An echo that could be either's
// counts for nobody, and the connection ends.
//
// The device is bound by the first frame that the server sends it, since nothing else says that the
// server knows it.
type relay struct {
	codec
	login    []byte    // the newest INIT, or else LK, for Replay
	held     []byte    // texts of the server's that wait for the echo of ours
	written  time.Time // when ours was; zero: at the next Poll
	passed   time.Time // when the server's newest text went to the device
	said     uint64    // hash of the server's newest text, in lower case
	waiting  uint32    // texts in held
	theirs   uint32    // texts of the server's whose echo has not come
	ours     uint32    // the same of ours
	greeting word      // what login is
	open     bool      // the server has not answered login
	swallow  bool      // its next answer to such a frame is Replay's
	newcomer bool      // the server has not spoken to the device yet
	bound    bool
	asked    bool // since the last Poll a text of ours has asked in vain
	gone     bool

	passAcks, replays bool
}

func newRelay(s *shared, settings protocol.Settings, o protocol.RelayOptions) *relay {
	r := &relay{codec: codec{shared: s}, passAcks: o.PassAcks, replays: o.Replay}
	r.Bind(settings)
	return r
}

// Caps: Poll takes it that who asks has a text.
func (r *relay) Caps() protocol.TextCaps {
	caps := r.codec.Caps()
	caps.Turn = r.theirs > 0 || r.waiting > 0
	caps.NotYet = caps.Turn || !r.bound
	r.asked = r.asked || caps.Turn && r.bound
	return caps
}

// CutDown is that of the device: both sides have the same frames.
func (*relay) CutDown(buf []byte, scanned int) (n, next int, err error) { return cut(buf, scanned) }

// Up passes everything on but the echo of a text of ours. A frame that names another device is for
// the server to judge.
func (r *relay) Up(w *protocol.Ways, frame []byte, _ time.Time,
	emit func(*protocol.Event),
) error {
	d := decoding{codec: &r.codec, emit: emit, relay: r, frame: frame}
	err := d.read()
	if !d.taken {
		w.Server = append(w.Server, frame...)
	}
	if errors.Is(err, errForeign) {
		return fmt.Errorf("%w: %w", protocol.ErrMalformed, err)
	}
	return err
}

// look deals with an event of the device's frame before anybody else does.
func (r *relay) look(d *decoding, e *protocol.Event) {
	e.Passed = true
	switch {
	case e.Kind == protocol.KindLogin:
		r.newcomer = true
	case d.word == wordMESSAGE:
		r.echo(d, e)
	case d.word == wordINIT, d.word == wordLK:
		r.greets(d, e)
	}
}

// echo says whose text a MESSAGE of the device is about.
func (r *relay) echo(d *decoding, e *protocol.Event) {
	means := e.Kind == protocol.KindAck
	bare, named := means && (!d.given || isStatus(d.params)), hashLower(d.params) == r.said
	mine := means && r.ours > 0
	switch {
	case r.gone:
	case mine && r.theirs > 0 && (bare || named || r.theirs > 1):
		r.gone = true
	case r.theirs > 0 && (bare || named):
		r.theirs--
	case mine:
		r.ours--
		e.Passed = r.passAcks
		d.taken = !e.Passed
		return
	}
	if means {
		e.Kind, e.Outcome = protocol.KindOther, 0
	}
}

// greets takes note of a frame that can be shown to another connection to the server.
func (r *relay) greets(d *decoding, e *protocol.Event) {
	if !r.replays || e.Aux&owed == 0 ||
		r.login != nil && r.greeting == wordINIT && d.word != wordINIT {
		return
	}
	r.login, r.greeting, r.open = nil, d.word, true
	if len(d.frame) <= protocol.MaxReplay {
		r.login = bytes.Clone(d.frame)
	}
}

// Down looks at who is spoken to, and whether it is a text.
func (r *relay) Down(w *protocol.Ways, frame []byte, now time.Time,
	emit func(*protocol.Event),
) error {
	h, content, ok := opened(frame)
	if !ok {
		w.Device = append(w.Device, frame...)
		if len(bytes.Trim(frame, "\r\n")) == 0 {
			return nil
		}
		return fmt.Errorf("%w: %d bytes", protocol.ErrGarbage, len(frame))
	}
	name, params, _ := bytes.Cut(content, []byte{','})
	said := wordOf(name)
	if r.answers(&h, said, params, emit) {
		return nil
	}
	if said == wordMESSAGE {
		r.said = hashLower(params)
		r.turn(w, frame, now)
		return nil
	}
	w.Device = append(w.Device, frame...)
	return nil
}

// answers takes a frame of the server's for its word about the device, which INIT,0 refuses. True:
// the device has not asked for it.
func (r *relay) answers(h *header, said word, params []byte, emit func(*protocol.Event)) bool {
	if r.peer.idLength == 0 || !r.peer.is(h.id) {
		return false
	}
	swallowed := false
	if said == r.greeting {
		swallowed = r.swallow
		r.open, r.swallow = false, false
	}
	switch {
	case said == wordINIT && string(params) == "0":
		r.bound, r.newcomer = false, false
		r.peer.idLength, r.mode = 0, modeCharacters
		r.shared.events.Emit(emit, protocol.Event{Kind: protocol.KindDenied})
	case r.newcomer || swallowed:
		r.newcomer = false
		r.shared.events.Emit(emit, protocol.Event{Kind: protocol.KindAdmitted})
	}
	return swallowed
}

// turn holds a text of the server's back while ours alone is at the device, or passes it after
// those that were held back before.
func (r *relay) turn(w *protocol.Ways, frame []byte, now time.Time) {
	r.waiting++
	if r.ours > 0 && r.theirs == 0 && !over(r.written, now) && len(r.held)+len(frame) <= maxHeld {
		r.held = append(r.held, frame...)
		return
	}
	w.Device = append(r.release(w.Device, now), frame...)
}

// release appends the texts that were held back. They are at the device then.
func (r *relay) release(dst []byte, now time.Time) []byte {
	dst = append(dst, r.held...)
	r.theirs += r.waiting
	r.held, r.waiting, r.passed = nil, 0, now
	return dst
}

// over reports whether a text has had its time.
func over(since, now time.Time) bool {
	return !since.IsZero() && !now.Before(since.Add(protocol.RelayWait))
}

// Replay: A greeting that the server of before has not answered is still to be answered.
func (r *relay) Replay(w *protocol.Ways) bool {
	r.held, r.waiting = nil, 0 // those at the device stay the server's
	if r.login == nil {
		return false
	}
	w.Server = append(w.Server, r.login...)
	r.swallow, r.newcomer = !r.open, r.newcomer || r.open
	return true
}

// AppendReply answers nothing, which is the server's to do. Its word about the device binds.
func (r *relay) AppendReply(dst []byte, e *protocol.Event, result protocol.Result) []byte {
	if e.Kind == protocol.KindAdmitted {
		r.bound = result == protocol.OK
		r.newcomer = result == protocol.Later
	}
	return dst
}

// AppendText: ErrNotText also while the server's text is at the device.
func (r *relay) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	if r.Caps().NotYet {
		return dst, fmt.Errorf("%w: the session is not bound, or it is the server's turn",
			protocol.ErrNotText)
	}
	dst, err := r.codec.AppendText(dst, t)
	if err == nil && !r.silent {
		r.ours++
		r.written = time.Time{}
	}
	return dst, err
}

// Poll writes the server's texts whose turn it is.
func (r *relay) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	asked := r.asked
	r.asked = false
	if r.ours > 0 && r.written.IsZero() {
		r.written = now
	}
	if r.waiting > 0 && (r.ours == 0 || over(r.written, now)) {
		dst = r.release(dst, now)
	}
	switch {
	case r.waiting > 0:
		return dst, r.written.Add(protocol.RelayWait)
	case r.theirs == 0:
	case !over(r.passed, now):
		return dst, r.passed.Add(protocol.RelayWait)
	case r.silent: // no echo counts, so none can be mistaken
		r.theirs = 0
	case asked:
		r.gone = true
	}
	return dst, time.Time{}
}

// Gone reports that an echo could have been that of either side's text, or the next one could.
func (r *relay) Gone() bool { return r.gone }
