package galileosky

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"trackchat/protocol"
)

var (
	_ protocol.Relay      = (*relay)(nil)
	_ protocol.Asker      = (*relay)(nil)
	_ protocol.Learner    = (*relay)(nil)
	_ protocol.Withdrawer = (*relay)(nil)
)

// relay is a codec whose device has another server, which confirms all its packets. FMI is ours as
// long as the server keeps off it; an answer to a command goes to the server, whosever it is,
// because the device wants it confirmed.
//
// The device is bound when the server confirms a packet that says who it is. There is no refusal:
// the server keeps silent.
type relay struct {
	codec
	numbers    *numbers // of commands; nil: none that matters was sent
	login      []byte   // the newest packet that says who the device is, for Replay
	awaited    uint16   // CRC of the newest such packet
	swallowed  uint16   // CRC of Replay's packet
	waiting    bool     // awaited is to be confirmed
	swallow    bool     // so is swallowed, which the device must not see
	foreignFMI bool     // the server talks to the navigator itself
	replays    bool
}

func newRelay(s *shared, settings protocol.Settings, o protocol.RelayOptions) *relay {
	r := &relay{codec: codec{shared: s}, replays: o.Replay}
	r.Bind(settings)
	return r
}

// Caps: The high bit of a command's number says that it is ours.
func (r *relay) Caps() protocol.TextCaps {
	caps := r.codec.Caps()
	switch {
	case r.chat == withCommands:
		caps.RefBits = commandBits - 1
	case r.inUse():
		caps.InUse, caps.NotYet = true, !r.logged
	}
	return caps
}

func (r *relay) inUse() bool { return r.foreignFMI && r.chat == withFMI }

// AppendText: A command has the reference and the high bit for its number, another number above
// that only where the server has used this one.
func (r *relay) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	switch {
	case r.inUse():
		return dst, fmt.Errorf("%w: the server uses the navigator", protocol.ErrNotText)
	case r.chat != withCommands:
		return r.codec.AppendText(dst, t)
	}
	c := command{ref: uint32(t.Ref)}
	c.number = r.numbers.pick(c.ref)
	t.Ref = uint64(c.number)
	dst, err := r.codec.AppendText(dst, t)
	if err == nil {
		r.ensureNumbers().written(c)
	}
	return dst, err
}

func (r *relay) ensureNumbers() *numbers {
	if r.numbers == nil {
		r.numbers = &numbers{}
	}
	return r.numbers
}

// AppendReply answers FMI, and binds the session.
func (r *relay) AppendReply(dst []byte, e *protocol.Event, res protocol.Result) []byte {
	switch {
	case e.Kind == protocol.KindAdmitted:
		r.admitted(res == protocol.OK)
		return dst
	case e.Passed:
		return dst
	}
	return r.codec.AppendReply(dst, e, res)
}

func (r *relay) admitted(bound bool) {
	r.logged = bound
	switch {
	case !bound, r.chat != withFMI, r.foreignFMI:
		r.fmi = nil
	case r.fmi == nil:
		r.fmi = r.shared.fmi.NewSession(r.options())
	}
}

func (r *relay) Up(w *protocol.Ways, frame []byte, _ time.Time, emit func(*protocol.Event)) error {
	body, crc, err := inner(frame)
	if err == nil && frame[0] == headFMI && r.fmi != nil {
		return r.fmi.Decode(body, emit)
	}
	w.Server = append(w.Server, frame...)
	if err != nil {
		return err
	}
	e := protocol.Event{Kind: protocol.KindOther, Msg: uint32(frame[0]), Passed: true}
	if frame[0] != headTags {
		r.events.Emit(emit, e)
		return nil
	}
	t := parse(body)
	if t.imei != nil {
		r.named(frame, crc, &t)
	}
	if t.hasNumber {
		t.number, t.hasNumber = r.numbers.refOf(t.number)
	}
	r.tags(t, e, emit)
	return nil
}

// named takes note of a packet that says who the device is. Another one than before is a stranger
// until the server confirms it.
func (r *relay) named(frame []byte, crc uint16, t *tags) {
	if string(t.imei) != string(r.imei[:]) {
		r.admitted(false)
		if r.login = nil; r.numbers != nil {
			r.numbers.ours = nil
		}
	}
	if !r.logged {
		r.awaited, r.waiting = crc, true
	}
	// one that says nothing else brings no position twice.
	if r.replays && len(frame) <= protocol.MaxReplay && (r.login == nil || !t.more) &&
		!bytes.Equal(r.login, frame) {
		r.login = bytes.Clone(frame)
	}
}

// CutDown: The server confirms with three bytes; commands and FMI are packets.
func (r *relay) CutDown(buf []byte, _ int) (n, next int, err error) {
	if len(buf) == 0 {
		return 0, 0, nil
	}
	switch buf[0] {
	case headConfirm, headPhoto:
		if len(buf) < 1+crcBytes {
			return 0, 0, nil
		}
		return 1 + crcBytes, 0, nil
	case headTags, headFMI:
		return cut(buf, 0)
	default:
		return 0, 0, fmt.Errorf("%w: %#02x begins no packet of a server", protocol.ErrFraming,
			buf[0])
	}
}

func (r *relay) Down(w *protocol.Ways, frame []byte, _ time.Time, emit func(*protocol.Event),
) error {
	switch frame[0] {
	case headConfirm:
		if r.confirmed(binary.LittleEndian.Uint16(frame[1:]), emit) {
			return nil
		}
	case headFMI:
		if !r.foreignFMI && r.chat == withFMI {
			w.Conflicts++
		}
		r.foreignFMI, r.fmi = true, nil
	case headTags:
		if body, _, err := inner(frame); err == nil {
			if t := parse(body); t.hasNumber && t.number&ourBit != 0 {
				r.ensureNumbers().taken(t.number)
			}
		}
	}
	w.Device = append(w.Device, frame...)
	return nil
}

// confirmed deals with the server's confirmation and reports whether it is to be swallowed.
func (r *relay) confirmed(crc uint16, emit func(*protocol.Event)) (swallow bool) {
	swallow = r.swallow && crc == r.swallowed
	r.swallow = r.swallow && !swallow
	if r.waiting && crc == r.awaited {
		r.waiting = false
		r.events.Emit(emit, protocol.Event{Kind: protocol.KindAdmitted, Msg: headConfirm})
	}
	return swallow
}

// Replay: A confirmation of the same packet that the device still awaits is not swallowed.
func (r *relay) Replay(w *protocol.Ways) bool {
	replayed := r.swallow && r.swallowed == r.awaited // and not confirmed over that connection
	if r.swallow = false; r.login == nil {
		return false
	}
	crc := binary.LittleEndian.Uint16(r.login[len(r.login)-crcBytes:])
	r.swallow, r.swallowed = !r.waiting || replayed || r.awaited != crc, crc
	r.waiting, r.awaited = true, crc
	w.Server = append(w.Server, r.login...)
	return true
}

// ourBit is set in the numbers of our commands, and usually not in those of a server's.
const ourBit = 1 << (commandBits - 1)

// mostNumbers bounds how many numbers of each side are known, the newest ones.
const mostNumbers = 16

// command is one of ours that was written over this connection.
type command struct{ number, ref uint32 }

// numbers are those of commands from ourBit up: what the device may answer. A nil one has none.
type numbers struct {
	ours   []command
	theirs []uint32 // of commands of the server's
}

// pick returns the number for a text of that reference: always the same until the server uses it,
// and never one of another text.
func (n *numbers) pick(ref uint32) uint32 {
	number := ref | ourBit
	if n == nil {
		return number
	}
	for slices.Contains(n.theirs, number) || slices.ContainsFunc(n.ours, func(c command) bool {
		return c.number == number && c.ref != ref
	}) {
		const step = 0x9E3779B1 // odd, and far from the numbers of neighbouring parts
		number = (number + step) | ourBit
	}
	return number
}

// refOf returns the reference of the text that was written under a number; false: none was over
// this connection, or the answer may be to the server's command.
func (n *numbers) refOf(number uint32) (ref uint32, ours bool) {
	if n == nil {
		return 0, false
	}
	i := slices.IndexFunc(n.ours, func(c command) bool { return c.number == number })
	if i < 0 {
		return 0, false
	}
	return n.ours[i].ref, true
}

func (n *numbers) written(c command) {
	if !slices.Contains(n.ours, c) {
		n.ours = newest(n.ours, c)
	}
}

// taken takes note that the server has sent a command: answers with its number count for nobody.
func (n *numbers) taken(number uint32) {
	n.ours = slices.DeleteFunc(n.ours, func(c command) bool { return c.number == number })
	if !slices.Contains(n.theirs, number) {
		n.theirs = newest(n.theirs, number)
	}
}

// newest appends to a list that keeps only the newest ones.
func newest[T any](list []T, one T) []T {
	if len(list) == mostNumbers {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, one)
}
