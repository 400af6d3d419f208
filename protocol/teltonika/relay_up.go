package teltonika

import (
	"bytes"
	"fmt"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

func (r *relay) Up(w *protocol.Ways, frame []byte, now time.Time,
	emit func(*protocol.Event),
) error {
	ms := r.shared.fmi.Clock.Ms(now)
	r.expire(ms)
	if r.zeros == zerosSeen && r.avl > 0 {
		r.zeros = zerosDue
	}
	if len(frame) > head && frame[1] == 0 && isCommand(frame[head]) {
		data, err := inner(frame)
		if err == nil {
			return r.exchange(w, frame, data, ms, emit)
		}
		w.Server = append(w.Server, frame...)
		return err
	}
	w.Server = append(w.Server, frame...)
	switch {
	case isLogin(frame):
		r.logins = min(r.logins, 0xFE) + 1
		if r.o.Replay && len(frame) <= protocol.MaxReplay {
			r.imei = append(r.imei[:0], frame...)
		}
	case len(frame) > head && leastRecord(frame[head]) > 0:
		r.positioned(ms)
	}
	return r.Decode(frame, r.ruled(true, false, emit))
}

// positioned takes note of positions that the server is to answer. A device that sends the next
// ones although it has had no answer for a while does not wait for the others any more: they were
// damaged, or lost.
func (r *relay) positioned(ms int64) {
	if ms-r.avlMs >= answerWait.Milliseconds() {
		r.avl = 0
	}
	r.avl, r.avlMs = min(r.avl, 0xFFFE)+1, ms
}

// verdict says what a packet of codecs 12 to 15, or an item of it, is.
type verdict struct {
	taken   bool // nothing in it is for the server
	chat    bool // taken, and nothing in it is about packets of ours
	answers bool // it ends our turn
	theirs  bool // it may answer a command of the server
	word    bool // the tracker's own word in it is about our packet
}

// exchange deals with a packet of codecs 12 to 15.
func (r *relay) exchange(w *protocol.Ways, frame, data []byte, ms int64,
	emit func(*protocol.Event),
) error {
	all, err := r.judgeAll(data, ms)
	passed := !all.taken || r.o.PassAcks && !all.chat
	if passed {
		w.Server = append(w.Server, frame...)
	}
	if err != nil {
		return err
	}
	if all.answers {
		r.out = false
	}
	if all.theirs {
		r.late = r.late && r.theirs > 0
		r.theirs -= min(r.theirs, 1)
	}
	ruled := r.ruled(passed, all.word, emit)
	var failed error
	eachCommand(data, func(item command) {
		if err := r.command(data[0], item, ruled); failed == nil {
			failed = err
		}
	})
	return failed
}

func (r *relay) judgeAll(data []byte, ms int64) (verdict, error) {
	rest := data[2 : len(data)-1]
	all := verdict{taken: data[1] > 0, chat: true}
	for range data[1] {
		var item command
		var err error
		if item, rest, err = nextCommand(data[0], rest); err != nil {
			return verdict{}, err
		}
		v := r.judge(data[0], item, ms)
		all.taken, all.chat = all.taken && v.taken, all.chat && v.chat
		all.answers, all.theirs = all.answers || v.answers, all.theirs || v.theirs
		all.word = all.word || v.word
	}
	if len(rest) > 0 {
		return verdict{}, fmt.Errorf("%w: %d bytes behind the last command", protocol.ErrMalformed,
			len(rest))
	}
	return all, nil
}

// judge says what an item is, before it is read. A word of the tracker itself names nothing: it is
// about our packet while that is outstanding and no answer to a command of the server is.
func (r *relay) judge(codec byte, item command, ms int64) verdict {
	own := verdict{theirs: true}
	quiet := !r.late && r.theirs == 0 && r.lines == 0
	switch {
	case codec == codec14 && item.typ == typeNACK:
		if r.last && quiet && r.envelope.codec == codec14 &&
			ms-r.outMs < nackWait.Milliseconds() {
			own = verdict{taken: true, answers: true, word: true}
		}
		return own
	case item.typ == typeResponse && r.out && quiet:
		own = verdict{taken: true, answers: true, word: true}
	}
	switch {
	case !r.isUp(item.typ):
	case r.fmi != nil:
		if c := r.fmi.Look(&r.words, item.payload); c.Frames {
			return verdict{taken: c.Ours, answers: true}
		}
	case r.terminal != nil:
		return r.judgeLines(codec, item)
	}
	return own
}

// isUp reports whether packets of that type are what comes from the navigator or terminal.
func (r *relay) isUp(typ byte) bool { return typ <= mostType && r.upTypes&(1<<typ) != 0 }

// judgeLines: Lines that are not whole are the server's as well, because what they mean is known
// too late.
func (r *relay) judgeLines(codec byte, item command) verdict {
	v := verdict{taken: !r.terminal.isOpen(item.typ), chat: true, theirs: true}
	lines, waiting := 0, r.waiting
	for b := item.payload; len(b) > 0; {
		end, width := r.terminal.end(b)
		if end < 0 {
			v.taken = false
			break
		}
		e, ok := r.terminal.read(bytes.TrimSpace(b[:end]), item.time,
			protocol.Event{Kind: protocol.KindOther, Msg: uint32(codec)})
		b = b[end+width:]
		switch {
		case !ok:
			continue
		case e.Kind == protocol.KindText:
			v.taken = v.taken && r.o.OnlyChat
		case e.Kind == protocol.KindAck && r.isOurs(&e, waiting):
			v.chat, waiting = false, false
		default:
			v.taken = false
		}
		lines++
	}
	v.taken = v.taken && lines > 0
	v.theirs = !v.taken
	return v
}

// isOurs reports whether the ack of a terminal can only mean a text of ours; waiting: one without a
// number is waited for.
func (r *relay) isOurs(e *protocol.Event, waiting bool) bool {
	if r.isBare() {
		return waiting && r.lines == 0 && !r.stale
	}
	i := r.indexOf(uint16(e.Ref))
	return i >= 0 && r.numbers[i].ours && !r.numbers[i].theirs
}

// claim takes the ack of a terminal for a text of ours, or says that it is none.
func (r *relay) claim(e *protocol.Event) bool {
	ours := r.isOurs(e, r.waiting)
	switch {
	case ours:
		r.out, r.waiting = false, false
	case !r.isBare():
		if i := r.indexOf(uint16(e.Ref)); i >= 0 && r.numbers[i].theirs {
			r.numbers = append(r.numbers[:i], r.numbers[i+1:]...)
		}
	default: // of a text of the server, unless it is the one that ours waits for
		r.gone = r.gone || r.waiting
		r.stale = r.stale && r.lines > 0
		r.lines -= min(r.lines, 1)
	}
	return ours
}

// command reads an item.
func (r *relay) command(codec byte, item command, emit func(*protocol.Event)) error {
	if r.fmi == nil || !r.isUp(item.typ) || codec == codec14 && item.typ == typeNACK {
		return r.codec.command(codec, item, emit)
	}
	if !r.fmi.Look(&r.words, item.payload).Frames {
		e := protocol.Event{Kind: protocol.KindOther, Msg: uint32(codec)}
		r.events.Emit(emit, e)
		return nil
	}
	r.phase = phaseOpen
	return r.fmi.DecodeShared(&r.words, item.payload, emit)
}

// ruled is emit for the events of a frame: those that could be about a command of the server lose
// their meaning; word: the tracker's own word is about our packet.
func (r *relay) ruled(passed, word bool, emit func(*protocol.Event)) func(*protocol.Event) {
	return func(e *protocol.Event) {
		e.Passed = passed
		ours := true
		switch {
		case fmi.Owns(e):
		case e.Kind == protocol.KindEvidence,
			e.Kind == protocol.KindAck && e.Outcome == protocol.AckRejected:
			ours = word
		case e.Kind == protocol.KindAck:
			ours = r.claim(e)
		}
		if !ours {
			e.Kind, e.Outcome, e.Ref = protocol.KindOther, 0, 0
		}
		emit(e)
	}
}
