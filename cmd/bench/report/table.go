package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"trackchat/cmd/bench/ledger"
)

// Write writes all tables in Markdown.
func (r *Results) Write(w io.Writer) error {
	var b strings.Builder
	r.heading(&b)
	for _, section := range []func(*strings.Builder){
		r.targets, r.rates, r.broadcasts, r.killed, r.memory, r.deaf, r.storms, r.meanings,
	} {
		section(&b)
	}
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("writing the tables: %w", err)
	}
	return nil
}

// line writes a row of a table.
func line(b *strings.Builder, cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(strings.ReplaceAll(c, "|", "/"), "\n", " ")
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// head begins a table.
func head(b *strings.Builder, title string, cells ...string) {
	fmt.Fprintf(b, "\n%s\n\n", title)
	line(b, cells...)
	fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(cells)))
}

// table writes the table of a scenario: for each stack what row makes of its runs, or why it has
// none. The column of the stack is not among columns.
func (r *Results) table(b *strings.Builder, scenario, title string, columns []string,
	row func(runs []Run) []string,
) {
	stacks := r.measured(scenario)
	if len(stacks) == 0 {
		return
	}
	head(b, title, append([]string{"stack"}, columns...)...)
	for _, s := range stacks {
		runs, failures := r.of(s.Name, scenario)
		why, name := shorten(strings.Join(failures, "; ")), s.Name
		if len(runs) == 0 {
			cells := make([]string, len(columns))
			cells[0] = why
			line(b, append([]string{name}, cells...)...)
			continue
		}
		if why != "" {
			name += " (other runs: " + why + ")"
		}
		line(b, append([]string{name}, row(runs)...)...)
	}
}

// longestReason is how much of a reason a row has room for, bytes.
const longestReason = 200

func shorten(reason string) string {
	if len(reason) <= longestReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:longestReason], "") + "…"
}

func (r *Results) heading(b *strings.Builder) {
	changed := ""
	if r.Changed {
		changed = ", with changes that are not committed"
	}
	fmt.Fprintf(b, "Measured with `cmd/bench/run.sh` on %s at commit \"%s\"%s.\n\n", r.Date, r.Commit,
		changed)
	pinned := "nothing pinned"
	if r.Pinned {
		pinned = "the stack on core 0, generator and devices on core 1"
	}
	fmt.Fprintf(b, "- Machine: %s, %d cores, %s, data on %s; %s.\n", r.CPU, r.Cores, r.Kernel,
		r.FileSystem, pinned)
	fmt.Fprintf(b, "- Versions: %s.\n", strings.Join(r.Versions, "; "))
	fmt.Fprintf(b, "- %s devices, phases of %s, texts of 100 characters, one request for each text; "+
		"medians of %d interleaved rounds, %d of kills, %d of memory; the lowest and the highest in "+
		"brackets.\n", commas(int64(r.Devices)), r.Send, r.Rounds, r.Kills, r.Memory)
}

func (r *Results) targets(b *strings.Builder) {
	head(b, "### Goals", "what", "goal", "measured", "")
	for _, t := range r.Targets() {
		line(b, t.What, t.Goal, t.Measured, t.Verdict)
	}
}

// ofPhase makes a value of a phase that may be missing.
func ofPhase(phase func(*Run) *Phase, value func(*Phase) float64) func(*Run) (float64, bool) {
	return func(r *Run) (float64, bool) {
		p := phase(r)
		if p == nil || p.Unreachable {
			return 0, false
		}
		return value(p), true
	}
}

func closedOf(r *Run) *Phase { return r.Closed }
func halfOf(r *Run) *Phase   { return r.Half }
func sameOf(r *Run) *Phase   { return r.Same }

func p50(p *Phase) float64     { return p.P50 }
func p99(p *Phase) float64     { return p.P99 }
func late50(p *Phase) float64  { return p.LateP50 }
func late99(p *Phase) float64  { return p.LateP99 }
func perS(p *Phase) float64    { return p.PerSecond }
func cpu(p *Phase) float64     { return p.CPUMicros }
func own(p *Phase) float64     { return p.OwnCores }
func planned(p *Phase) float64 { return p.Planned }

func (r *Results) rates(b *strings.Builder) {
	columns := []string{
		"per core-second", "CPU a text", "a second", "generator's cores", "half load: a second",
		"p50 / p99, ms", "at " + number(r.Rate) + " a second: p50, ms", "p99, ms",
		"of it until the request began, p50 / p99, ms", "lost / doubled / disordered / status wrong",
	}
	r.table(b, Rate, "### Single sends, each read back as delivered", columns,
		func(runs []Run) []string {
			v := func(phase func(*Run) *Phase, value func(*Phase) float64) []float64 {
				return collect(runs, ofPhase(phase, value))
			}
			whole := collect(runs, sameP50)
			at50, at99 := spread(whole), spread(collect(runs, sameP99))
			if len(whole) == 0 {
				at50, at99 = "cannot", ""
			} else if len(whole) < len(runs) {
				at50 += fmt.Sprintf(" in %d of %d rounds", len(whole), len(runs))
			}
			return []string{
				spread(collect(runs, closedPerCore)), number(median(v(closedOf, cpu))) + " us",
				number(median(v(closedOf, perS))), number(median(v(closedOf, own))),
				number(median(v(halfOf, planned))),
				number(median(v(halfOf, p50))) + " / " + spread(v(halfOf, p99)), at50, at99,
				number(median(v(sameOf, late50))) + " / " + number(median(v(sameOf, late99))),
				wrongs(runs),
			}
		})
}

// total adds up what became of the texts of runs.
func total(runs []Run) (sum ledger.Counts) {
	for _, run := range runs {
		sum.Accepted += run.Counts.Accepted
		sum.Lost += run.Counts.Lost
		sum.Doubled += run.Counts.Doubled
		sum.Disordered += run.Counts.Disordered
		sum.Undue += run.Counts.Undue
		sum.Overdue += run.Counts.Overdue
	}
	return sum
}

func wrongs(runs []Run) string {
	c := total(runs)
	return fmt.Sprintf("%d / %d / %d / %d", c.Lost, c.Doubled, c.Disordered, c.StatusWrong())
}

func (r *Results) broadcasts(b *strings.Builder) {
	columns := []string{
		"texts per core-second", "CPU a text", "texts a second",
		"lost / doubled / disordered / status wrong",
	}
	r.table(b, Broadcast, "### Broadcasts of 300", columns, func(runs []Run) []string {
		return []string{
			spread(collect(runs, closedPerCore)),
			number(median(collect(runs, ofPhase(closedOf, cpu)))) + " us",
			number(median(collect(runs, ofPhase(closedOf, perS)))), wrongs(runs),
		}
	})
}

func (r *Results) killed(b *strings.Builder) {
	title := fmt.Sprintf("### kill -9 of all processes amid %s texts a second, then a restart",
		number(r.KillRate))
	columns := []string{
		"runs", "accepted", "of them never at the device, each run", "delivered without an ack",
		"acknowledged and not delivered", "twice at the device",
	}
	r.table(b, Kill, title, columns, func(runs []Run) []string {
		of := func(count func(ledger.Counts) int) string {
			list := make([]int, len(runs))
			for i := range runs {
				list[i] = count(runs[i].Counts)
			}
			return each(list)
		}
		return []string{
			commas(int64(len(runs))), commas(int64(total(runs).Accepted)),
			of(func(c ledger.Counts) int { return c.Lost }),
			of(func(c ledger.Counts) int { return c.Undue }),
			of(func(c ledger.Counts) int { return c.Overdue }),
			of(func(c ledger.Counts) int { return c.Doubled }),
		}
	})
}

func (r *Results) memory(b *strings.Builder) {
	columns := []string{"sessions", "RSS of one", "RSS of all", "logins took"}
	r.table(b, Idle, "### Idle sessions", columns, func(runs []Run) []string {
		after := collect(runs, func(r *Run) (float64, bool) {
			return megabytes(r.Idle.After), true
		})
		logins := collect(runs, func(r *Run) (float64, bool) { return r.LoginSeconds, true })
		return []string{
			commas(int64(runs[0].Devices)), spread(collect(runs, idleBytes)) + " B",
			number(median(after)) + " MB", number(median(logins)) + " s",
		}
	})
}

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }

func (r *Results) deaf(b *strings.Builder) {
	title := fmt.Sprintf("### A fifth of the devices read nothing; %s texts a second to the others",
		number(r.DeafRate))
	columns := []string{
		"queued for deaf devices", "RSS before", "RSS after", "the others before, p50 / p99, ms",
		"and meanwhile", "of them lost / status wrong",
	}
	r.table(b, Deaf, title, columns, func(runs []Run) []string {
		v := func(value func(*DeafResult) float64) string {
			return number(median(collect(runs, func(r *Run) (float64, bool) {
				return value(r.Deaf), true
			})))
		}
		latency := func(of func(*DeafResult) *Phase) string {
			at := func(value func(*Phase) float64) string {
				return number(median(collect(runs, func(r *Run) (float64, bool) {
					p := of(r.Deaf)
					return value(p), p.Whole()
				})))
			}
			return at(p50) + " / " + at(p99)
		}
		queued := v(func(d *DeafResult) float64 { return float64(d.Texts) })
		if runs[0].Deaf.Texts < runs[0].Deaf.Asked {
			queued += " of " + commas(runs[0].Deaf.Asked)
		}
		c := total(runs)
		return []string{
			queued, v(func(d *DeafResult) float64 { return megabytes(d.Before) }) + " MB",
			v(func(d *DeafResult) float64 { return megabytes(d.After) }) + " MB",
			latency(func(d *DeafResult) *Phase { return d.Calm }),
			latency(func(d *DeafResult) *Phase { return d.Healthy }),
			fmt.Sprintf("%d / %d", c.Lost, c.StatusWrong()),
		}
	})
}

func (r *Results) storms(b *strings.Builder) {
	columns := []string{
		"devices", "texts", "all logged in", "last ack", "never at the device",
		"doubled / disordered / status wrong",
	}
	title := "### All devices reconnect at once, texts queued for each"
	r.table(b, Storm, title, columns, func(runs []Run) []string {
		queued := number(median(collect(runs, func(r *Run) (float64, bool) {
			return float64(r.Storm.Queued), true
		})))
		if runs[0].Storm.Queued < runs[0].Storm.Asked {
			queued += " of " + commas(runs[0].Storm.Asked) + ", more could not be queued in time"
		}
		in := collect(runs, func(r *Run) (float64, bool) {
			return r.Storm.LoggedS, r.Storm.LoggedS > 0
		})
		c := total(runs)
		return []string{
			commas(int64(runs[0].Devices)), queued, spread(in) + " s",
			spread(collect(runs, lastAck)) + " s", commas(int64(c.Lost)),
			fmt.Sprintf("%d / %d / %d", c.Doubled, c.Disordered, c.StatusWrong()),
		}
	})
}

func (r *Results) meanings(b *strings.Builder) {
	head(b, "### What a 200 means", "stack", "when it is answered", "settings beside the defaults")
	for _, s := range r.Stacks {
		settings := s.Settings
		if settings == "" {
			settings = "none"
		}
		line(b, s.Name, s.Meaning, settings)
	}
}

// Summary is a run in a few words.
func Summary(r Run) string {
	seconds := func(s float64) string {
		return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
	}
	switch {
	case r.Failed != "":
		return "failed: " + r.Failed
	case r.Cannot != "":
		return r.Cannot
	case r.Closed != nil:
		return number(r.Closed.PerCoreSecond()) + " a core-second, wrong " + wrongs([]Run{r})
	case r.Kill != nil:
		return fmt.Sprintf("%d lost, %d statuses wrong", r.Counts.Lost, r.Counts.StatusWrong())
	case r.Idle != nil:
		bytes, _ := idleBytes(&r)
		return number(bytes) + " B a session"
	case r.Deaf != nil:
		return fmt.Sprintf("%s MB, then %s MB", number(megabytes(r.Deaf.Before)),
			number(megabytes(r.Deaf.After)))
	case r.Storm != nil:
		return fmt.Sprintf("last ack after %s, %d missing", seconds(r.Storm.LastAck),
			r.Storm.Missing)
	default:
		return "nothing"
	}
}
