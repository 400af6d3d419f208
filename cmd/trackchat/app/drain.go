package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

// Sessions are closed at this rate at least, and faster where there are so many that they would
// outlast the time.
const (
	drainRate     = 100 // a second, on request
	drainOver     = time.Minute
	drainStopRate = 2000 // a second, on the way to the end of the process
	drainStopOver = 3 * time.Second
	drainStopMost = 4 * time.Second // what is left then is closed at once
)

var errDraining = errors.New("draining")

// Drain takes this process out of the fleet without stopping it: it is not ready any more, takes no
// new connections of devices, and closes those it has within about a minute, so that they go to
// other nodes. What clients of the API ask for is still answered. It returns at once; a second call
// changes nothing, and only a restart brings the process back.
func (a *App) Drain(context.Context) error {
	for {
		why := a.ready.Load()
		if why != nil && (errors.Is(*why, errStarting) || errors.Is(*why, errStopping)) {
			return fmt.Errorf("%w: %w", queue.ErrUnavailable, *why)
		}
		if a.ready.CompareAndSwap(why, &errDraining) {
			break
		}
	}
	select {
	case a.drain <- struct{}{}:
	default: // it was asked for before
	}
	return nil
}

// startDraining waits for Drain until the service stops.
func (a *App) startDraining(ctx context.Context) {
	a.meanwhile(ctx, func(ctx context.Context) {
		select {
		case <-ctx.Done():
			return
		case <-a.drain:
		}
		speed := drainSpeed(a.gateway.Sessions(), drainRate, drainOver)
		if err := a.gateway.Drain(ctx, speed); err != nil {
			a.log.Info("the drain ends with the service", zap.Error(err))
			return
		}
		a.log.Info("drained")
	})
}

// drainToStop closes the sessions one after the other as far as there is time: a fleet whose
// devices all come at once to the nodes that are left has a hard minute.
func (a *App) drainToStop(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, drainStopMost)
	defer cancel()
	if err := a.gateway.Drain(bounded, drainSpeed(a.gateway.Sessions(), drainStopRate,
		drainStopOver)); err != nil {
		a.log.Warn("the rest of the sessions is closed at once", zap.Error(err))
	}
}

// drainSpeed is how many of n sessions to close in a second.
func drainSpeed(n, least int, over time.Duration) int {
	return max(least, int(float64(n)/over.Seconds()))
}
