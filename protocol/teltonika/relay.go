package teltonika

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

const (
	// answerWait is how long a device may take to answer a packet of ours before the server's next
	// command goes on.
	answerWait = 5 * time.Second
	// zerosWait is how long 00000000 of the server may be the beginning of a packet before it is
	// taken for the answer to positions that it is then.
	zerosWait = 200 * time.Millisecond

	mostHeld    = 16 << 10 // bytes that wait for a turn, of either side
	mostNumbers = 32       // numbers of texts to a terminal that are kept
)

var (
	_ protocol.Relay      = (*relay)(nil)
	_ protocol.Quitter    = (*relay)(nil)
	_ protocol.Asker      = (*relay)(nil)
	_ protocol.Holder     = (*relay)(nil)
	_ protocol.Learner    = (*relay)(nil)
	_ protocol.Withdrawer = (*relay)(nil)
)

// zeros is how far the server's 00000000 is understood.
type zeros uint8

const (
	zerosNone zeros = iota
	zerosSeen       // it may be an answer or the beginning of a packet
	zerosDue        // it is an answer
)

// textNumber is that of a numbered text to a terminal.
type textNumber struct {
	ref    uint16
	ours   bool
	theirs bool // the server has used it, and its ack has not come
}

// relay is the gateway's side of a connection that a tracking server answers. The device takes one
// command at a time and none while it waits for the answer to positions, so our packets, and the
// server's commands, wait in turn. Its acks of positions wait for nothing.
type relay struct {
	*codec
	words   fmi.Words
	numbers []textNumber // chat: serial with numbers
	queue   []byte       // packets of ours that are to leave
	held    []byte       // the server's commands
	imei    []byte       // the newest login, RelayOptions.Replay

	// Readings of fmi.Shared.Clock.
	outMs    int64 // our last packet that waits for an answer left
	theirsMs int64 // the server's last command left
	avlMs    int64 // positions, or an answer to them, came
	zerosMs  int64 // zerosSeen began; 0: Poll sets it

	avl     uint16 // packets with positions that the server has not answered
	logins  uint8  // likewise
	swallow uint8  // answers to logins that the device is not to see
	theirs  uint8  // commands of the server that the device has not answered
	lines   uint8  // those that a terminal may acknowledge without a number; not in theirs
	zeros   zeros
	o       protocol.RelayOptions

	decided bool // the device has seen an answer to its login
	out     bool // our packet is outstanding
	last    bool // the last command that went to the device is ours
	late    bool // a command of the server was not answered in time: its answer may still come
	stale   bool // likewise one of those in lines
	waiting bool // such a text of ours has no ack
	nak     bool // 00000000 was taken for an answer, and nothing has come behind it
	inUse   bool // the server speaks FMI itself
	gone    bool
}

func newRelay(s *shared, settings protocol.Settings, o protocol.RelayOptions) *relay {
	return &relay{codec: newCodec(s, settings), o: o}
}

func (r *relay) Caps() protocol.TextCaps {
	caps := r.codec.Caps()
	switch {
	case caps.NoText:
	case r.isInUse():
		caps.InUse, caps.NotYet = true, false
	case r.phase == phaseOpen:
		caps.Turn = r.theirs > 0 || r.lines > 0 || len(r.held) > 0
		caps.NotYet = caps.NotYet || !r.free() || len(r.queue) > 0
	}
	return caps
}

func (r *relay) isInUse() bool { return r.inUse && r.chat == withFMI }

// free reports whether a packet of ours may leave now.
func (r *relay) free() bool {
	return !r.out && len(r.held) == 0 && r.theirs == 0 && r.lines == 0 &&
		r.avl == 0 && r.logins <= r.swallow && !r.nak
}

// isBare reports whether the acks of the terminal carry no number.
func (r *relay) isBare() bool {
	return r.terminal != nil && r.terminal.pattern != nil && !r.terminal.numbered()
}

// expire ends what was waited for long enough.
func (r *relay) expire(ms int64) {
	if r.out && ms-r.outMs >= answerWait.Milliseconds() {
		r.out = false
	}
	if ms-r.theirsMs >= protocol.RelayWait.Milliseconds() {
		r.late = r.late || r.theirs > 0
		r.stale = r.stale || r.lines > 0
		r.theirs, r.lines = 0, 0
	}
	if ms-r.avlMs >= protocol.RelayWait.Milliseconds() {
		r.avl, r.nak = 0, false
	}
}

// AppendReply: The server answers the device, but for the frames of FMI that are for our session.
func (r *relay) AppendReply(dst []byte, e *protocol.Event, res protocol.Result) []byte {
	switch {
	case e.Kind == protocol.KindAdmitted && res == protocol.OK:
		r.login()
		if r.isInUse() {
			r.fmi = nil
		}
	case e.Kind == protocol.KindAdmitted:
		r.shut()
	case fmi.Owns(e) && r.fmi != nil:
		r.enqueue(r.fmi.AppendReply(r.queue, &r.envelope, e, res))
	}
	return dst
}

// shut ends the chat: the device is not, or no longer, one that is served.
func (r *relay) shut() {
	r.fmi, r.terminal, r.queue = nil, nil, nil
	r.phase, r.waitMs, r.waiting, r.out = phaseNew, 0, false, false
}

// enqueue takes the queue with packets appended, unless that is too much: what is not sent the
// client asks for again.
func (r *relay) enqueue(queue []byte) bool {
	if len(queue) > mostHeld {
		return false
	}
	r.queue = queue
	return true
}

func (r *relay) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	switch {
	case r.isInUse():
		return dst, fmt.Errorf("%w: the tracking server uses the navigator", protocol.ErrNotText)
	case r.stale && r.isBare(), r.isTheirs(t.Ref):
		r.gone = true
		return dst, fmt.Errorf("%w: its ack could mean a text of the tracking server",
			protocol.ErrNotText)
	}
	queue, err := r.codec.AppendText(r.queue, t)
	switch {
	case err != nil:
		return dst, err
	case bytes.Contains(r.queue, queue[len(r.queue):]): // it has not left yet
		return dst, nil
	case !r.enqueue(queue):
		return dst, fmt.Errorf("%w: too much waits for its turn", protocol.ErrNotText)
	case r.terminal == nil:
		r.words.Wrote(t.Ref)
	case r.terminal.numbered():
		r.numberOf(uint16(t.Ref)).ours = true
	}
	return dst, nil
}

// numberOf returns what is known of a number, for the first time nothing.
func (r *relay) numberOf(ref uint16) *textNumber {
	i := r.indexOf(ref)
	if i < 0 {
		if len(r.numbers) == mostNumbers {
			oldest := max(slices.IndexFunc(r.numbers,
				func(n textNumber) bool { return !n.theirs }), 0)
			r.numbers = slices.Delete(r.numbers, oldest, oldest+1)
		}
		i = len(r.numbers)
		r.numbers = append(r.numbers, textNumber{ref: ref})
	}
	return &r.numbers[i]
}

func (r *relay) indexOf(ref uint16) int {
	return slices.IndexFunc(r.numbers, func(n textNumber) bool { return n.ref == ref })
}

// isTheirs reports whether a text of the server bears that number.
func (r *relay) isTheirs(ref uint64) bool {
	if r.terminal == nil || !r.terminal.numbered() {
		return false
	}
	i := r.indexOf(uint16(ref))
	return i >= 0 && r.numbers[i].theirs
}

func (r *relay) AppendWithdraw(dst []byte, ref uint64) []byte {
	if !r.isInUse() {
		r.enqueue(r.codec.AppendWithdraw(r.queue, ref))
	}
	return dst
}

// Gone: an ack that may come could mean a text of either side.
func (r *relay) Gone() bool { return r.gone }

// Release: The packets with the line that is whole now have passed.
func (r *relay) Release(now time.Time, end bool, emit func(*protocol.Event)) {
	r.codec.Release(now, end, r.ruled(true, false, emit))
}

func (r *relay) Poll(dst []byte, now time.Time) ([]byte, time.Time) {
	clock := &r.shared.fmi.Clock
	ms := clock.Ms(now)
	r.expire(ms)
	if !r.out {
		dst = r.release(dst, ms)
	}
	var next time.Time
	for r.free() && !r.isInUse() {
		if len(r.queue) == 0 {
			if r.queue, next = r.poll(r.queue, now); len(r.queue) == 0 {
				break
			}
		}
		dst = r.send(dst, ms)
	}
	if r.terminal != nil {
		next = r.terminal.wait(now, next)
	}
	for _, at := range r.deadlines(ms) {
		if at == 0 {
			continue
		}
		if t := clock.Time(at); next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return dst, next
}

// deadlines are the times, 0 for none, at which what is waited for has been long enough.
func (r *relay) deadlines(ms int64) (at [4]int64) {
	if r.zeros == zerosSeen {
		if r.zerosMs == 0 {
			r.zerosMs = ms
		}
		if at[0] = r.zerosMs + zerosWait.Milliseconds(); ms >= at[0] {
			r.zeros, at[0] = zerosDue, 0
		}
	}
	if r.phase == phaseNew {
		return at
	}
	if r.out {
		at[1] = r.outMs + answerWait.Milliseconds()
	}
	if r.theirs > 0 || r.lines > 0 {
		at[2] = r.theirsMs + protocol.RelayWait.Milliseconds()
	}
	if r.avl > 0 || r.nak {
		at[3] = r.avlMs + protocol.RelayWait.Milliseconds()
	}
	return at
}

// send writes the first packet of the queue.
func (r *relay) send(dst []byte, ms int64) []byte {
	n, _, err := cut(r.queue, 0)
	if err != nil || n == 0 { // the codec writes whole packets
		n = len(r.queue)
	}
	packet := r.queue[:n]
	if r.terminal != nil || fmi.Waits(r.payload(packet)) {
		r.out, r.outMs = true, ms
	}
	r.last, r.waiting = true, r.waiting || r.isBare()
	r.words.Spoke()
	dst = append(dst, packet...)
	if r.queue = append(r.queue[:0], r.queue[n:]...); len(r.queue) == 0 {
		r.queue = nil
	}
	return dst
}

// payload is that of a packet of ours.
func (r *relay) payload(packet []byte) []byte {
	before := head + commandHead
	if packet[head] == codec14 {
		before += imeiBytes
	}
	return packet[before : len(packet)-1-tail]
}
