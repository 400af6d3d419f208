package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"trackchat/api/audit"
	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/config"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

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
	cfg, err := config.Load(*file, os.Environ())
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "trackchat: %v\n", err)
		return 1
	}
	log := newLogger(cfg.Log, stderr)
	app.LimitMemory(&cfg.Store, log)
	if *demo {
		return runDemo(ctx, cfg, *file != "", stdout, stderr)
	}
	app, err := app.New(cfg, log)
	if err == nil {
		app.ConfigFile = *file
		err = app.Run(ctx, log)
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

func newLogger(c config.Log, w io.Writer) *zap.Logger {
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
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), min(level,
		zapcore.InfoLevel))
	return zap.New(&levelCore{core, level})
}

// levelCore writes what is worth its level, and of the audit everything.
type levelCore struct {
	zapcore.Core
	level zapcore.Level
}

// With keeps the level of a logger that is made from another one.
func (c *levelCore) With(fields []zapcore.Field) zapcore.Core {
	return &levelCore{c.Core.With(fields), c.level}
}

// Check adds the core to who is to write an entry.
func (c *levelCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Level < c.level && e.LoggerName != audit.Name {
		return ce
	}
	return c.Core.Check(e, ce)
}
