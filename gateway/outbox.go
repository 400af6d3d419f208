package gateway

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"trackchat/protocol"
	"trackchat/queue"
)

type flight uint8

const (
	flightNone flight = iota // nothing at the device
	flightSent               // the part at hand is written, its ack is awaited until the deadline
	// the device reported a temporary failure; written again at the deadline.
	flightPause
	// a device that never acknowledges: the next part is written at the deadline.
	flightPace
	// the codec cannot carry texts yet: asked again after every frame and Poll.
	flightHold
	// until the deadline nothing is written and unnumbered acks are nobody's.
	flightQuiet
	// no ack in time, often enough: everything starts again from the store at the deadline.
	flightParked
)

// outbox delivers texts to one device. What happens comes as calls: the store's word, wakes, the
// device's acks, the deadline, the connection's end. What is to be done goes to its host. It is put
// together for each call, so that a tracker at rest pays for delivery alone, and belongs to the
// host's event loop.
type outbox struct {
	host host
	*delivery
}

// delivery is what an outbox remembers of its tracker. It is paid for a million times; what is
// needed only while there are texts hangs on activity.
type delivery struct {
	*activity
	tracker    queue.TrackerID // its conversation's key, 0 until the login
	epoch      int64           // 0 until the lease
	since      int64           // login, clock.ms; stands for the connection in dedupe
	lastKnown  int64           // newest outgoing message it knows to exist
	lastQueued int64           // newest one that was put into the backlog
	claims     uint16          // number of the newest claim
	peeking    bool            // the store is being asked what is pending
	closing    bool            // the connection is about to end: nothing is written any more
	dirty      bool            // a wake came before the lease
	fresh      bool            // the first text that waited for the login is still to be written
	noText     bool            // the device has said that it has no text service
	cleared    bool            // what the last connection left unacknowledged is dealt with
}

// host is the connection that an outbox writes to, and what carries out its commands.
type host interface {
	listener() *Listener
	remote() netip.AddrPort

	caps() protocol.TextCaps
	appendText(t protocol.Text, now time.Time) error
	appendWithdraw(ref uint64, now time.Time)
	arm(ms int64) // the outbox is to be looked at then
	close(why reason)
	signAcked() // the device has acknowledged a text

	// storeClaim puts the lease in; the store's answer comes as claimed with the same n.
	storeClaim(n int64, q queue.ClaimReq)
	storeAck(submitMs int64, q queue.AckReq)
	storeProgress(q queue.ProgressReq)
	storeEnd(q queue.EndReq)
	lookUpAck(ref uint64, opened bool) // what it means comes as lateMatched
}

// backlog is what an outbox is delivering: it exists only while there is something pending. The
// first message is the one in flight, one part at a time, so that a screen shows texts in their
// order and a device without numbers in its acks cannot be misunderstood.
type backlog struct {
	msgs   []queue.Message
	bytes  int          // of their texts
	cursor queue.Cursor // where the next claim goes on
	behind bool         // the store has more than is here
	asking bool         // a claim is under way
	dirty  bool         // wakes came meanwhile
	gone   []int64      // messages that ended meanwhile: the claim may have seen them before
	early  []earlyAck   // acks that came before the store said what is pending
	slow   bool         // parked before: from now on one try every RetryIdle

	state    flight
	parts    []string // of the first message
	part     int
	replaced int // characters of the first message that the device cannot show
	ref      uint64
	bits     int  // width of references when the part was written
	tries    int  // times the part timed out
	unheard  bool // the part was written, and neither answered nor counted as a try since
	copies   int  // of the part that may each earn an ack without a number
	failed   bool // the device reported a temporary failure of this part before
	damaged  bool // the part arrived damaged before
	evidence evidence
	overdue  bool // its ack was awaited in vain: nothing else may be written here
	// the message has ended otherwise; only the ack of the part at hand is awaited, lest it be
	// taken for that of the next text.
	ended    bool
	written  int64 // clock.ms
	deadline int64 // clock.ms, 0 none
	turnMs   int64 // since when the tracking server's own text is waited for, clock.ms; 0 not
}

func (b *backlog) full() bool { return len(b.msgs) >= backlogTexts || b.bytes >= backlogBytes }

func (b *backlog) push(m *queue.Message) {
	b.msgs = append(b.msgs, *m)
	b.bytes += len(m.Text)
}

// drop takes message i out.
func (b *backlog) drop(i int) {
	b.bytes -= len(b.msgs[i].Text)
	b.msgs = slices.Delete(b.msgs, i, i+1)
	if i == 0 {
		b.clearInFlight()
		b.parts, b.part, b.replaced, b.ended = nil, 0, 0, false
	}
}

// more reports whether another message waits behind the first one.
func (b *backlog) more() bool { return len(b.msgs) > 1 || b.behind }

// clearInFlight forgets what is in flight.
func (b *backlog) clearInFlight() {
	if b.state != flightQuiet {
		b.state, b.deadline = flightNone, 0
	}
	b.tries, b.copies, b.evidence = 0, 0, evidenceNone
	b.failed, b.damaged, b.slow, b.overdue, b.unheard = false, false, false, false, false
}

// evidence is what is known of the part at hand below the device's own word, in rising order. Only
// that word makes a message delivered; this says where one got stuck.
type evidence uint8

const (
	evidenceNone     evidence = iota
	evidenceWritten           // handed to the connection
	evidenceLink              // the device's transport has it
	evidenceAccepted          // its command service took it
)

// String is the label.
func (e evidence) String() string { return [...]string{"none", "written", "link", "accepted"}[e] }

// gateway is what all outboxes have in common.
func (o outbox) gateway() *Gateway { return o.host.listener().g }

func (d *delivery) field() zap.Field { return trackerField(d.tracker) }

// ready reports whether this node owns the tracker.
func (d *delivery) ready() bool { return d.epoch != 0 }

// inFlight reports whether a part is written and its ack awaited.
func (d *delivery) inFlight() bool { return d.backlog != nil && d.backlog.state == flightSent }

// deadline is when onDeadline is to be called, math.MaxInt64 never.
func (d *delivery) deadline() int64 {
	if d.backlog == nil || d.backlog.deadline == 0 {
		return math.MaxInt64
	}
	return d.backlog.deadline
}

// ensureActivity returns the activity to write to.
func (d *delivery) ensureActivity(g *Gateway) *activity {
	if d.activity == &g.rest {
		d.activity = new(activity)
	}
	return d.activity
}

// releaseActivity gives it up if nothing is going on any more. From time to time is enough: a text
// in flight comes and goes many times a second.
func (d *delivery) releaseActivity(g *Gateway, ms int64) {
	if d.activity == &g.rest {
		return
	}
	if d.missedID <= d.lastKnown {
		d.missedID = 0
	}
	if d.lateMs <= ms {
		d.lateMs = 0
	}
	if p := d.spaced; p != nil && len(p.held) == 0 && p.next <= ms {
		d.spaced = nil
	}
	if *d.activity == (activity{}) {
		d.activity = &g.rest
	}
}

// leased starts delivery.
func (o outbox) leased(l *queue.Lease) {
	o.lastKnown = max(o.lastKnown, l.LastOut)
	if l.Pending > 0 || o.dirty {
		o.dirty = false
		o.claim()
		return
	}
	o.lastQueued = l.LastOut
	o.fresh = false // nothing was waiting
	o.lookUpEarly(o.backlog)
	o.pump(o.gateway().o.Now())
}

// claim asks the store for what is pending.
func (o outbox) claim() {
	if o.backlog == nil {
		o.ensureActivity(o.gateway()).backlog = &backlog{}
	}
	b := o.backlog
	if b.asking {
		b.dirty = true
		return
	}
	b.asking, b.behind = true, false
	o.claims++
	o.host.storeClaim(int64(o.claims), queue.ClaimReq{
		Cursor: b.cursor, MaxBytes: max(backlogBytes-b.bytes, 1),
		Max: max(backlogTexts-len(b.msgs), 1),
	})
}

// claimed takes over what the store has pending.
func (o outbox) claimed(n int64, r *queue.ClaimResult) {
	b := o.backlog
	if b == nil || n != int64(o.claims) {
		return
	}
	b.asking = false
	if r.Err != nil {
		o.claimFailed(r.Err)
		return
	}
	for i := range r.Msgs {
		m := &r.Msgs[i]
		if m.ID <= o.lastQueued {
			continue
		}
		o.lastQueued = m.ID
		o.lastKnown = max(o.lastKnown, m.ID)
		if !slices.Contains(b.gone, m.ID) {
			b.push(m)
		}
	}
	b.cursor = r.Next
	b.behind = r.More || b.dirty
	b.dirty, b.gone = false, nil
	o.pump(o.gateway().o.Now())
	o.lookUpEarly(b)
}

// announced takes note of a message that the store tells of.
func (o outbox) announced(w *queue.Wake) {
	if !o.ready() {
		o.dirty = true
		return
	}
	if w.Epoch != o.epoch || w.Msg.ID <= o.lastKnown {
		return
	}
	gap := w.Prev > o.lastKnown
	o.lastKnown = w.Msg.ID
	b := o.backlog
	switch {
	case b != nil && b.state == flightParked: // everything is claimed anew afterwards
	case b != nil && b.asking:
		b.dirty = true
	case gap:
		o.gateway().m.wakeMissed.Inc()
		o.claim()
	case w.Hint || b != nil && (b.behind || b.full()):
		if b == nil {
			o.claim()
			return
		}
		b.behind = true
		o.pump(o.gateway().o.Now())
	default:
		if b == nil {
			o.ensureActivity(o.gateway()).backlog = &backlog{}
		}
		o.backlog.push(&w.Msg)
		o.lastQueued = w.Msg.ID
		o.pump(o.gateway().o.Now())
	}
}

// withdraw asks the device to take back a message that it is being given.
func (o outbox) withdraw(id int64) {
	b := o.backlog
	if b == nil || len(b.msgs) == 0 || b.msgs[0].ID != id ||
		b.state != flightSent && b.state != flightPause {
		return
	}
	o.host.appendWithdraw(b.ref, o.gateway().o.Now())
}

// forget stops the delivery of a message that has ended otherwise.
func (o outbox) forget(id int64) {
	b := o.backlog
	if b == nil {
		return
	}
	if b.asking {
		b.gone = append(b.gone, id)
	}
	i := slices.IndexFunc(b.msgs, func(m queue.Message) bool { return m.ID == id })
	switch {
	case i < 0:
	case i == 0 && b.state == flightSent && b.bits == 0:
		b.ended = true
	default:
		b.drop(i)
		o.pump(o.gateway().o.Now())
	}
}

// reread forgets the texts that wait behind the one in flight and claims them again: one of them
// may have been cancelled, and nobody was told.
func (o outbox) reread() {
	b := o.backlog
	if b == nil || b.state == flightParked || len(b.msgs) == 0 && !b.asking {
		return
	}
	keep := 0
	if len(b.msgs) > 0 {
		// what was before it is done, also where the store does not know yet.
		o.lastQueued = b.msgs[0].ID - 1
		switch b.state {
		case flightSent, flightPause, flightPace:
			keep, o.lastQueued = 1, b.msgs[0].ID
		default:
			b.clearInFlight()
			b.parts, b.part, b.replaced, b.ended = nil, 0, 0, false
		}
	}
	if keep == len(b.msgs) && !b.asking {
		return
	}
	clear(b.msgs[keep:])
	b.msgs = b.msgs[:keep]
	b.bytes = 0
	for i := range b.msgs {
		b.bytes += len(b.msgs[i].Text)
	}
	b.cursor, b.asking, b.gone = 0, false, nil
	o.claim()
}

// found is the store's word that something is pending, the newest message being last. A wake for
// one that is not known may just be on its way, so it counts as missed only if the next look finds
// the same: true, that look is to be soon.
func (o outbox) found(last int64) (again bool) {
	switch {
	case last <= o.lastKnown:
		if o.backlog == nil {
			o.claim()
		}
		return false
	case o.missedID <= o.lastKnown:
		o.ensureActivity(o.gateway()).missedID = last
		return true
	}
	o.gateway().m.wakeMissed.Inc()
	o.lastKnown = last
	if o.backlog == nil || o.backlog.state != flightParked {
		o.claim()
	}
	return false
}

// restart begins again with the oldest pending message.
func (o outbox) restart(slow bool) {
	o.lastQueued = 0
	o.ensureActivity(o.gateway()).backlog = &backlog{slow: slow}
	o.claims++
	o.claim()
}

// end tells the store that the first message will not be delivered.
func (o outbox) end(st queue.Status, why queue.Reason) {
	defer o.quietAfter(o.backlog.copies, o.gateway().o.Now())
	if o.backlog.ended {
		o.backlog.drop(0)
		return
	}
	o.tellEnd(st, why)
	o.backlog.drop(0)
}

// tellEnd is end for a message whose ack is still awaited.
func (o outbox) tellEnd(st queue.Status, why queue.Reason) {
	m := &o.backlog.msgs[0]
	o.gateway().unconfirmed.clear(o.tracker, m.ID)
	o.trace("text ended", m.ID, string(st))
	o.host.storeEnd(queue.EndReq{
		Tracker: o.tracker, ID: m.ID, Status: st, Reason: why,
		Replaced: o.backlog.replaced,
	})
}

func statusLabel(st queue.Status) string {
	switch st {
	case queue.StatusFailed:
		return "failed"
	case queue.StatusExpired:
		return "expired"
	case queue.StatusSent:
		return "sent"
	default:
		return "other"
	}
}

// expired goes by the system's clock: the caller named a moment.
func expired(m *queue.Message, now time.Time) bool {
	return m.ExpiresMs != 0 && now.UnixMilli() >= m.ExpiresMs
}

// reasonOf translates a final refusal.
func reasonOf(o protocol.Outcome) queue.Reason {
	switch o {
	case protocol.AckRejected:
		return queue.ReasonMalformed
	case protocol.AckUnsupported:
		return queue.ReasonUnsupported
	case protocol.AckStorage:
		return queue.ReasonStorage
	default:
		return queue.ReasonRefused
	}
}
