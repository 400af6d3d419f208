package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/bench/report"
	"trackchat/cmd/bench/rounds"
	"trackchat/cmd/bench/stack"
)

// asCommand makes the test's own binary be the command, as which it starts fronts and generators.
const asCommand = "BENCH_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// binaries builds what stacks are made of, as run.sh does. Redis and Mosquitto are Debian's.
func binaries(t *testing.T) (b stack.Binaries) {
	t.Helper()
	dir := t.TempDir()
	for from, program := range map[string]string{
		"../..": "./cmd/trackchat", ".": "github.com/nats-io/nats-server/v2",
	} {
		build := exec.Command("go", "build", "-o", dir+"/", program)
		build.Dir = from
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", program, err, out)
		}
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin") // where Debian has mosquitto
	b = stack.Binaries{
		Bench: own, Trackchat: filepath.Join(dir, "trackchat"),
		NATSServer: filepath.Join(dir, "nats-server"),
	}
	for program, path := range map[string]*string{
		"mosquitto": &b.Mosquitto, "redis-server": &b.Redis,
	} {
		if *path, err = exec.LookPath(program); err != nil {
			t.Fatalf("%v: Debian has it in the package of that name", err)
		}
	}
	return b
}

// leastTexts is what a closed loop sends, however slow the machine is.
const leastTexts = 300

// small is a benchmark of 20 devices that is over soon. It asks each stack for some hundred texts.
func small(t *testing.T, b stack.Binaries, port int, scenario, name string) rounds.Options {
	t.Helper()
	o := rounds.Default()
	stacks, err := stack.Find([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	o.Binaries, o.Out, o.Stacks, o.Named, o.Scenarios = b, t.TempDir(), stacks, true,
		[]string{scenario}
	o.Root, o.Pin, o.Port, o.Rounds, o.Kills = "../..", false, port, 1, 1
	o.Send, o.Warm, o.Settle, o.Least = 300*time.Millisecond, 0, 0, leastTexts
	o.Devices, o.IdleDevices, o.StormDevices = 20, 20, 20
	o.Rate, o.KillRate, o.DeafRate, o.DeafTexts, o.StormTexts = 200, 400, 200, 20, 10
	return o
}

// measure runs a small benchmark and returns its only run and its tables.
func measure(t *testing.T, o rounds.Options) (run report.Run, tables string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	log, err := os.Create(filepath.Join(o.Out, "bench.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	err = rounds.Run(ctx, o, slog.New(slog.NewTextHandler(log, nil)))
	var out strings.Builder
	if code := command(ctx, []string{"table", o.Out}, &out, io.Discard); code != exitOK {
		t.Fatalf("no tables: code %d", code)
	}
	if err != nil {
		name := filepath.Join(o.Out, "logs", o.Stacks[0].Name+".log")
		said, _ := os.ReadFile(name) // where it got that far
		t.Fatalf("%v\n%s\n%s", err, out.String(), said)
	}
	environment, err := os.Open(filepath.Join(o.Out, rounds.EnvironmentFile))
	if err != nil {
		t.Fatal(err)
	}
	defer environment.Close()
	runs, err := os.Open(filepath.Join(o.Out, rounds.RunsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	results, err := report.Read(environment, runs)
	if err != nil {
		t.Fatal(err)
	}
	if len(results.Runs) != 1 {
		t.Fatalf("%d runs", len(results.Runs))
	}
	return results.Runs[0], out.String()
}

// TestStacks measures each system with each durability once, in the way of run.sh: every text that
// was accepted is at its device, and was read back as delivered. Of the peers it takes those stacks
// that are in all scenarios.
func TestStacks(t *testing.T) {
	b := binaries(t)
	t.Setenv(asCommand, "1")
	port := 24100
	for _, s := range stack.All() {
		if s.Peer && !s.Tuned {
			continue
		}
		o := small(t, b, port, report.Rate, s.Name)
		port += 10
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			r, tables := measure(t, o)
			c := r.Counts
			if c.Accepted < leastTexts || c.Refused+c.Unanswered != 0 ||
				r.Closed.Left+r.Half.Left != 0 || c.Lost+c.Doubled+c.StatusWrong() != 0 {
				t.Errorf("%+v, %+v, %+v", c, r.Closed, r.Half)
			}
			// asynq's workers keep no order.
			if c.Disordered != 0 && !strings.HasPrefix(s.Name, "asynq") {
				t.Errorf("%d texts out of order", c.Disordered)
			}
			if r.Closed.CPUMicros <= 0 || r.Half.P50 <= 0 || r.Half.P99 < r.Half.P50 {
				t.Errorf("%+v, %+v", r.Closed, r.Half)
			}
			if !strings.Contains(tables, "\n| "+s.Name+" | ") {
				t.Errorf("the tables know nothing of it:\n%s", tables)
			}
		})
	}
	for _, scenario := range report.Scenarios()[1:] {
		o := small(t, b, port, scenario, "trackchat-embedded")
		port += 10
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			trackchatIn(t, o, scenario)
		})
	}
}

// trackchatIn measures trackchat in a scenario besides rate.
func trackchatIn(t *testing.T, o rounds.Options, scenario string) {
	t.Helper()
	if scenario == report.Kill {
		o.Send = 2 * time.Second
	}
	r, _ := measure(t, o)
	c := r.Counts
	if c.Lost+c.StatusWrong() != 0 {
		t.Errorf("%+v", c)
	}
	switch scenario {
	case report.Broadcast:
		if c.Accepted < 20 || c.Accepted%20 != 0 || r.Closed.Left != 0 {
			t.Errorf("%+v, %+v", c, r.Closed)
		}
	case report.Kill:
		if r.Reconnects < 20 || c.Accepted < 100 ||
			c.Accepted+c.Refused+c.Unanswered != 800 {
			t.Errorf("%d connections ended, %+v", r.Reconnects, c)
		}
	case report.Idle:
		if r.Idle == nil || r.Idle.Before < 1<<20 || r.Idle.After < 1<<20 {
			t.Errorf("%+v", r.Idle)
		}
	case report.Deaf:
		if d := r.Deaf; d == nil || d.Texts != 80 || d.Asked != 80 || d.Healthy.Left != 0 {
			t.Errorf("%+v", r.Deaf)
		}
	case report.Storm:
		if s := r.Storm; s == nil || s.Queued != 200 || s.Missing != 0 || s.LastAck <= 0 ||
			s.LoggedS <= 0 || c.Doubled+c.Disordered != 0 {
			t.Errorf("%+v, %+v", r.Storm, c)
		}
	}
}

// TestFailure: a stack that does not start is a row that says so, and the end is not 0.
func TestFailure(t *testing.T) {
	o := small(t, stack.Binaries{Trackchat: "/bin/false"}, 24080, report.Rate, "trackchat-embedded")
	err := rounds.Run(t.Context(), o, slog.New(slog.DiscardHandler))
	if !errors.Is(err, rounds.ErrFailed) {
		t.Errorf("it ended with %v", err)
	}
	var out strings.Builder
	if code := command(t.Context(), []string{"table", o.Out}, &out, io.Discard); code != exitOK {
		t.Fatalf("no tables: code %d", code)
	}
	row := "| trackchat-embedded | failed: starting the stack: trackchat did not get ready"
	if !strings.Contains(out.String(), row) {
		t.Errorf("no row says so:\n%s", out.String())
	}
	if err := rounds.Run(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("runs of two calls are in one directory")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"nothing"},
		{"run"},
		{"run", "-out", t.TempDir(), "nothing"},
		{"table"},
		{"table", t.TempDir()},
		{"load", "-scenario"},
		{"front", "-kind", "nothing"},
	} {
		if code := command(t.Context(), args, io.Discard, io.Discard); code == exitOK {
			t.Errorf("%q is taken", args)
		}
	}
}
