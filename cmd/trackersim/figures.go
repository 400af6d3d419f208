package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"trackchat/gateway/trackersim"
)

// figures are what all trackers together have seen; any number of goroutines may observe.
type figures struct {
	devices int

	online  atomic.Int64
	logins  atomic.Int64
	refused atomic.Int64
	// dials, and connections that ended before the gateway answered the login.
	failed      atomic.Int64
	lost        atomic.Int64 // logged-in connections that this side did not end
	received    atomic.Int64
	repeated    atomic.Int64
	acked       atomic.Int64
	ignored     atomic.Int64
	said        atomic.Int64
	saidAcked   atomic.Int64
	saidRefused atomic.Int64
	lastError   atomic.Pointer[error]

	login histogram // dial to logged in
	ack   histogram // part in to ack out
	say   histogram // driver's text out to the gateway's ack in

	// out to the server's answer in, from when all devices are online: logins by the thousand would
	// be in the way.
	position histogram
	complete atomic.Bool
}

// observer returns the hook of one tracker.
func (f *figures) observer() func(trackersim.Event) {
	online := false
	return func(e trackersim.Event) {
		switch e.Kind {
		case trackersim.LoggedIn:
			online = true
			if f.online.Add(1) == int64(f.devices) && f.complete.CompareAndSwap(false, true) {
				f.position.clear()
			}
			f.logins.Add(1)
			f.login.add(e.Took)
		case trackersim.Disconnected:
			switch {
			case online:
				online = false
				f.online.Add(-1)
				if e.Err != nil {
					f.lost.Add(1)
				}
			case e.Err != nil && !errors.Is(e.Err, trackersim.ErrRefused):
				f.failed.Add(1)
			}
		case trackersim.Refused:
			f.refused.Add(1)
		case trackersim.DialFailed:
			f.failed.Add(1)
		case trackersim.TextReceived:
			f.received.Add(1)
			if e.Repeated {
				f.repeated.Add(1)
			}
		case trackersim.TextAcked:
			f.acked.Add(1)
			f.ack.add(e.Took)
		case trackersim.TextIgnored:
			f.ignored.Add(1)
		case trackersim.Said:
			if e.Copy == 1 {
				f.said.Add(1)
			}
		case trackersim.SaidAcked:
			f.saidAcked.Add(1)
			f.say.add(e.Took)
		case trackersim.SaidRefused:
			f.saidRefused.Add(1)
		case trackersim.PositionAnswered:
			f.position.add(e.Took)
		case trackersim.Connected:
		}
		if e.Err != nil {
			f.lastError.Store(&e.Err)
		}
	}
}

// line is the state in one line; rate is parts received per second.
func (f *figures) line(elapsed time.Duration, rate float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%4.0fs  online %d/%d  received %d (%.0f/s)  acked %d", elapsed.Seconds(),
		f.online.Load(), f.devices, f.received.Load(), rate, f.acked.Load())
	for _, c := range []struct {
		name string
		n    int64
	}{
		{"not acked", f.ignored.Load()},
		{"repeated", f.repeated.Load()},
		{"said", f.said.Load()},
		{"refused", f.refused.Load()},
		{"failed", f.failed.Load()},
		{"lost", f.lost.Load()},
	} {
		if c.n > 0 {
			fmt.Fprintf(&b, "  %s %d", c.name, c.n)
		}
	}
	for _, l := range f.latencies() {
		if p50, ok := l.h.quantile(0.5); ok && l.short != "" {
			p99, _ := l.h.quantile(0.99)
			fmt.Fprintf(&b, "  %s %v/%v", l.short, short(p50), short(p99))
		}
	}
	return b.String()
}

type latency struct {
	h           *histogram
	short, long string // short: in the line of a second; empty: not there
}

func (f *figures) latencies() []latency {
	return []latency{
		{&f.login, "login p50/p99", "dial to logged in"},
		{&f.ack, "ack", "text in to ack out"},
		{&f.say, "say", "driver's text out to its ack in"},
		{&f.position, "", "position out to its answer in"},
	}
}

// summary writes everything at the end.
func (f *figures) summary(w io.Writer, elapsed time.Duration) {
	fmt.Fprintf(w, "ran %v with %d trackers\n", elapsed.Round(time.Millisecond), f.devices)
	for _, c := range []struct {
		name string
		n    *atomic.Int64
	}{
		{"logins", &f.logins},
		{"logins refused", &f.refused},
		{"dials and logins failed", &f.failed},
		{"connections lost", &f.lost},
		{"text parts received", &f.received},
		{"  repeated", &f.repeated},
		{"  acknowledged", &f.acked},
		{"  not acknowledged", &f.ignored},
		{"driver's texts", &f.said},
		{"  acknowledged", &f.saidAcked},
		{"  refused", &f.saidRefused},
	} {
		fmt.Fprintf(w, "%-32s %12d\n", c.name, c.n.Load())
	}
	for _, l := range f.latencies() {
		p50, ok := l.h.quantile(0.5)
		if !ok {
			continue
		}
		p99, _ := l.h.quantile(0.99)
		top, _ := l.h.quantile(1)
		fmt.Fprintf(w, "%-32s p50 %v  p99 %v  max %v\n", l.long, short(p50), short(p99), short(top))
	}
	if err := f.lastError.Load(); err != nil {
		fmt.Fprintf(w, "last error: %v\n", *err)
	}
}

// short rounds to what a person reads.
func short(d time.Duration) time.Duration {
	switch {
	case d < time.Millisecond:
		return d
	case d < time.Second:
		return d.Round(10 * time.Microsecond)
	default:
		return d.Round(time.Millisecond)
	}
}
