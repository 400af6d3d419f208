package report

import "slices"

// Results are all runs of a benchmark.
type Results struct {
	Environment

	Runs []Run
}

// of returns the runs of a stack in a scenario, and why others have no figures.
func (r *Results) of(stack, scenario string) (good []Run, failures []string) {
	for _, run := range r.Runs {
		switch {
		case run.Stack != stack || run.Scenario != scenario:
		case run.Failed == "" && run.Cannot == "":
			good = append(good, run)
		case run.Cannot != "" && !slices.Contains(failures, run.Cannot):
			failures = append(failures, run.Cannot)
		case run.Failed != "" && !slices.Contains(failures, "failed: "+run.Failed):
			failures = append(failures, "failed: "+run.Failed)
		}
	}
	return good, failures
}

// measured are the stacks that have runs in a scenario.
func (r *Results) measured(scenario string) (stacks []Stack) {
	for _, s := range r.Stacks {
		isOf := func(run Run) bool { return run.Stack == s.Name && run.Scenario == scenario }
		if slices.ContainsFunc(r.Runs, isOf) {
			stacks = append(stacks, s)
		}
	}
	return stacks
}

// values of all good runs of a stack in a scenario.
func (r *Results) values(stack, scenario string, v func(*Run) (float64, bool)) []float64 {
	runs, _ := r.of(stack, scenario)
	return collect(runs, v)
}

// What is compared between stacks.

func closedPerCore(r *Run) (float64, bool) {
	v := r.Closed.PerCoreSecond()
	return v, v > 0
}

func sameP50(r *Run) (float64, bool) {
	if !r.Same.Whole() {
		return 0, false
	}
	return r.Same.P50, true
}

func sameP99(r *Run) (float64, bool) {
	if !r.Same.Whole() {
		return 0, false
	}
	return r.Same.P99, true
}

func idleBytes(r *Run) (float64, bool) {
	if r.Idle == nil || r.Devices == 0 {
		return 0, false
	}
	v := float64(r.Idle.After-r.Idle.Before) / float64(r.Devices)
	return v, v > 0 // else the stack gave back more of its start meanwhile
}

func lastAck(r *Run) (float64, bool) {
	if r.Storm == nil || r.Storm.Missing > 0 {
		return 0, false
	}
	return r.Storm.LastAck, true
}
