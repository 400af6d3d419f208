package load

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What became of a message.
const (
	accepted   uint32 = 1 << iota // the API took it
	refused                       // the API refused it
	unanswered                    // the API's answer was lost
	answering                     // its device is about to acknowledge its last part
	acked                         // and has written that
	delivered                     // the API lists it as DELIVERED
)

// record is one message. Request n of the run goes to the next batch of trackers, so that a
// record's number says which tracker it is for.
type record struct {
	arrived atomic.Int64  // when all of it was at the device first, ns after the start; 0: not yet
	state   atomic.Uint32 // bits above
	listed  atomic.Uint32 // number of the newest reading of the list that had it; 0: none
}

// set adds bits and tells whether any of them is new.
func (r *record) set(bits uint32) bool { return r.state.Or(bits)&bits != bits }

// ledger knows every message of the run.
type ledger struct {
	run      string // tells this run's texts from others
	trackers int
	batch    int
	interval time.Duration // between requests; 0: all are due at the start
	padding  string
	records  []record

	started atomic.Int64 // Unix ns of the start of the schedule; 0: before it

	sent, taken, arrived, acked atomic.Int64
	// copies of a text that the device has not acknowledged.
	repeated   atomic.Int64
	duplicated atomic.Int64 // copies of a text that the device had acknowledged
	foreign    atomic.Int64 // texts that are not of this run
}

func newLedger(o *Options) *ledger {
	l := &ledger{
		run: strconv.FormatUint(rand.Uint64N(36*36*36*36*36*36), 36), trackers: o.trackers(),
		batch:   o.batch(),
		records: make([]record, o.requests()*o.batch()),
		padding: strings.Repeat("Please turn left after the bridge, then call the office. ",
			o.Size/57+1)[:o.Size],
	}
	if o.Rate > 0 {
		l.interval = time.Duration(float64(l.batch) / o.Rate * float64(time.Second))
	}
	return l
}

func (l *ledger) requests() int { return len(l.records) / l.batch }

// due is when a request is scheduled, after the start.
func (l *ledger) due(request int) time.Duration { return time.Duration(request) * l.interval }

// since is the time that has passed since the start of the schedule.
func (l *ledger) since(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - l.started.Load())
}

// device returns which device, from 0, the text of a request goes to at a place of its batch.
func (l *ledger) device(request, place int) int { return (request*l.batch + place) % l.trackers }

// of returns the record of a request for a device.
func (l *ledger) of(request, device int) (*record, bool) {
	if request < 0 || request >= l.requests() {
		return nil, false
	}
	first := request * l.batch
	place := (device - first%l.trackers + l.trackers) % l.trackers
	if place >= l.batch {
		return nil, false
	}
	return &l.records[first+place], true
}

// appendText writes a text: "#", run, "-", number, ":", padding, "!". The ends tell whether all of
// a text has arrived that came in parts.
func (l *ledger) appendText(dst []byte, request int) []byte {
	start := len(dst)
	dst = append(append(append(dst, '#'), l.run...), '-')
	dst = append(strconv.AppendInt(dst, int64(request), 36), ':')
	dst = append(dst, l.padding[:len(l.padding)-(len(dst)-start)-1]...)
	return append(dst, '!')
}

// read takes a part of a text: the request if it begins one, -1 if it continues one, and whether it
// ends it. Other says that it is of another run.
func (l *ledger) read(body string) (request int, ends, other bool) {
	ends = strings.HasSuffix(body, "!")
	_, token, begins := strings.Cut(body, "#")
	if !begins {
		return -1, ends, false
	}
	token, isOurs := strings.CutPrefix(token, l.run+"-")
	digits, _, found := strings.Cut(token, ":")
	n, err := strconv.ParseInt(digits, 36, 64)
	if !isOurs || !found || err != nil {
		return -1, ends, true
	}
	return int(n), ends, false
}

// arrive notes that all of a text is at its device; first says that it was not there before.
func (l *ledger) arrive(r *record, now time.Time) (first bool) {
	if r.arrived.CompareAndSwap(0, max(int64(l.since(now)), 1)) {
		l.arrived.Add(1)
		return true
	}
	if r.state.Load()&answering != 0 {
		l.duplicated.Add(1)
	} else {
		l.repeated.Add(1)
	}
	return false
}

// answer notes what the API said about a message.
func (l *ledger) answer(r *record, what uint32) {
	if r.set(what) && what == accepted {
		l.taken.Add(1)
	}
}
