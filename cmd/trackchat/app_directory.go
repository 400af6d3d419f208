package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"trackchat/api"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
)

// adminOptions are those of the admin listener. The directory's follower is there from now on.
func (a *App) adminOptions() api.AdminOptions {
	a.follower = queue.NewFollower(a.store, &a.directory, a.directoryChanged)
	return api.AdminOptions{
		Gatherer: a.registry, Ready: a.notReady, Token: a.cfg.Admin.Token,
		Now: time.Now, Logger: a.log, Devices: deviceProblems, Fleet: fleetAdmin{a},
		Recent: a.recent.recent, Trouble: a.deviceTrouble, Store: a.store,
		Sync: a.follower.Sync, Webhooks: a.store, AllowPrivate: a.cfg.Webhooks.AllowPrivate,
	}
}

// directoryChanged has the gateway look at its sessions: what is blocked, removed or moved is
// closed.
func (a *App) directoryChanged(queue.Update) {
	select {
	case a.moved <- struct{}{}:
	default:
	}
	if recheck := a.recheck.Load(); recheck != nil {
		(*recheck)()
	}
}

// startFollowing keeps the directory up to date until the service stops.
func (a *App) startFollowing(ctx context.Context) error {
	a.meanwhile(ctx, func(ctx context.Context) {
		a.follower.Run(ctx, func(err error) {
			a.log.Warn("changes of accounts and trackers are not seen", zap.Error(err))
		})
	})
	return nil
}

// deviceProblems says what the wire protocols have against a tracker.
func deviceProblems(t *queue.Tracker) []api.Problem {
	p, ok := all.Find(t.Protocol)
	if !ok {
		return []api.Problem{{
			Parameter: "protocol",
			Error: "must be one of those that are built in: " + strings.Join(protocolNames(),
				", "),
		}}
	}
	var problems []api.Problem
	for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
		if err := p.CheckTracker(name, t.Settings[name]); err != nil {
			problems = append(problems, api.Problem{
				Parameter: "settings." + name,
				Error:     err.Error(),
			})
		}
	}
	return problems
}
