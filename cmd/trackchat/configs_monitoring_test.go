package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// metricName finds the figures in an expression: ours and those of the process. A histogram's
// series are its family's.
var metricName = regexp.MustCompile(`\b(?:trackchat|process)_[a-z0-9_]+`)

func TestAlertRulesAreValid(t *testing.T) {
	out, err := exec.Command("promtool", "check", "rules", shipped("alerts.yaml")).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool (Debian package prometheus): %v\n%s", err, out)
	}
}

// TestMonitoringNamesFiguresThatExist: an alert or a panel on a name that nobody exports is silent
// for ever.
func TestMonitoringNamesFiguresThatExist(t *testing.T) {
	s := startService(t, testConfig(t, 2))
	s.api.send(1, "so that a request and the store have been timed")
	exported := exportedFigures(t, s)
	for source, expressions := range map[string][]string{
		"alerts.yaml":            alertExpressions(t),
		"grafana-dashboard.json": panelExpressions(t),
	} {
		if len(expressions) < 10 {
			t.Errorf("%s has only %d expressions", source, len(expressions))
		}
		for _, e := range expressions {
			for _, name := range metricName.FindAllString(e, -1) {
				family := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
				if !slices.Contains(exported, name) && !slices.Contains(exported, family) {
					t.Errorf("%s: no figure %s in %s", source, name, e)
				}
			}
		}
	}
}

// TestHandWrittenSamplesAreReal: what TestAlertsFire makes up has the names and labels that a
// running service says, so that a rule that fires there fires for the service.
func TestHandWrittenSamplesAreReal(t *testing.T) {
	t.Parallel()
	p := nurse(t, testConfig(t, 1))
	said := slices.Collect(maps.Keys(p.worked.values))
	label := regexp.MustCompile(`[a-z_]+="[^"]*"`)
	ofTests := regexp.MustCompile(`^(instance|job|le)=`)
	for _, c := range alertCases() {
		for series := range c.fires {
			name, labels, _ := strings.Cut(series, "{")
			if !slices.ContainsFunc(said, func(s string) bool {
				others, found := strings.CutPrefix(s, name+"{")
				for _, l := range label.FindAllString(labels, -1) {
					found = found && (ofTests.MatchString(l) || strings.Contains(","+others, ","+l))
				}
				return found
			}) {
				t.Errorf("no service says %s", series)
			}
		}
	}
}

// exportedFigures returns the names of the families in /metrics.
func exportedFigures(t *testing.T, s *service) []string {
	t.Helper()
	res, err := http.Get("http://" + s.addrs["admin"] + "/metrics")
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	var names []string
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	return names
}

func alertExpressions(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(shipped("alerts.yaml"))
	must(t, err)
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	must(t, yaml.Unmarshal(data, &file))
	var list []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" ||
				!slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
				t.Errorf("%s does not say how bad it is, or what it means", r.Alert)
			}
			list = append(list, r.Expr)
		}
	}
	return list
}

func panelExpressions(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(shipped("grafana-dashboard.json"))
	must(t, err)
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Query any }
		}
	}
	must(t, json.Unmarshal(data, &board))
	var list []string
	seen := map[int]bool{}
	for _, p := range board.Panels {
		if seen[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		seen[p.ID] = true
		for _, target := range p.Targets {
			list = append(list, target.Expr)
		}
	}
	for _, v := range board.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			text, _ := q["query"].(string)
			list = append(list, text)
		}
	}
	return list
}
