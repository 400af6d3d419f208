// Package ledger knows every text of a run: when it was planned, what the API said, when and how
// often it was at its device, and the status that was read back.
package ledger

import (
	"bytes"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What the API said about a text.
const (
	pending int32 = iota
	accepted
	refused
	unanswered // the connection broke, or the time was over: it may have been taken or not
)

// record is one text. Times are nanoseconds since the ledger's start, 0: not yet.
type record struct {
	device   atomic.Int32 // from 0
	verdict  atomic.Int32 // what the API said
	arrivals atomic.Int32
	acks     atomic.Int32 // written by the device
	status   atomic.Int32 // 1 when it was read back as delivered
	id       atomic.Int64 // what the API calls it
	planned  atomic.Int64 // when it was due
	sent     atomic.Int64 // when the request was begun
	answered atomic.Int64 // when it was accepted
	arrived  atomic.Int64 // when it was at the device first
}

// Ledger is used by any number of goroutines. The numbers of texts count from 0.
type Ledger struct {
	start   time.Time
	devices int
	records []record
	padding string
	next    atomic.Int64

	taken, arrived atomic.Int64
	changes        atomic.Int64
	changed        atomic.Int64 // when the newest of them was
}

// New makes a ledger for at most so many texts to so many devices; each text has size characters.
func New(devices, texts, size int) *Ledger {
	return &Ledger{
		start: time.Now(), devices: devices, records: make([]record, texts),
		padding: strings.Repeat("Please call the office. ", size/24+1)[:max(size-tokenLen, 0)],
	}
}

const (
	numberLen = 9
	tokenLen  = 1 + numberLen + 1 // "#", number, space
)

// Now is the time since the start in ns, at least 1.
func (l *Ledger) Now() int64 { return max(int64(time.Since(l.start)), 1) }

// Len is the number of texts so far.
func (l *Ledger) Len() int64 { return min(l.next.Load(), int64(len(l.records))) }

// Accepted is how many texts the API has taken.
func (l *Ledger) Accepted() int64 { return l.taken.Load() }

// Arrived is how many different texts have been at their devices.
func (l *Ledger) Arrived() int64 { return l.arrived.Load() }

// Changes counts everything that happens to texts at their devices, repetitions too.
func (l *Ledger) Changes() int64 { return l.changes.Load() }

// Changed is when the newest change was, on the ledger's clock.
func (l *Ledger) Changed() int64 { return l.changed.Load() }

func (l *Ledger) change(at int64) {
	l.changes.Add(1)
	l.changed.Store(at)
}

// Take reserves the numbers of n texts; false: there is no room.
func (l *Ledger) Take(n int) (first int64, ok bool) {
	first = l.next.Add(int64(n)) - int64(n)
	if first+int64(n) > int64(len(l.records)) {
		l.next.Add(-int64(n))
		return 0, false
	}
	return first, true
}

// Send notes that the request for a text is begun, which was due at planned.
func (l *Ledger) Send(seq int64, device int, planned int64) {
	r := &l.records[seq]
	r.device.Store(int32(device))
	r.planned.Store(planned)
	r.sent.Store(l.Now())
}

// Accept notes that the API has taken a text, and as what.
func (l *Ledger) Accept(seq, id int64) {
	r := &l.records[seq]
	r.id.Store(id)
	r.answered.Store(l.Now())
	r.verdict.Store(accepted)
	l.taken.Add(1)
}

// Refuse notes that it did not.
func (l *Ledger) Refuse(seq int64) { l.records[seq].verdict.Store(refused) }

// Unanswered notes that there was no answer.
func (l *Ledger) Unanswered(seq int64) { l.records[seq].verdict.Store(unanswered) }

// AppendText writes the text of a number: "#", nine digits, space, padding.
func (l *Ledger) AppendText(dst []byte, seq int64) []byte {
	dst = append(dst, '#')
	digits := strconv.FormatInt(seq, 10)
	for range numberLen - len(digits) {
		dst = append(dst, '0')
	}
	return append(append(append(dst, digits...), ' '), l.padding...)
}

// Find returns the number of a text that a device has, or the API lists for it. The texts of a
// broadcast have the number of their first one, and go to devices one after the other.
func (l *Ledger) Find(device int, text []byte) (seq int64, ok bool) {
	k := bytes.IndexByte(text, '#')
	if k < 0 || len(text) < k+tokenLen {
		return 0, false
	}
	seq, err := strconv.ParseInt(string(text[k+1:k+1+numberLen]), 10, 64)
	if err != nil || seq < 0 || seq >= l.Len() {
		return 0, false
	}
	first := int(l.records[seq].device.Load())
	seq += int64((device - first + l.devices) % l.devices)
	if seq >= l.Len() || int(l.records[seq].device.Load()) != device {
		return 0, false
	}
	return seq, true
}

// Arrive notes that a device has a text.
func (l *Ledger) Arrive(seq int64) {
	r := &l.records[seq]
	now := l.Now()
	r.arrivals.Add(1)
	l.change(now)
	if r.arrived.CompareAndSwap(0, now) {
		l.arrived.Add(1)
	}
}

// Ack notes that the device has written its acknowledgement.
func (l *Ledger) Ack(seq int64) { l.records[seq].acks.Add(1) }

// Read notes a status that was read back. It tells whether that is news.
func (l *Ledger) Read(seq int64, delivered bool) (news bool) {
	if !delivered {
		return false
	}
	if news = l.records[seq].status.Swap(1) == 0; news {
		l.change(l.Now())
	}
	return news
}

// Waiting calls f with the number, device and id of each text from a number on that is accepted,
// but was not read back as delivered, until that returns false. Devices below from do not count.
func (l *Ledger) Waiting(begin int64, from int, f func(seq int64, device int, id int64) bool) {
	for seq := begin; seq < l.Len(); seq++ {
		r := &l.records[seq]
		device := int(r.device.Load())
		if device < from || r.verdict.Load() != accepted || r.status.Load() == 1 {
			continue
		}
		if !f(seq, device, r.id.Load()) {
			return
		}
	}
}

// Missing is how many texts from a number on are accepted and were never at their device.
func (l *Ledger) Missing(begin int64, from int) (n int) {
	for seq := begin; seq < l.Len(); seq++ {
		r := &l.records[seq]
		if int(r.device.Load()) >= from && r.verdict.Load() == accepted && r.arrived.Load() == 0 {
			n++
		}
	}
	return n
}

// Lateness calls f with the time from planned to the begin of the request of each text, for numbers
// from begin to before end: what waiting for a connection took, and what the generator itself is
// late.
func (l *Ledger) Lateness(begin, end int64, f func(time.Duration)) {
	for seq := begin; seq < end; seq++ {
		r := &l.records[seq]
		f(time.Duration(r.sent.Load() - r.planned.Load()))
	}
}

// Latencies calls f with the time from planned to the device of each text that has arrived, for
// numbers from begin to before end.
func (l *Ledger) Latencies(begin, end int64, from int, f func(time.Duration)) {
	for seq := begin; seq < end; seq++ {
		r := &l.records[seq]
		if at := r.arrived.Load(); at != 0 && int(r.device.Load()) >= from {
			f(time.Duration(at - r.planned.Load()))
		}
	}
}
