package rounds

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"trackchat/cmd/bench/load"
	"trackchat/cmd/bench/process"
	"trackchat/cmd/bench/report"
	"trackchat/cmd/bench/stack"
)

// Names of the files in the directory that runs write to.
const (
	RunsFile        = "runs.jsonl" // a line for each run
	EnvironmentFile = "environment.json"
	TableFile       = "table.md"
)

const (
	stackCore     = 0
	generatorCore = 1
	// longest bounds one run, whatever it does: twice what it may take to log in and to queue, and
	// to wait for what does not come.
	longest = 20 * time.Minute
)

// ErrFailed says that some run has failed, which is more than a stack that cannot do something; the
// table says which and why.
var ErrFailed = errors.New("some runs have failed")

// Run measures everything and keeps the runs in the directory. A run that fails is kept as well,
// and the others go on; ErrFailed is returned then.
func Run(ctx context.Context, o Options, log *slog.Logger) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if err := process.RaiseDescriptors(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.Out, "logs"), 0o750); err != nil {
		return fmt.Errorf("directory of the runs: %w", err)
	}
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY
	file, err := os.OpenFile(filepath.Join(o.Out, RunsFile), flags, 0o600)
	if err != nil {
		return fmt.Errorf("the runs need a directory of their own: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := o.environment(ctx); err != nil {
		return err
	}
	tasks, failed := o.tasks(), false
	for i, t := range tasks {
		begin := time.Now()
		r := o.one(ctx, t)
		log.Info("run", "of", fmt.Sprintf("%d/%d", i+1, len(tasks)), "scenario", t.scenario,
			"stack", t.stack.Name, "round", t.round, "result", report.Summary(r),
			"took", time.Since(begin).Round(time.Second))
		if err := json.NewEncoder(file).Encode(r); err != nil {
			return fmt.Errorf("keeping a run: %w", err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("ended after %d of %d runs: %w", i+1, len(tasks), ctx.Err())
		}
		failed = failed || r.Failed != ""
	}
	if failed {
		return ErrFailed
	}
	return nil
}

// one does one run on a fresh stack.
func (o *Options) one(ctx context.Context, t task) (r report.Run) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	r = report.Run{
		Stack: t.stack.Name, Scenario: t.scenario, Round: t.round, Devices: o.devices(t.scenario),
	}
	if err := o.measure(ctx, t, &r); err != nil {
		r.Failed = err.Error()
	}
	return r
}

func (o *Options) measure(ctx context.Context, t task, r *report.Run) (err error) {
	dir, err := os.MkdirTemp(o.Out, "data-")
	if err != nil {
		return fmt.Errorf("directory of the stack: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := filepath.Join(o.Out, "logs", t.stack.Name+".log")
	log, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of the stack: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	fmt.Fprintf(log, "== %s, round %d\n", t.scenario, t.round)
	env := stack.Env{
		Binaries: o.Binaries, Dir: dir, Devices: o.devices(t.scenario), Core: o.core(stackCore),
	}
	if env.Ports, err = stack.FreePorts(ctx, o.Port); err != nil {
		return err
	}
	running, err := t.stack.Start(ctx, env, log)
	if err != nil {
		return fmt.Errorf("starting the stack: %w", err)
	}
	defer running.Stop()
	return o.generate(ctx, o.load(t, env.Ports, running.PIDs()), running, log, r)
}

func (o *Options) core(n int) int {
	if o.Pin {
		return n
	}
	return -1
}

// generate runs the generator. When it says that half of its load is sent, the stack is killed and
// started again.
func (o *Options) generate(ctx context.Context, l load.Options, running *stack.Running,
	log io.Writer, r *report.Run,
) (err error) {
	lines, stdout := io.Pipe()
	generator, err := process.Start(ctx, process.Spec{
		Name: "generator", Args: append([]string{o.Bench, "load"}, l.Args()...),
		Env: []string{stack.MaxProcs}, Core: o.core(generatorCore), Stdout: stdout,
	}, log)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, generator.Signal9)()
	go func() {
		<-generator.Done()
		_ = stdout.Close() // always nil
	}()
	defer func() {
		generator.Signal9()
		<-generator.Done()
	}()
	last, scanner := "", bufio.NewScanner(lines)
	for scanner.Scan() {
		last = scanner.Text()
		if last != load.Half {
			continue
		}
		running.Kill()
		if err := running.Restart(ctx); err != nil {
			_ = lines.Close() // always nil; the generator may not wait
			return fmt.Errorf("starting the stack again: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the run was ended: %w", err)
	}
	if err := json.Unmarshal([]byte(last), r); err != nil {
		return fmt.Errorf("the generator said %.100q: %w", last, err)
	}
	return nil
}
