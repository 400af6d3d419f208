package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"

	"golang.org/x/time/rate"
)

// runFleet plays the trackers until the duration or ctx ends, or none of them goes on.
func runFleet(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var f fleetFlags
	fs := flag.NewFlagSet("trackersim", flag.ContinueOnError)
	f.register(fs)
	if code, done := parse(fs, args, stdout, stderr); done {
		return code
	}
	p, n, err := f.resolve()
	if err == nil {
		err = f.check(p)
	}
	if err != nil {
		return misused(fs, err, stderr)
	}
	settings, err := p.NewSettings(f.settings)
	if err != nil {
		return misused(fs, err, stderr)
	}
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	common := trackersim.Options{Protocol: p, Device: protocol.DeviceConfig{
		Variant:  f.variant,
		Settings: settings,
	}}
	if f.interactive {
		return drive(ctx, &f, n, common, os.Stdin, stdout)
	}
	seen := &figures{devices: f.devices}
	start := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		play(ctx, &f, n, common, seen)
	}()
	before := int64(0)
	watch(start, ended, stdout, func(elapsed, since time.Duration) string {
		received := seen.received.Load()
		perSecond := float64(received-before) / since.Seconds()
		before = received
		return seen.line(elapsed, perSecond)
	})
	seen.summary(stdout, time.Since(start))
	if seen.logins.Load() == 0 {
		fmt.Fprintln(stderr, "trackersim: no device could log in")
		return exitNobody
	}
	return exitOK
}

// play runs every tracker until it ends; common has what all of them share.
func play(ctx context.Context, f *fleetFlags, n ids, common trackersim.Options, seen *figures) {
	common = f.lay(common)
	common.Buffers = new(trackersim.Buffers)
	var group sync.WaitGroup
	defer group.Wait()
	for i := range f.devices {
		o := common
		o.Device.ID, o.OnEvent = n.at(i), seen.observer()
		if len(f.sources) > 0 {
			o.Source = f.sources[i%len(f.sources)]
		}
		t := trackersim.New(o)
		group.Go(func() { _ = t.Run(ctx) }) // its events told why it ended
	}
}

// lay puts the flags over the options that all trackers share.
func (f *fleetFlags) lay(o trackersim.Options) trackersim.Options {
	limiter := rate.NewLimiter(rate.Limit(f.connectRate), max(1, int(f.connectRate/100)))
	o.Gateway, o.Now, o.Seed = f.gateway, time.Now, f.seed
	o.AckDelay, o.NoAck, o.Reply = f.ackDelay, float64(f.noAck), f.reply
	o.PositionEvery, o.HeartbeatEvery = f.positionEvery, f.heartbeatEvery
	o.Reconnect, o.Pace = f.reconnect, limiter.Wait
	return o
}

// watch writes a line every second until ended is closed; on a terminal it is the same line. line
// is told how long the run has lasted, and how long it is since the last line.
func watch(start time.Time, ended <-chan struct{}, stdout io.Writer,
	line func(elapsed, since time.Duration) string,
) {
	format := "%s\n"
	terminal := isTerminal(stdout)
	if terminal {
		format = "\r%s\x1b[K"
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	at := start
	for {
		select {
		case <-ended:
			if terminal {
				fmt.Fprintln(stdout)
			}
			return
		case now := <-every.C:
			fmt.Fprintf(stdout, format, line(now.Sub(start), now.Sub(at)))
			at = now
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
