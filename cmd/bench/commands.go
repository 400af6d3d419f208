package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"trackchat/cmd/bench/front"
	"trackchat/cmd/bench/load"
	"trackchat/cmd/bench/process"
	"trackchat/cmd/bench/report"
	"trackchat/cmd/bench/rounds"
	"trackchat/cmd/bench/stack"
)

func flags(name string, stderr io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	return fs
}

func logger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// run measures stacks; the arguments are their names.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := rounds.Default()
	fs := flags("run", stderr)
	scenarios := fs.String("scenarios", strings.Join(o.Scenarios, " "), "with blanks between them")
	fs.StringVar(&o.Root, "root", ".", "`directory` of the repository, for the commit")
	fs.StringVar(&o.Out, "out", "", "`directory` that everything is written to")
	fs.StringVar(&o.Trackchat, "trackchat", "trackchat", "`program`")
	fs.StringVar(&o.NATSServer, "nats-server", "nats-server", "`program`")
	fs.StringVar(&o.Mosquitto, "mosquitto", "mosquitto", "`program`")
	fs.StringVar(&o.Redis, "redis-server", "redis-server", "`program`")
	fs.BoolVar(&o.Pin, "pin", o.Pin, "stack on core 0, generator and devices on core 1")
	fs.IntVar(&o.Port, "port", o.Port, "the stacks listen on the first free ones from here")
	fs.IntVar(&o.Rounds, "rounds", o.Rounds, "of rate, broadcast and storm")
	fs.IntVar(&o.Kills, "kills", o.Kills, "rounds of kill")
	fs.IntVar(&o.MemoryRounds, "memory-rounds", o.MemoryRounds, "of idle and deaf")
	fs.DurationVar(&o.Send, "send", o.Send, "length of each phase")
	fs.DurationVar(&o.Warm, "warm", o.Warm, "length of sending before the first phase")
	fs.DurationVar(&o.Settle, "settle", o.Settle, "of idle, before the first login and after the last")
	fs.IntVar(&o.Devices, "devices", o.Devices, "of rate, broadcast, kill and deaf")
	fs.IntVar(&o.IdleDevices, "idle-devices", o.IdleDevices, "")
	fs.IntVar(&o.StormDevices, "storm-devices", o.StormDevices, "")
	fs.IntVar(&o.StormTexts, "storm-texts", o.StormTexts, "for each device")
	fs.IntVar(&o.DeafTexts, "deaf-texts", o.DeafTexts, "for each deaf device")
	fs.Float64Var(&o.Rate, "rate", o.Rate, "texts a second that are the same for all stacks")
	fs.Float64Var(&o.KillRate, "kill-rate", o.KillRate, "texts a second")
	fs.Float64Var(&o.DeafRate, "deaf-rate", o.DeafRate, "texts a second to the other devices")
	fs.DurationVar(&o.Limit, "limit", o.Limit, "of logins and of queueing")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.Out == "" {
		return errors.New("-out is missing")
	}
	var err error
	if o.Stacks, err = stack.Find(fs.Args()); err != nil {
		return err
	}
	o.Named, o.Scenarios = fs.NArg() > 0, strings.Fields(*scenarios)
	if o.Bench, err = os.Executable(); err != nil {
		return fmt.Errorf("this program: %w", err)
	}
	err = rounds.Run(ctx, o, logger(stderr, slog.LevelInfo))
	if err != nil && !errors.Is(err, rounds.ErrFailed) && ctx.Err() == nil {
		return err
	}
	return errors.Join(err, tables(o.Out, stdout))
}

// table writes the tables of a directory of runs.
func table(_ context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flags("table", stderr)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return errors.New("the directory of the runs is missing")
	}
	return tables(fs.Arg(0), stdout)
}

func tables(dir string, stdout io.Writer) (err error) {
	environment, err := os.Open(filepath.Join(dir, rounds.EnvironmentFile))
	if err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	defer environment.Close()
	runs, err := os.Open(filepath.Join(dir, rounds.RunsFile))
	if err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	defer runs.Close()
	results, err := report.Read(environment, runs)
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(dir, rounds.TableFile))
	if err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return results.Write(io.MultiWriter(file, stdout))
}

// generate runs the generator and writes a line of JSON.
func generate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := load.Default()
	fs := flags("load", stderr)
	o.Register(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := process.RaiseDescriptors(); err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(load.Run(ctx, o, stdout)); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// serve is the front of a peer.
func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	var o front.Options
	fs := flags("front", stderr)
	fs.StringVar(&o.Kind, "kind", "", "nats, mochi, mosquitto or asynq")
	fs.StringVar(&o.HTTP, "http", "127.0.0.1:24080", "`address` to listen on")
	fs.StringVar(&o.Gateway, "gateway", "127.0.0.1:24883", "`address` for devices")
	fs.StringVar(&o.NATS, "nats", "nats://127.0.0.1:24222", "`URL`")
	fs.StringVar(&o.Redis, "redis", "127.0.0.1:24379", "`address`")
	fs.StringVar(&o.Dir, "dir", ".", "`directory` of the data (mochi)")
	fs.IntVar(&o.Publishers, "publishers", 1, "connections that publish (nats)")
	fs.BoolVar(&o.Sync, "sync", false, "the broker syncs each write (mochi)")
	fs.IntVar(&o.Workers, "workers", 0, "0: the queue's defaults (asynq)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return front.Run(ctx, o, logger(stderr, slog.LevelWarn))
}
