package ledger

import (
	"cmp"
	"math"
	"slices"
)

// Counts is what became of the texts of a run, those to deaf devices apart.
type Counts struct {
	Accepted   int `json:"accepted"`
	Refused    int `json:"refused"`
	Unanswered int `json:"unanswered"` // no answer: the connection broke
	// Accepted, and never at the device.
	Lost int `json:"lost"`
	// At the device more than once.
	Doubled int `json:"doubled"`
	// At the device before a text that had been accepted before this one was even sent.
	Disordered int `json:"disordered"`
	// Read back as delivered although the device has not acknowledged it.
	Undue int `json:"delivered_without_ack"`
	// Acknowledged by the device and not read back as delivered.
	Overdue int `json:"acked_not_delivered"`
}

// StatusWrong is the number of texts whose status says something else than their devices.
func (c Counts) StatusWrong() int { return c.Undue + c.Overdue }

// Count counts all texts to devices from a number on.
func (l *Ledger) Count(from int) (c Counts) {
	type arrival struct {
		device               int32
		seq                  int64
		at, sent, answeredAt int64
	}
	var arrivals []arrival
	for seq := range l.Len() {
		r := &l.records[seq]
		if int(r.device.Load()) < from {
			continue
		}
		taken := r.verdict.Load() == accepted
		switch r.verdict.Load() {
		case accepted:
			c.Accepted++
		case refused:
			c.Refused++
		default:
			c.Unanswered++
		}
		at, acked, delivered := r.arrived.Load(), r.acks.Load() > 0, r.status.Load() == 1
		switch {
		case at == 0 && taken:
			c.Lost++
		case r.arrivals.Load() > 1:
			c.Doubled++
		}
		switch {
		case delivered && !acked:
			c.Undue++
		case taken && acked && !delivered:
			c.Overdue++
		}
		if at != 0 {
			a := arrival{r.device.Load(), seq, at, r.sent.Load(), r.answered.Load()}
			arrivals = append(arrivals, a)
		}
	}
	slices.SortFunc(arrivals, func(a, b arrival) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.at, b.at),
			cmp.Compare(a.seq, b.seq))
	})
	// Backwards: the earliest acceptance among the texts that arrived later at the same device.
	device, earliest := int32(-1), int64(math.MaxInt64)
	for _, a := range slices.Backward(arrivals) {
		if a.device != device {
			device, earliest = a.device, math.MaxInt64
		}
		if earliest < a.sent {
			c.Disordered++
		}
		if a.answeredAt != 0 {
			earliest = min(earliest, a.answeredAt)
		}
	}
	return c
}
