package report

import (
	"encoding/json"
	"strings"
	"testing"

	"trackchat/cmd/bench/ledger"
)

// rateRun is a run of the scenario rate.
func rateRun(stack string, round int, cpu, p50, p99 float64) Run {
	return Run{
		Stack: stack, Scenario: Rate, Round: round, Devices: 1000,
		Closed: &Phase{CPUMicros: cpu, PerSecond: 9000, OwnCores: 0.5},
		Half:   &Phase{Planned: 4500, P50: 2, P99: 20},
		Same:   &Phase{Planned: 3000, P50: p50, P99: p99, LateP50: 0.2, LateP99: 3},
	}
}

// results is a small benchmark: one stack of the product, three peers.
func results() *Results {
	r := &Results{Environment: Environment{
		Date: "2026-11-30 12:00 UTC", CPU: "A processor", Cores: 2, Kernel: "Linux 6", Pinned: true,
		FileSystem: "a file system",
		Commit:     "abc a change", Versions: []string{"go1.26"}, Devices: 1000, Send: "8s",
		Rate: 3000, KillRate: 800, DeafRate: 400, Rounds: 3,
		Stacks: []Stack{
			{Name: "trackchat-embedded", Synced: true, Meaning: "synced"},
			{Name: "slow-always", Peer: true, Synced: true, Meaning: "synced"},
			{Name: "fast-always", Peer: true, Synced: true, Meaning: "synced", Settings: "a | b"},
			{Name: "fast-everysec", Peer: true, Meaning: "soon"},
		},
	}}
	for round, cpu := range []float64{50, 40, 100} {
		r.Runs = append(r.Runs, rateRun("trackchat-embedded", round+1, cpu, 1, 10),
			rateRun("slow-always", round+1, 500, 3, 9), rateRun("fast-always", round+1, 80, 2, 20),
			rateRun("fast-everysec", round+1, 10, 0.1, 0.2))
	}
	many := Run{
		Stack: "trackchat-embedded", Scenario: Broadcast, Round: 1,
		Closed: &Phase{CPUMicros: 16},
	}
	kill := Run{
		Stack: "trackchat-embedded", Scenario: Kill, Round: 1, Kill: &Phase{Accepted: 6400},
		Counts: ledger.Counts{Accepted: 6400, Doubled: 3},
	}
	lossy := kill
	lossy.Stack, lossy.Counts = "fast-always", ledger.Counts{Accepted: 6000, Lost: 84, Overdue: 2}
	idle := func(stack string, bytes int64) Run {
		return Run{
			Stack: stack, Scenario: Idle, Devices: 1000, Idle: &Memory{1 << 20, 1<<20 + 1000*bytes},
		}
	}
	storm := Run{
		Stack: "trackchat-embedded", Scenario: Storm, Devices: 10_000,
		Storm: &StormResult{Queued: 100_000, Asked: 100_000, LoggedS: 1, LastAck: 2.5},
	}
	cannot := Run{Stack: "slow-always", Scenario: Storm, Devices: 10_000, Failed: "no\nroom"}
	full := Run{
		Stack: "fast-everysec", Scenario: Storm, Devices: 10_000,
		Cannot: "cannot: 12 of 10000 devices logged in",
	}
	r.Runs = append(r.Runs, full, many, kill, lossy, idle("trackchat-embedded", 500),
		idle("fast-everysec", 499), idle("fast-always", 1000), storm, cannot)
	return r
}

func TestTargets(t *testing.T) {
	want := []Target{
		{
			"trackchat-embedded: single sends per core-second",
			"≥ 1.5 × the best peer that syncs before its 200",
			"1.60 × (20,000 against 12,500 of fast-always)", reached,
		},
		{
			"trackchat-embedded: p50 at 3,000 a second",
			"at or below the best peer that syncs before its 200",
			"0.50 × (1.00 against 2.00 ms of fast-always)", reached,
		},
		{
			"trackchat-embedded: p99 at 3,000 a second",
			"at or below the best peer that syncs before its 200",
			"1.11 × (10.0 against 9.00 ms of slow-always)", missed,
		},
		{
			"trackchat-embedded: broadcasts of 300, texts per core-second",
			"≥ 2.5 × its own single sends", "3.12 × (62,500 against 20,000)", reached,
		},
		{
			"trackchat-embedded: kill -9 at 800 a second", "0 never delivered, 0 statuses wrong",
			"0 and 0 of 6,400 accepted in 1 runs, 0 failed", reached,
		},
		{
			"trackchat-embedded: RSS of an idle session", "below every peer",
			"500 B against 499 of fast-everysec", missed,
		},
		{
			"trackchat-embedded: all devices reconnect at once",
			"last ack below 3 s, nothing lost", "2.50 s, 0 lost, 0 runs failed", reached,
		},
	}
	got := results().Targets()
	if len(got) != len(want) {
		t.Fatalf("%d targets, not %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("target %d:\n%q, not\n%q", i, got[i], want[i])
		}
	}
}

// TestHalfMeasured: what refused or lost texts, or could not be measured, reaches no goal, and is
// no peer to compare with.
func TestHalfMeasured(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(r *Run)
		target int
		want   Target
	}{
		"texts of a peer are missing": {
			func(r *Run) {
				if r.Same != nil && r.Stack == "slow-always" {
					r.Same.Missing = 1
				}
			}, 2,
			Target{Measured: "0.50 × (10.0 against 20.0 ms of fast-always)", Verdict: reached},
		},
		"the own texts are missing": {
			func(r *Run) {
				if r.Same != nil && r.Stack == "trackchat-embedded" {
					r.Same.Missing = 1
				}
			}, 1, Target{Verdict: missed},
		},
		"the own runs failed": {
			func(r *Run) {
				if r.Stack == "trackchat-embedded" {
					r.Failed = "broken"
				}
			}, 0, Target{Verdict: missed},
		},
		"nothing was accepted": {
			func(r *Run) {
				if r.Kill != nil {
					r.Kill.Accepted = 0
				}
			}, 4,
			Target{Measured: "0 and 0 of 0 accepted in 1 runs, 0 failed", Verdict: missed},
		},
		"memory was given back": {
			func(r *Run) {
				if r.Idle != nil && r.Stack == "trackchat-embedded" {
					r.Idle.After = 0
				}
			}, 5, Target{Verdict: missed},
		},
		"not all was queued": {
			func(r *Run) {
				if r.Storm != nil {
					r.Storm.Queued--
				}
			}, 6, Target{Measured: "2.50 s, 0 lost, 0 runs failed", Verdict: missed},
		},
	} {
		r := results()
		for i := range r.Runs {
			if p := r.Runs[i].Kill; p != nil { // shared by two runs
				r.Runs[i].Kill = &Phase{Accepted: p.Accepted}
			}
			c.spoil(&r.Runs[i])
		}
		got := r.Targets()[c.target]
		if got.Measured != c.want.Measured || got.Verdict != c.want.Verdict {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestNothingMeasured reaches no goal.
func TestNothingMeasured(t *testing.T) {
	r := results()
	r.Runs = nil
	for _, target := range r.Targets() {
		if target.Verdict != unknown {
			t.Errorf("%+v", target)
		}
	}
}

func TestTables(t *testing.T) {
	var b strings.Builder
	if err := results().Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"- Machine: A processor, 2 cores, Linux 6, data on a file system; the stack on core 0, generator and devices on core 1.",
		"| trackchat-embedded | 20,000 (10,000–25,000) | 50.0 us | 9,000 | 0.50 | 4,500 | " +
			"2.00 / 20.0 (20.0–20.0) | 1.00 (1.00–1.00) | 10.0 (10.0–10.0) | " +
			"0.20 / 3.00 | 0 / 0 / 0 / 0 |",
		"| trackchat-embedded | 62,500 | 16.0 us | 0.00 | 0 / 0 / 0 / 0 |",
		"| fast-always | 1 | 6,000 | 84 | 0 | 2 | 0 |",
		"| fast-everysec | 1,000 | 499 B | 1.48 MB | 0.00 s |",
		"| trackchat-embedded | 10,000 | 100,000 | 1.00 s | 2.50 s | 0 | 0 / 0 / 0 |",
		"| slow-always | failed: no room |  |  |  |  |  |",
		"| fast-everysec | cannot: 12 of 10000 devices logged in |  |  |  |  |  |",
		"| fast-always | synced | a / b |",
	} {
		if !strings.Contains(b.String(), row+"\n") {
			t.Errorf("this is missing:\n%s", row)
		}
	}
	if t.Failed() {
		t.Log(b.String())
	}
}

// TestCannot: a rate that a stack does not reach is said, and compared with nothing.
func TestCannot(t *testing.T) {
	r := results()
	for i := range r.Runs {
		if r.Runs[i].Stack == "fast-always" && r.Runs[i].Same != nil {
			r.Runs[i].Same = &Phase{Planned: 3000, Unreachable: true}
		}
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| cannot |  | – / – | 0 / 0 / 0 / 0 |\n", "0.33 × (1.00 against 3.00 ms of slow-always)",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

// TestRead: what runs write is what the tables are made of.
func TestRead(t *testing.T) {
	want := results()
	environment, err := json.Marshal(want.Environment)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, run := range want.Runs {
		if err := json.NewEncoder(&lines).Encode(run); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(strings.NewReader(string(environment)), strings.NewReader(lines.String()))
	if err != nil {
		t.Fatal(err)
	}
	var a, b strings.Builder
	if err := want.Write(&a); err != nil {
		t.Fatal(err)
	}
	if err := got.Write(&b); err != nil {
		t.Fatal(err)
	}
	if a.String() != b.String() {
		t.Errorf("read back as\n%s\nnot\n%s", b.String(), a.String())
	}
	if _, err := Read(strings.NewReader("{}"), strings.NewReader("{")); err == nil {
		t.Error("half a line is a run")
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 1.234: "1.23", 9.999: "10.0", 99.96: "100", 1234.5: "1,235", 1e6: "1,000,000",
		-1234: "-1,234", -12: "-12.0",
	} {
		if got := number(v); got != want {
			t.Errorf("%g is %s, not %s", v, got, want)
		}
	}
	if got := number(median(nil)); got != "–" {
		t.Errorf("no value is %s", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("the median is %g", got)
	}
}
