package gateway

import (
	"context"
	"fmt"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

// drainPatience is how long a drain that finds nothing but busy sessions waits for them to become
// quiet.
const drainPatience = time.Second

// Drain takes no connection from now on, ever again, and closes those there are, about perSecond of
// them in a second, so that their devices go to other nodes and do not all come at once. Quiet ones
// go first; a device that has a text before it has a moment to acknowledge it. What is still in
// flight when its session is closed is due again at once, wherever the device logs in next. It
// returns when no connection is left, or with the error of ctx.
func (g *Gateway) Drain(ctx context.Context, perSecond int) error {
	if !g.admission.draining.Swap(true) {
		g.log.Info("draining", zap.Int("sessions", g.Sessions()), zap.Int("per_second", perSecond))
	}
	d := &drain{shares: make([]drainShare, len(g.shards)), answers: make(chan drainAnswer,
		len(g.shards))}
	every := time.NewTicker(tickEvery)
	defer every.Stop()
	last := g.o.Now()
	quiet := last // when the last quiet session was found
	due := 0.0
	for {
		closed, left, err := d.round(ctx, g, int(due), g.o.Now().Sub(quiet) < drainPatience)
		if err != nil {
			return fmt.Errorf("draining, %d sessions left: %w", g.Sessions(), err)
		}
		if left == 0 {
			return nil
		}
		now := g.o.Now()
		if closed > 0 || due < 1 {
			quiet = now
		}
		// what found nobody is not saved up.
		due = min(due-float64(closed), 1) + now.Sub(last).Seconds()*float64(perSecond)
		last = now
		select {
		case <-ctx.Done():
		case <-every.C:
		}
	}
}

// Draining reports whether the gateway takes no connections any more.
func (g *Gateway) Draining() bool { return g.admission.draining.Load() }

// Node is the name under which the gateway owns trackers.
func (g *Gateway) Node() queue.NodeID { return g.o.Node }

// drain is what is known of the shards.
type drain struct {
	shares  []drainShare
	left    int // connections of all shards after the last round
	answers chan drainAnswer
}

// drainShare is what one shard is asked for.
type drainShare struct {
	d       *drain
	shard   int
	left    int // connections after the last round
	quota   int // to be closed
	patient bool
}

type drainAnswer struct{ shard, closed, left int }

// round closes up to quota connections, from each shard according to what it has, and returns how
// many were closed and how many stay.
func (d *drain) round(ctx context.Context, g *Gateway, quota int, patient bool) (closed, left int,
	err error,
) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	given, seen := 0, 0
	for i, sh := range g.shards {
		s := &d.shares[i]
		seen += s.left
		upTo := 0
		if d.left > 0 {
			upTo = quota * seen / d.left // sums of shares, so that none is lost by rounding
		}
		s.d, s.shard, s.patient, s.quota = d, i, patient, upTo-given
		given = upTo
		if !sh.loop.Execute(func() { sh.drain(s) }) {
			d.answers <- drainAnswer{shard: i} // its loop has ended, and with it all it had
		}
	}
	for range g.shards {
		select {
		case a := <-d.answers:
			d.shares[a.shard].left = a.left
			closed, left = closed+a.closed, left+a.left
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	d.left = left
	return closed, left, nil
}

// drain closes connections of a shard, quiet ones only while that is patient.
func (sh *shard) drain(share *drainShare) {
	closed := 0
	for i := len(sh.live) - 1; i >= 0 && closed < share.quota; i-- {
		s := sh.live[i]
		if s.closing || share.patient && s.busy() {
			continue
		}
		s.close(reasonShutdown)
		s.flush()
		closed++
	}
	share.d.answers <- drainAnswer{share.shard, closed, len(sh.live)} // has room for every shard
}

// busy reports whether the device or the store owes an answer.
func (s *session) busy() bool {
	return s.replies != nil || s.tracker != 0 && !s.ready() || s.inFlight()
}
