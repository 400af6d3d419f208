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

// relay is the gateway's side of a device that another server answers. An echo names no text, so
// that of one side is at the device at a time. An echo that could be either's counts for nobody,
// and the connection ends.
//
// The device is bound by the first frame that the server sends it, since nothing else says that the
// server knows it.
type relay struct {
	codec
	protocol.Turns
	login    []byte // the newest INIT, or else LK, for Replay
	said     uint64 // hash of the server's newest text, in lower case
	greeting word   // what login is
	open     bool   // the server has not answered login
	swallow  bool   // its next answer to such a frame is Replay's
	newcomer bool   // the server has not spoken to the device yet
	bound    bool

	passAcks, replays bool
}

func newRelay(s *shared, settings protocol.Settings, o protocol.RelayOptions) *relay {
	r := &relay{codec: codec{shared: s}, passAcks: o.PassAcks, replays: o.Replay}
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
	mine := means && r.Ours > 0
	switch {
	case r.Gone():
	case mine && r.Theirs > 0 && (bare || named || r.Theirs > 1):
		r.Mistaken()
	case r.Theirs > 0 && (bare || named):
		r.Theirs--
	case mine:
		r.Ours--
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
		w.Device = r.AppendTheirs(w.Device, frame, r.shared.clock.Ms(now))
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

// Replay: A greeting that the server of before has not answered is still to be answered.
func (r *relay) Replay(w *protocol.Ways) bool {
	r.DropTheirs()
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
		r.WroteOurs()
	}
	return dst, err
}

// Poll writes the server's texts whose turn it is.
func (r *relay) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	dst, next := r.PollTurns(dst, r.shared.clock.Ms(now), r.silent)
	if next == 0 {
		return dst, time.Time{}
	}
	return dst, r.shared.clock.Time(next)
}
