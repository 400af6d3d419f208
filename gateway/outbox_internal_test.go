package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/queuetest"
)

// recorder is the host of an outbox without a socket: it writes down what is asked of it.
type recorder struct {
	t    *testing.T
	l    *Listener
	can  protocol.TextCaps
	now  time.Time
	did  []string
	last int64 // number of the newest claim
	req  queue.ClaimReq
	outbox
}

// idle is an engine without loops.
type idle struct{ engine.Engine }

func (idle) Loops() []engine.Loop { return nil }

// newRecorder has an outbox whose device has just logged in.
func newRecorder(t *testing.T, can protocol.TextCaps) *recorder {
	t.Helper()
	r := &recorder{t: t, can: can, now: time.Now()}
	g, err := New(Options{
		Engine: idle{}, Store: queuetest.NewModel(time.Now, 1000), Directory: new(queue.Directory),
		Now:        func() time.Time { return r.now },
		AckTimeout: []time.Duration{10 * time.Second, 20 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := all.Find("jt808")
	if r.l, err = g.Listen(p, nil, 0); err != nil {
		t.Fatal(err)
	}
	r.outbox = outbox{r, &delivery{
		activity: &g.rest, tracker: 1, since: g.ms(r.now), fresh: true,
	}}
	return r
}

func (r *recorder) note(format string, args ...any) {
	r.did = append(r.did, fmt.Sprintf(format, args...))
}

// want compares what was asked for since the last time.
func (r *recorder) want(commands ...string) {
	r.t.Helper()
	if !slices.Equal(r.did, commands) {
		r.t.Errorf("asked for %q, want %q", r.did, commands)
	}
	r.did = nil
}

func (r *recorder) listener() *Listener     { return r.l }
func (r *recorder) remote() netip.AddrPort  { return netip.AddrPort{} }
func (r *recorder) caps() protocol.TextCaps { return r.can }
func (r *recorder) signAcked()              {}

func (r *recorder) appendText(t protocol.Text, _ time.Time) error {
	r.note("write %s", t.Body)
	return nil
}

func (r *recorder) appendWithdraw(uint64, time.Time) { r.note("withdraw") }
func (r *recorder) close(why reason)                 { r.note("close: %s", why) }

func (r *recorder) arm(ms int64) {
	r.note("wait %s", time.Duration(ms-r.l.g.ms(r.now))*time.Millisecond)
}

func (r *recorder) storeClaim(n int64, q queue.ClaimReq) {
	r.last, r.req = n, q
	r.note("claim")
}

func (r *recorder) storeAck(_ int64, q queue.AckReq) { r.note("ack %d", q.ID) }

func (r *recorder) storeProgress(q queue.ProgressReq) {
	r.note("progress %d: %d of %d, tries %d", q.ID, q.Acked, q.Parts, q.Tries)
}

func (r *recorder) storeEnd(q queue.EndReq) { r.note("end %d: %s", q.ID, q.Reason) }

func (r *recorder) lookUpAck(uint64, bool) { r.note("look up") }

// owns has the store make this node the owner.
func (r *recorder) owns(pending int) {
	r.epoch = 1
	r.leased(&queue.Lease{Tracker: 1, Epoch: 1, Pending: pending, LastOut: int64(pending)})
}

// sends has the store announce a text.
func (r *recorder) sends(id int64, text string) {
	r.announced(&queue.Wake{
		Kind: queue.WakeMessage, Tracker: 1, Epoch: 1, Prev: r.lastKnown,
		Msg: queue.Message{ID: id, Tracker: 1, Text: text},
	})
}

// acks has the device acknowledge a part.
func (r *recorder) acks(id int64, part int) {
	r.ack(&protocol.Event{
		Kind: protocol.KindAck, Ref: protocol.Reference(id, part, r.can.RefBits),
		Outcome: protocol.AckDelivered,
	})
	r.polled(r.now)
}

// passes lets the time until the deadline pass.
func (r *recorder) passes() {
	ms := r.deadline()
	r.now = r.now.Add(time.Duration(ms-r.l.g.ms(r.now)) * time.Millisecond)
	r.onDeadline(r.now, 0)
}

// numbered are the abilities of a device whose acks name the part.
func numbered() protocol.TextCaps {
	return protocol.TextCaps{PartBytes: 8, RefBits: 32, Charset: protocol.UTF8()}
}

func TestOutboxDeliversPartByPart(t *testing.T) {
	r := newRecorder(t, numbered())
	r.owns(0)
	r.want()
	r.sends(7, "12345678abcd")
	r.want("write 12345678", "wait 10s")
	r.acks(7, 0)
	r.want("progress 7: 1 of 2, tries 0", "write abcd", "wait 10s")
	r.sends(8, "next")
	r.want()
	r.acks(7, 1)
	r.want("ack 7", "write next", "wait 10s")
	r.acks(8, 0)
	r.want("ack 8")
	if r.backlog != nil {
		t.Error("something is left of texts that are delivered")
	}
}

// TestOutboxHoldsFewTexts has more short texts pending than are to be in memory.
func TestOutboxHoldsFewTexts(t *testing.T) {
	const pending = 3 * backlogTexts
	r := newRecorder(t, numbered())
	r.owns(pending)
	answered := int64(0)
	for id := int64(1); id <= pending; id++ {
		for r.last > answered {
			answered = r.last
			var res queue.ClaimResult
			res.Next = r.req.Cursor
			for res.Next < pending && !r.req.Full(len(res.Msgs), 0) {
				res.Next++
				m := queue.Message{ID: int64(res.Next), Tracker: 1, Text: "x"}
				res.Msgs = append(res.Msgs, m)
			}
			res.More = res.Next < pending
			r.claimed(r.last, &res)
		}
		if n := len(r.backlog.msgs); n > backlogTexts {
			t.Fatalf("%d texts in memory", n)
		}
		r.acks(id, 0)
	}
	if r.backlog != nil {
		t.Errorf("%d texts were not delivered", len(r.backlog.msgs))
	}
}

func TestOutboxRepeatsAndParks(t *testing.T) {
	r := newRecorder(t, numbered())
	r.owns(0)
	r.sends(7, "text")
	r.want("write text", "wait 10s")
	r.passes()
	r.want("progress 7: 0 of 1, tries 1", "write text", "wait 20s")
	r.passes()
	r.want("progress 7: 0 of 1, tries 2", "wait 10m0s")
	r.passes()
	r.want("claim")
	r.claimed(r.last, &queue.ClaimResult{Msgs: []queue.Message{{ID: 7, Tracker: 1, Text: "text"}}})
	r.want("write text", "wait 10m0s")
	r.acks(7, 0)
	r.want("ack 7")
}

func TestOutboxTakesLateAcks(t *testing.T) {
	r := newRecorder(t, numbered())
	r.acks(7, 0) // of the last connection, before the store has said what is pending
	r.want()
	r.owns(8)
	r.want("claim")
	r.claimed(r.last, &queue.ClaimResult{Msgs: []queue.Message{
		{ID: 7, Tracker: 1, Text: "first"}, {ID: 8, Tracker: 1, Text: "second"},
	}})
	r.want("ack 7", "write second", "wait 10s")
	r.sends(9, "third")
	r.acks(6, 0) // of a text that is not in flight
	r.want("look up")
	r.lateMatched(&lateMatch{result: "matched", msg: queue.Message{ID: 6}, parts: 1})
	r.want()
	r.lateMatched(&lateMatch{result: "matched", msg: queue.Message{ID: 8}, parts: 1})
	r.want("write third", "wait 10s")
}
