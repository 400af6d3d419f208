package app

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"

	"go.yaml.in/yaml/v3"
)

// scrape is what Prometheus would have of a service at one moment.
type scrape struct {
	at     time.Time
	values map[string]float64 // by series, with the labels that Prometheus adds
	gauges map[string]bool    // by series
}

// scraped reads /metrics of an admin listener. One that does not answer has only an up of 0.
func scraped(t *testing.T, admin string) scrape {
	t.Helper()
	const target = `instance="a",job="trackchat"`
	s := scrape{time.Now(), map[string]float64{}, map[string]bool{}}
	up := "up{" + target + "}"
	s.values[up], s.gauges[up] = 0, true
	res, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return s
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	apptest.Must(t, err)
	s.values[up] = 1
	gauge := false
	for line := range strings.Lines(string(body)) {
		if kind, found := strings.CutPrefix(line, "# TYPE "); found {
			gauge = strings.HasSuffix(kind, " gauge\n")
		}
		series, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		series = name + "{" + strings.Trim(target+","+labels, ",") + "}"
		s.values[series], err = strconv.ParseFloat(value, 64)
		apptest.Must(t, err)
		s.gauges[series] = gauge
	}
	return s
}

// course is how a service fares: as it has started, when it has worked, and in a fault.
type course struct{ start, worked, fault scrape }

// patient is a service that works, until something is done to it.
type patient struct {
	*service
	course
	deaf atomic.Pointer[trackersim.Action] // what device 1 does about a text; nil: it acknowledges
}

// nurse starts a service and has it deliver a text to tracker 1.
func nurse(t *testing.T, cfg *config.Config) *patient {
	t.Helper()
	p := &patient{service: startService(t, cfg)}
	p.start = p.scrape()
	p.Device(1, func(o *trackersim.Options) {
		o.OnText = func(protocol.DeviceEvent) trackersim.Action {
			if a := p.deaf.Load(); a != nil {
				return *a
			}
			return trackersim.Action{}
		}
	})
	p.work()
	return p
}

func (p *patient) scrape() scrape {
	p.T.Helper()
	return scraped(p.T, p.Addrs["admin"])
}

// work delivers one more text, after which it counts as healthy.
func (p *patient) work() {
	p.T.Helper()
	p.API.Delivered(1, p.API.Send(1, "well"))
	p.App.checkStore(p.T.Context()) // of every minute
	p.worked = p.scrape()
}

// until waits for a sample, given without what Prometheus adds, to rise by so much since it worked.
func (p *patient) until(series string, by float64) {
	p.T.Helper()
	name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	series = name + "{" + strings.TrimSuffix(`instance="a",job="trackchat",`+labels, ",") + "}"
	apptest.Eventually(p.T, series, func() bool {
		return p.scrape().values[series] >= p.worked.values[series]+by
	})
}

// wialon connects to the listener of a protocol as a Wialon device that says something, and waits
// for how the answer begins, where one is to come.
func (p *patient) wialon(listener, says, answer string) net.Conn {
	p.T.Helper()
	nc, err := net.Dial("tcp", p.Addrs[listener])
	apptest.Must(p.T, err)
	p.T.Cleanup(func() { _ = nc.Close() })
	apptest.Must(p.T, nc.SetDeadline(time.Now().Add(apptest.Patience)))
	_, err = io.WriteString(nc, says+"\r\n")
	apptest.Must(p.T, err)
	got := make([]byte, len(answer))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != answer {
		p.T.Fatalf("%s: %q, %v", says, got, err)
	}
	return nc
}

func wialonLogin(id int) string { return "#L#" + apptest.DeviceOf(id) + ";NA" }

// alarm is what has to fire in a fault.
type alarm struct {
	alerts []string
	once   bool          // it happens once and not every minute
	after  time.Duration // of health; a quarter over an hour
	course func(t *testing.T) course
}

const (
	wellFor  = 75 * time.Minute
	faultFor = 100 * time.Minute
)

// input are the series of a course: what it did until it had worked it does every minute, then what
// it did in the fault.
func (a *alarm) input(c *course) samples {
	named := map[string]bool{}
	for series := range c.fault.values {
		named[series] = true
	}
	for series := range c.worked.values {
		named[series] = true
	}
	in := samples{}
	for series := range named {
		in[series] = a.values(c, series)
	}
	return in
}

// values are a series in promtool's notation, a sample a minute.
func (a *alarm) values(c *course, series string) string {
	well, ill := int(cmp.Or(a.after, wellFor)/time.Minute), int(faultFor/time.Minute)
	start, started := c.start.values[series]
	worked, known := c.worked.values[series]
	fault, still := c.fault.values[series]
	var out []string
	run := func(there bool, from, by float64, n int) {
		if !there {
			out = append(out, fmt.Sprintf("_x%d", n))
			return
		}
		number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
		out = append(out, fmt.Sprintf("%s+%sx%d", number(from), number(by), n-1)) // n samples
	}
	if c.worked.gauges[series] || c.fault.gauges[series] {
		if strings.HasPrefix(series, "trackchat_certificate_expires_seconds{") {
			// promtool's clock begins at 0.
			worked, fault = c.worked.since(worked), c.fault.since(fault)
		}
		run(known, worked, 0, well)
		run(still, fault, 0, ill)
		return strings.Join(out, " ")
	}
	by, rise := worked-start, fault-worked
	if !started {
		by = 0
	}
	run(known, worked, by, well)
	last := worked + by*float64(well-1)
	if rise < 0 { // another process
		last, rise = 0, fault
	}
	switch {
	case a.once:
		run(still, last+rise, 0, ill)
	default:
		run(still, last+rise, rise, ill)
	}
	return strings.Join(out, " ")
}

// since is a time of the service by a clock that began when it was scraped.
func (s *scrape) since(unix float64) float64 {
	if unix == 0 {
		return 0
	}
	return max(0, unix-float64(s.at.Unix()))
}

// slow are the alerts that tell of a slow machine, as one that runs tests may be.
const slow = "TrackchatDeliverySlow|TrackchatStoreSlow|TrackchatLoopSlow"

// check asks promtool for the alerts that fire: none while the service is well, and those of the
// alarm in the fault.
func (a *alarm) check(t *testing.T, c *course) {
	t.Helper()
	well := cmp.Or(a.after, wellFor)
	ill := well + faultFor - time.Minute
	var input []map[string]string
	given, used := a.input(c), ruleFigures(t)
	for _, series := range slices.Sorted(maps.Keys(given)) {
		if name, _, _ := strings.Cut(series, "{"); slices.Contains(used, name) {
			input = append(input, map[string]string{"series": series, "values": given[series]})
		}
	}
	const fired = `group by (alertname) (max_over_time(ALERTS{alertstate="firing",alertname`
	queries := []map[string]any{{
		"expr":      fired + `!~"` + slow + fmt.Sprintf(`"}[%s]))`, well),
		"eval_time": (well - time.Minute).String(),
	}}
	for _, name := range a.alerts {
		queries = append(queries, map[string]any{
			"expr": fired + fmt.Sprintf(`="%s"}[%s]))`, name, faultFor), "eval_time": ill.String(),
			"exp_samples": []map[string]any{{"labels": `{alertname="` + name + `"}`, "value": 1}},
		})
	}
	if len(a.alerts) == 0 {
		queries = append(queries, map[string]any{
			"expr":      fired + `!~"` + slow + fmt.Sprintf(`"}[%s]))`, faultFor),
			"eval_time": ill.String(),
		})
	}
	promtool(t, map[string]any{
		"interval": "1m", "input_series": input,
		"promql_expr_test": queries,
	})
}

// promtool runs unit tests of the shipped alerts.
func promtool(t *testing.T, units ...any) {
	t.Helper()
	rules, err := filepath.Abs(apptest.Shipped("alerts.yaml"))
	apptest.Must(t, err)
	text, err := yaml.Marshal(map[string]any{
		"rule_files": []string{rules}, "evaluation_interval": "1m", "tests": units,
	})
	apptest.Must(t, err)
	file := filepath.Join(t.TempDir(), "alerts_test.yaml")
	apptest.Must(t, os.WriteFile(file, text, 0o600))
	out, err := exec.Command("promtool", "test", "rules", file).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// ruleFigures are the series that the alerts are made of.
func ruleFigures(t *testing.T) []string {
	t.Helper()
	names := []string{"up"}
	for _, e := range alertExpressions(t) {
		names = append(names, metricName.FindAllString(e, -1)...)
	}
	return names
}
