package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"trackchat/api/audit"
	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/cmd/trackchat/config"
	"trackchat/protocol/all"
	"trackchat/queue"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// directoryChanged has the gateway look at its sessions: what is blocked, removed or moved is
// closed.
func (a *App) directoryChanged() {
	select {
	case a.moved <- struct{}{}:
	default:
	}
	if recheck := a.recheck.Load(); recheck != nil {
		(*recheck)()
	}
}

func (a *App) syncDirectory(ctx context.Context) error { return a.directory.Sync(ctx, a.store) }

// startFollowing keeps the directory up to date until the service stops.
func (a *App) startFollowing(ctx context.Context) error {
	a.meanwhile(ctx, func(ctx context.Context) {
		a.directory.Follow(ctx, a.store, func(err error) {
			a.log.Warn("changes of accounts and trackers are not seen", zap.Error(err))
		})
	})
	return nil
}

// deviceProblems says what the wire protocols have against a tracker.
func deviceProblems(t *queue.Tracker) []navixy.Problem {
	p, ok := all.Find(t.Protocol)
	if !ok {
		return []navixy.Problem{{
			Parameter: "protocol",
			Error: "must be one of those that are built in: " + strings.Join(config.ProtocolNames(),
				", "),
		}}
	}
	var problems []navixy.Problem
	for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
		if err := p.CheckTracker(name, t.Settings[name]); err != nil {
			problems = append(problems, navixy.Problem{
				Parameter: "settings." + name,
				Error:     err.Error(),
			})
		}
	}
	return problems
}

// loadDirectory imports the directory file, if one is configured, and takes the store's accounts
// and trackers as the current ones.
func (a *App) loadDirectory(ctx context.Context) error {
	if a.Seed != nil {
		if err := a.Seed(ctx, a.store); err != nil {
			return fmt.Errorf("seeding the directory: %w", err)
		}
	}
	if file := a.cfg.Directory.File; file != "" {
		stats, err := ImportDirectory(ctx, a.store, file, a.cfg.Directory.Prune)
		a.recordImport(file, stats, err)
		if err != nil {
			return fmt.Errorf("importing %s: %w", file, err)
		}
	}
	return a.syncDirectory(ctx)
}

// recordImport tells the audit what became of the directory file.
func (a *App) recordImport(file string, stats queue.ImportStats, err error) {
	e := audit.Event{
		Actor:  audit.Actor{Kind: audit.File, Name: file},
		Action: "directory/import", Object: "directory",
	}
	_, unread := errors.AsType[*fs.PathError](err)
	_, wrong := errors.AsType[*config.Error](err)
	switch {
	case err == nil:
		e.Detail = fmt.Sprintf("%d added, %d updated, %d removed, %d unchanged", stats.Added,
			stats.Updated, stats.Removed, stats.Unchanged)
	case unread, wrong, errors.Is(err, queue.ErrConflict):
		e.Code = navixy.CodeInvalid
	default:
		e.Code = navixy.CodeDatabase
	}
	a.audit.Write(e)
}

// startDirectory is loadDirectory for a start: where the store has no room for what the file
// changes, or what managers have made there contradicts it, what it holds already serves.
func (a *App) startDirectory(ctx context.Context) error {
	err := a.loadDirectory(ctx)
	if errors.Is(err, queue.ErrOverloaded) || errors.Is(err, queue.ErrConflict) {
		a.log.Error("the directory file is not taken over until the next reload", zap.Error(err))
		return a.syncDirectory(ctx)
	}
	return err
}

// ImportDirectory brings a store's directory to what the file says and returns what changed; with
// prune, what the file does not name is removed. After an error nothing is changed. An account
// or user whose password is that of its stored hash keeps the hash, so that importing the same file
// again changes nothing.
func ImportDirectory(ctx context.Context, store queue.DirectoryStore, file string,
	prune bool,
) (queue.ImportStats, error) {
	f, err := config.LoadDirectory(file)
	if err != nil {
		return queue.ImportStats{}, err
	}
	stored, _, err := store.LoadDirectory(ctx)
	if err != nil {
		return queue.ImportStats{}, fmt.Errorf("loading the stored directory: %w", err)
	}
	if err := hashPasswords(ctx, f, stored); err != nil {
		return queue.ImportStats{}, err
	}
	return store.ImportDirectory(ctx, f.Accounts, f.Trackers, prune)
}

// hashPasswords sets the passwords of accounts and users. A hash takes 20 ms and 19 MiB, so as many
// run at once as there are processors.
func hashPasswords(ctx context.Context, f *config.DirectoryFile, stored []queue.Account) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	was := make(map[queue.AccountID]*queue.Account, len(stored))
	for i := range stored {
		was[stored[i].ID] = &stored[i]
	}
	hash := func(who config.Holder, old string, into *string) {
		password, ok := f.Passwords[who]
		if !ok {
			return
		}
		group.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if old != "" && auth.VerifyPassword(old, password) {
				*into = old
				return nil
			}
			if *into, err = auth.HashPassword(password); err != nil {
				return fmt.Errorf("hashing a password of account %d: %w", who.Account, err)
			}
			return nil
		})
	}
	for i := range f.Accounts {
		a := &f.Accounts[i]
		old := cmp.Or(was[a.ID], new(queue.Account))
		hash(config.Holder{Account: a.ID}, old.Password, &a.Password)
		users := a.AllUsers()
		for k := range users {
			before, ok := old.User(users[k].ID)
			if !ok {
				before = new(queue.User)
			}
			hash(config.Holder{Account: a.ID, User: users[k].ID}, before.Password,
				&users[k].Password)
		}
	}
	return group.Wait()
}

// endMovedEvery is how often it is looked for texts to trackers that have moved, besides each
// change of the directory: who did not know of the move yet may have sent one after it.
const endMovedEvery = time.Minute

// startEndingMoved ends what waits for trackers in the accounts that they have left.
func (a *App) startEndingMoved(ctx context.Context) error {
	a.meanwhile(ctx, func(ctx context.Context) {
		tick := time.NewTicker(endMovedEvery)
		defer tick.Stop()
		for {
			a.endMoved(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-a.moved:
			}
		}
	})
	return nil
}

func (a *App) endMoved(ctx context.Context) {
	ended, err := queue.EndKept(ctx, a.store, a.directory.Current().Kept())
	if err != nil && ctx.Err() == nil {
		a.log.Warn("texts to trackers that have moved to another account are not ended yet, will be repeated", zap.Error(err))
	}
	if ended > 0 {
		a.log.Info("texts to trackers that have moved to another account have ended",
			zap.Int("texts", ended))
	}
}
