package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// stopWithin bounds an orderly stop: what supervisors grant before they kill.
const stopWithin = 10 * time.Second

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("trackchat serve", flag.ContinueOnError)
	fs.SetOutput(stderr)
	file := fs.String("config", "", "configuration `FILE`; none: the defaults")
	demo := fs.Bool("demo", false,
		"a demo account and simulated trackers over loopback, data in a temporary directory")
	if err := fs.Parse(args); err != nil {
		return flagExit(err)
	}
	if fs.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "trackchat serve: unexpected argument %q\n", fs.Arg(0))
		return 2
	}
	cfg, err := Load(*file, os.Environ())
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "trackchat: %v\n", err)
		return 1
	}
	log := newLogger(cfg.Log, stderr)
	limitMemory(log)
	if *demo {
		return runDemo(ctx, cfg, *file != "", stdout, stderr)
	}
	app, err := New(cfg, log)
	if err == nil {
		err = runApp(ctx, app, log)
	}
	if err != nil {
		log.Error("trackchat ended", zap.Error(err))
		return 1
	}
	return 0
}

func flagExit(err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	return 2
}

// runApp runs an app until ctx ends, then stops it in order. SIGHUP reads the certificates and the
// directory file again.
func runApp(ctx context.Context, app *App, log *zap.Logger) error {
	app.procs = runtime.GOMAXPROCS(0) // before some are added that only wait
	app.loops = allowForWaiters(app.cfg)
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
	if err := app.Start(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-hup:
			if err := app.Reload(ctx); err != nil {
				log.Error("not everything could be reloaded", zap.Error(err))
			}
		case err := <-app.Failed():
			return errors.Join(err, stopApp(ctx, app, log))
		case <-ctx.Done():
			return stopApp(ctx, app, log)
		}
	}
}

func stopApp(ctx context.Context, app *App, log *zap.Logger) error {
	log.Info("stopping")
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin-time.Second)
	defer cancel()
	err := app.Stop(bounded)
	log.Info("stopped", zap.Error(err))
	return err
}

func newLogger(c Log, w io.Writer) *zap.Logger {
	level := zapcore.InfoLevel
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = zapcore.InfoLevel // Load has refused anything else
	}
	ec := zap.NewProductionEncoderConfig()
	ec.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder := zapcore.NewJSONEncoder(ec)
	if c.Format == "console" {
		encoder = zapcore.NewConsoleEncoder(ec)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level))
}
