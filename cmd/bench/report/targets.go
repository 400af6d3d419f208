package report

import (
	"fmt"
	"math"
)

// Goals.
const (
	goalPerCore   = 1.5 // times the best peer's single sends
	goalLatency   = 1.0 // times the best peer's
	goalBroadcast = 2.5 // times its own single sends
	goalStorm     = 3.0 // s
)

// Target is one goal and what was measured.
type Target struct {
	What     string
	Goal     string
	Measured string
	Verdict  string
}

// Verdicts.
const (
	reached = "reached"
	missed  = "**missed**"
	unknown = "not measured"
)

// tried reports whether a stack has runs in a scenario, with figures or without.
func (r *Results) tried(s Stack, scenario string) bool {
	runs, failures := r.of(s.Name, scenario)
	return len(runs)+len(failures) > 0
}

func verdict(known, good bool) string {
	switch {
	case !known:
		return unknown
	case good:
		return reached
	default:
		return missed
	}
}

// best is the peer of a durability with the best median; its name is empty where there is none.
func (r *Results) best(synced bool, scenario string, value func(*Run) (float64, bool),
	better func(a, b float64) bool,
) (name string, median float64) {
	for _, s := range r.Stacks {
		if !s.Peer || s.Synced != synced {
			continue
		}
		m := r.median(s.Name, scenario, value)
		if !math.IsNaN(m) && (name == "" || better(m, median)) {
			name, median = s.Name, m
		}
	}
	return name, median
}

func (r *Results) median(stack, scenario string, value func(*Run) (float64, bool)) float64 {
	return median(r.values(stack, scenario, value))
}

func lower(a, b float64) bool  { return a < b }
func higher(a, b float64) bool { return a > b }

// Targets compares the product's stacks with their goals.
func (r *Results) Targets() (all []Target) {
	for _, s := range r.Stacks {
		if s.Peer {
			continue
		}
		all = append(all, r.perCore(s), r.latency(s, "p50", sameP50), r.latency(s, "p99", sameP99),
			r.broadcast(s), r.kills(s), r.idle(s), r.storm(s))
	}
	return all
}

func (r *Results) perCore(s Stack) Target {
	own := r.median(s.Name, Rate, closedPerCore)
	name, peer := r.best(s.Synced, Rate, closedPerCore, higher)
	ratio := own / peer
	t := Target{
		What: s.Name + ": single sends per core-second",
		Goal: fmt.Sprintf("≥ %g × the best peer that %s its 200", goalPerCore, s.syncs()),
	}
	known := name != "" && !math.IsNaN(own)
	if known {
		t.Measured = fmt.Sprintf("%.2f × (%s against %s of %s)", ratio, number(own), number(peer),
			name)
	}
	t.Verdict = verdict(name != "" && r.tried(s, Rate), ratio >= goalPerCore)
	return t
}

func (r *Results) latency(s Stack, what string, value func(*Run) (float64, bool)) Target {
	own := r.median(s.Name, Rate, value)
	name, peer := r.best(s.Synced, Rate, value, lower)
	t := Target{
		What: fmt.Sprintf("%s: %s at %s a second", s.Name, what, number(r.Rate)),
		Goal: fmt.Sprintf("at or below the best peer that %s its 200", s.syncs()),
	}
	known := name != "" && !math.IsNaN(own)
	if known {
		t.Measured = fmt.Sprintf("%.2f × (%s against %s ms of %s)", own/peer, number(own),
			number(peer), name)
	}
	t.Verdict = verdict(name != "" && r.tried(s, Rate), own <= peer*goalLatency)
	return t
}

func (r *Results) broadcast(s Stack) Target {
	single := r.median(s.Name, Rate, closedPerCore)
	many := r.median(s.Name, Broadcast, closedPerCore)
	t := Target{
		What: s.Name + ": broadcasts of 300, texts per core-second",
		Goal: fmt.Sprintf("≥ %g × its own single sends", goalBroadcast),
	}
	known := !math.IsNaN(single) && !math.IsNaN(many)
	if known {
		t.Measured = fmt.Sprintf("%.2f × (%s against %s)", many/single, number(many),
			number(single))
	}
	t.Verdict = verdict(r.tried(s, Rate) && r.tried(s, Broadcast), many/single >= goalBroadcast)
	return t
}

func (r *Results) kills(s Stack) Target {
	runs, failures := r.of(s.Name, Kill)
	sum, sound := total(runs), len(failures) == 0
	lost, wrong := sum.Lost, sum.StatusWrong()
	var accepted int64
	for _, run := range runs {
		accepted += run.Kill.Accepted
		sound = sound && run.Kill.Accepted > 0
	}
	t := Target{
		What: fmt.Sprintf("%s: kill -9 at %s a second", s.Name, number(r.KillRate)),
		Goal: "0 never delivered, 0 statuses wrong",
	}
	known := len(runs) > 0 || len(failures) > 0
	if known {
		t.Measured = fmt.Sprintf("%d and %d of %s accepted in %d runs, %d failed", lost, wrong,
			commas(accepted), len(runs), len(failures))
	}
	t.Verdict = verdict(known, lost == 0 && wrong == 0 && sound)
	return t
}

func (r *Results) idle(s Stack) Target {
	own := r.median(s.Name, Idle, idleBytes)
	best, peer := r.best(true, Idle, idleBytes, lower)
	weaker, other := r.best(false, Idle, idleBytes, lower)
	if best == "" || weaker != "" && other < peer {
		best, peer = weaker, other
	}
	t := Target{What: s.Name + ": RSS of an idle session", Goal: "below every peer"}
	known := best != "" && !math.IsNaN(own)
	if known {
		t.Measured = fmt.Sprintf("%s B against %s of %s", number(own), number(peer), best)
	}
	t.Verdict = verdict(best != "" && r.tried(s, Idle), own < peer)
	return t
}

func (r *Results) storm(s Stack) Target {
	runs, failures := r.of(s.Name, Storm)
	own, missing := r.median(s.Name, Storm, lastAck), total(runs).Lost
	sound := len(failures) == 0
	for _, run := range runs {
		sound = sound && run.Storm.Queued == run.Storm.Asked
	}
	t := Target{
		What: s.Name + ": all devices reconnect at once",
		Goal: fmt.Sprintf("last ack below %g s, nothing lost", goalStorm),
	}
	known := len(runs) > 0 || len(failures) > 0
	if known {
		t.Measured = fmt.Sprintf("%s s, %d lost, %d runs failed", number(own), missing,
			len(failures))
	}
	t.Verdict = verdict(known, own < goalStorm && missing == 0 && sound)
	return t
}
