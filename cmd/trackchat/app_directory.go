package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"trackchat/api"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
)

// adminStore is the store as administration needs it; nil where the backend has nothing of the
// kind.
func (a *App) adminStore() queue.AdminStore {
	s, _ := a.store.(queue.AdminStore)
	return s
}

// sessions is where logins are kept; nil where the backend cannot.
func (a *App) sessions() queue.SessionStore {
	if s := a.adminStore(); s != nil {
		return s
	}
	return nil
}

// adminOptions are those of the admin listener. The directory's follower is there from now on.
func (a *App) adminOptions() api.AdminOptions {
	o := api.AdminOptions{
		Gatherer: a.registry, Ready: a.notReady, Token: a.cfg.Admin.Token,
		Now: time.Now, Logger: a.log, Devices: deviceProblems, Fleet: nodes{a},
		Recent: a.troubles.recent, Trouble: a.deviceTrouble,
	}
	if s := a.adminStore(); s != nil {
		a.follower = queue.NewFollower(s, &a.directory, a.directoryChanged)
		o.Store, o.Sync = s, a.follower.Sync
		o.Webhooks, o.AllowPrivate = a.store, a.cfg.Webhooks.AllowPrivate
	}
	return o
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

// readDirectory takes the store's accounts and trackers as the current ones.
func (a *App) readDirectory(ctx context.Context) error {
	if a.follower != nil {
		return a.follower.Sync(ctx)
	}
	accounts, trackers, err := a.store.LoadDirectory(ctx)
	if err != nil {
		return fmt.Errorf("loading the directory: %w", err)
	}
	a.directory.Replace(queue.NewSnapshot(accounts, trackers))
	return nil
}

// startFollowing keeps the directory up to date until the service stops.
func (a *App) startFollowing(ctx context.Context) error {
	if a.follower == nil {
		return nil
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.follower.Run(run, func(err error) {
			a.log.Warn(
				"changes of accounts and trackers are not seen", zap.Error(err))
		})
	}()
	a.onStop(func(context.Context) error {
		cancel()
		<-done
		return nil
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
