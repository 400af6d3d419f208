package load

import (
	"maps"
	"time"
)

// report adds everything up.
func (r *run) report() *Report {
	o, l, s, c := r.o, r.ledger, r.sending, r.fleet
	rep := &Report{
		Protocol: o.Protocol.Name, Devices: o.trackers(), LoggedIn: r.online, Rate: o.Rate,
		Broadcast: o.Broadcast, Size: o.Size, Seconds: r.sentIn.Seconds(),
		Sent: l.sent.Load(), Written: l.arrived.Load(), Acked: l.acked.Load(),
		Repeated: l.repeated.Load(), Foreign: l.foreign.Load(),
		Duplicated: l.duplicated.Load() + r.lastly.twice, OutOfOrder: r.lastly.outOfOrder,
		Unreadable: r.lastly.unreadable,
		Reconnects: c.lost.Load(), DialsFailed: c.failed.Load(), Logins: c.refused.Load(),
		LoginSeconds: r.loggedIn.Seconds(),
		ToDevice:     c.toDevice.quantiles(), ToAnswer: s.accept.quantiles(),
		Behind: s.behind.quantiles(), GeneratorCPU: r.meter.generator(),
		samples: r.samples, toDevice: c.toDevice, toAnswer: s.accept, notes: r.notes,
	}
	s.mu.Lock()
	rep.Refused = maps.Clone(s.refused)
	s.mu.Unlock()
	for i := range l.records {
		rep.add(&l.records[i])
	}
	if span := max(r.sentIn, r.answeredIn()); span > 0 {
		rep.AcceptedPerSecond = float64(rep.Accepted) / span.Seconds()
	}
	if last := c.lastAck.Load(); last > 0 && rep.Delivered > 0 {
		span := time.Duration(last - l.started.Load())
		rep.DeliveredPerSecond = float64(rep.Delivered) / max(span.Seconds(), 1e-9)
		if o.Storm > 0 {
			rep.StormSeconds = span.Seconds()
		}
	}
	rep.Processes = r.meter.report(rep.Delivered, r.online, o.Rate == 0 && o.Storm == 0)
	if err := r.client.error(); err != nil && rep.Unanswered > 0 {
		rep.notes = append(rep.notes, "API: "+err.Error())
	}
	if err := c.lastError.Load(); err != nil && rep.Reconnects+rep.DialsFailed > 0 {
		rep.notes = append(rep.notes, "devices: "+(*err).Error())
	}
	if rep.Refused["15"] > 0 {
		rep.notes = append(rep.notes,
			"code 15 is the API's rate limit for a key; api.rate_limit: 0 switches it off")
	}
	return rep
}

// add counts one message.
func (r *Report) add(rec *record) {
	st, listed := rec.state.Load(), rec.listed.Load() != 0
	has := func(bit uint32) bool { return st&bit != 0 }
	switch {
	case has(accepted):
		r.Accepted++
	case has(unanswered):
		r.Unanswered++
	}
	if listed && has(refused|unanswered) {
		r.LateStored++
	}
	switch {
	case has(delivered):
		r.Delivered++
		if !has(acked) {
			r.Unproven++
		}
	case has(acked), has(accepted) && !listed:
		r.Lost++
	case has(accepted):
		r.Pending++
	}
}

// answeredIn is the time from the start of the schedule to the last answer of the API.
func (r *run) answeredIn() time.Duration {
	last := r.sending.lastAnswer.Load()
	if last == 0 || r.o.Storm > 0 { // whose schedule starts after the answers
		return 0
	}
	return time.Duration(last - r.ledger.started.Load())
}
