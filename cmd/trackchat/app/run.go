package app

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"trackchat/cmd/trackchat/config"

	"go.uber.org/zap"
)

// StopWithin bounds an orderly stop: what supervisors grant before they kill.
const StopWithin = 10 * time.Second

// Run runs the service until ctx ends, then stops it in order. SIGHUP reads the certificates, the
// upstreams and the directory file again.
func (a *App) Run(ctx context.Context, log *zap.Logger) error {
	a.procs = runtime.GOMAXPROCS(0) // before some are added that only wait
	a.loops = allowForWaiters(a.cfg)
	if os.Getenv("GOGC") == "" {
		pacing, stop := context.WithCancel(ctx)
		var pacer sync.WaitGroup
		pacer.Go(func() { paceCollections(pacing) })
		defer pacer.Wait()
		defer stop()
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before the start: it would end the process
	defer signal.Stop(hup)
	if err := a.Start(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-hup:
			if err := a.Reload(ctx); err != nil {
				log.Error("not everything could be reloaded", zap.Error(err))
			}
		case err := <-a.Failed():
			return errors.Join(err, a.orderlyStop(ctx, log))
		case <-ctx.Done():
			return a.orderlyStop(ctx, log)
		}
	}
}

func (a *App) orderlyStop(ctx context.Context, log *zap.Logger) error {
	log.Info("stopping")
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), StopWithin-time.Second)
	defer cancel()
	err := a.Stop(bounded)
	log.Info("stopped", zap.Error(err))
	return err
}

const (
	// syncing is how many goroutines of the embedded store wait for the disk at the same time: the
	// writer and the one who copies its log.
	syncing = 2
	// manyProcs is from where on those who wait in system calls leave enough processors to the
	// others.
	manyProcs = 4
)

// allowForWaiters decides how many event loops there are, and gives Go a processor more for each of
// them and for each goroutine that syncs, where there are few processors. Go takes a processor back
// from a system call only if its monitor meets the same call twice, and the monitor looks every 10
// ms once it has found nothing to do: longer than a sync. So whoever waits for the disk, or for
// devices, keeps a processor that does nothing: timers are late then, and with a single processor
// the whole service stands still for each commit. From manyProcs on half of them have no event
// loop. The operator's GOMAXPROCS counts.
func allowForWaiters(c *config.Config) (loops int) {
	n := runtime.GOMAXPROCS(0)
	loops = eventLoops(n)
	if n >= manyProcs || os.Getenv("GOMAXPROCS") != "" {
		return loops
	}
	if c.HasRole(config.RoleGateway) {
		n += loops
	}
	if c.Store.Backend == config.BackendEmbedded {
		n += syncing
	}
	runtime.GOMAXPROCS(n)
	return loops
}

// eventLoops is how many there are for n processors.
func eventLoops(n int) int { return min(n, max(n/2, 2)) }
