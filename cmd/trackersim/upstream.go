package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/gateway/standin"
)

// upstream is a stand-in for a tracking server, and what it does by itself.
type upstream struct {
	flags  *upstreamFlags
	server *standin.Server
	stderr io.Writer
	deaths atomic.Int64
	unsent atomic.Int64 // texts that could not be sent
}

// runUpstream is a tracking server until the duration or ctx ends.
func runUpstream(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var f upstreamFlags
	fs := flag.NewFlagSet("trackersim upstream", flag.ContinueOnError)
	f.register(fs)
	if code, done := parse(fs, args, stdout, stderr); done {
		return code
	}
	o, err := f.options()
	if err != nil {
		return misused(fs, err, stderr)
	}
	server, err := standin.Start(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "trackersim upstream: %v\n", err)
		return exitNobody
	}
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	u := &upstream{flags: &f, server: server, stderr: stderr}
	fmt.Fprintf(stdout, "tracking server for %s at %s\n", f.protocol, server.Addr())
	start := time.Now()
	var group sync.WaitGroup
	group.Go(func() { u.speak(ctx) })
	group.Go(func() { u.die(ctx) })
	before := 0
	watch(start, ctx.Done(), stdout, func(elapsed, since time.Duration) string {
		positions := server.Figures().Positions
		perSecond := float64(positions-before) / since.Seconds()
		before = positions
		return u.line(elapsed, perSecond)
	})
	server.Close()
	group.Wait()
	u.summary(stdout, time.Since(start))
	if server.Figures().Logins == 0 {
		fmt.Fprintln(stderr, "trackersim upstream: no device logged in")
		return exitNobody
	}
	return exitOK
}

// speak sends the text to every device, again and again.
func (u *upstream) speak(ctx context.Context) {
	if u.flags.textEvery == 0 {
		return
	}
	every := time.NewTicker(u.flags.textEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		for _, device := range u.server.Connected() {
			if _, err := u.server.Text(device, u.flags.text); err != nil {
				u.unsent.Add(1) // its handshake is not over, or it has just left
			}
		}
	}
}

// die is away for a while when its time has come, again and again.
func (u *upstream) die(ctx context.Context) {
	f := u.flags
	for f.dieAfter > 0 || f.dieEvery > 0 {
		if f.dieAfter > 0 {
			enough := u.server.Figures().Positions + f.dieAfter
			taken := func() bool { return u.server.Figures().Positions >= enough }
			if u.server.Await(ctx, taken) != nil {
				return
			}
		} else if !pause(ctx, f.dieEvery) {
			return
		}
		u.server.Die(standin.RST)
		u.deaths.Add(1)
		if !u.back(ctx) {
			return
		}
	}
}

// back listens again, as soon as that is possible; false: ctx has ended.
func (u *upstream) back(ctx context.Context) bool {
	for away := u.flags.away; pause(ctx, away); away = time.Second {
		err := u.server.Return(ctx)
		if err == nil {
			return true
		}
		fmt.Fprintf(u.stderr, "trackersim upstream: %v\n", err)
	}
	return false
}

// pause reports whether ctx lasted as long as d.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// line is the state in one line; rate is positions a second.
func (u *upstream) line(elapsed time.Duration, rate float64) string {
	f := u.server.Figures()
	var b strings.Builder
	fmt.Fprintf(&b, "%4.0fs  connections %d  logins %d  positions %d (%.0f/s)", elapsed.Seconds(),
		f.Open, f.Logins, f.Positions, rate)
	for _, c := range u.counts(&f) {
		if c.short != "" && c.n > 0 {
			fmt.Fprintf(&b, "  %s %d", c.short, c.n)
		}
	}
	return b.String()
}

// count is a figure with its name in the summary and, where it has one, in the line of a second.
type count struct {
	name, short string
	n           int
}

func (u *upstream) counts(f *standin.Figures) []count {
	return []count{
		{"connections", "", f.Connections},
		{"connections over the limit", "over the limit", f.Closed},
		{"logins", "", f.Logins},
		{"logins refused", "refused", f.Refused},
		{"positions", "", f.Positions},
		{"positions answered", "", f.Answered},
		{"driver's texts", "driver's texts", f.Texts},
		{"texts sent", "sent", f.Sent},
		{"  acknowledged", "acked", f.Acks},
		{"  delivered", "", f.Delivered},
		{"texts that could not be sent", "", int(u.unsent.Load())},
		{"acks of texts of others", "acks of others", f.Strays},
		{"frames that could not be read", "not read", f.Garbled},
		{"times away", "away", int(u.deaths.Load())},
	}
}

// summary writes everything at the end.
func (u *upstream) summary(w io.Writer, elapsed time.Duration) {
	f := u.server.Figures()
	fmt.Fprintf(w, "ran %v, read %d bytes\n", elapsed.Round(time.Millisecond), f.Bytes)
	for _, c := range u.counts(&f) {
		fmt.Fprintf(w, "%-32s %12d\n", c.name, c.n)
	}
	if f.Proxy != "" {
		fmt.Fprintf(w, "last PROXY header: %q\n", f.Proxy)
	}
}
