package app

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

	"trackchat/cmd/trackchat/apptest"

	"go.yaml.in/yaml/v3"
)

// samples are series in promtool's notation, one sample a minute: "5+10x60" begins at 5 and rises
// by 10 sixty times.
type samples map[string]string

// alertCase is when an alert fires, and a time much like it when it must not.
type alertCase struct {
	fires, quiet samples
	at           string // 1h
}

func alertCases() map[string]alertCase {
	const node = `{instance="a"}`
	flat, rising, never := "5+0x90", "0+10x90", "0+0x90"
	return map[string]alertCase{
		"TrackchatDown": {
			samples{`up{job="trackchat"}`: never},
			samples{`up{job="trackchat"}`: "1+0x90"},
			"",
		},
		"TrackchatStoreFails": {
			samples{"trackchat_store_errors_total" + node: rising},
			samples{"trackchat_store_errors_total" + node: flat},
			"",
		},
		"TrackchatStoreLost": {
			samples{"trackchat_store_lost" + node: "1+0x90"},
			samples{"trackchat_store_lost" + node: never},
			"",
		},
		"TrackchatLogDamaged": {
			samples{"trackchat_store_log_unreadable_transactions" + node: "2+0x90"},
			samples{"trackchat_store_log_unreadable_transactions" + node: never},
			"",
		},
		"TrackchatStoreCorrupt": {
			samples{"trackchat_store_corrupt_total" + node: "0+0x55 1+0x40"},
			samples{"trackchat_store_corrupt_total" + node: flat},
			"",
		},
		"TrackchatNothingDelivered": {
			samples{
				"trackchat_pending" + node: flat, "trackchat_texts_sent_total" + node: rising,
				"trackchat_texts_acked_total" + node: flat,
			},
			samples{
				"trackchat_pending" + node: flat, "trackchat_texts_sent_total" + node: rising,
				"trackchat_texts_acked_total" + node: "0+1x90",
			},
			"",
		},
		"TrackchatSessionsLost": {
			samples{"trackchat_sessions" + node: "1000+0x50 500+0x40"},
			samples{"trackchat_sessions" + node: "1000+0x50 900+0x40"},
			"",
		},
		"TrackchatDeliverySlow": {
			seconds("trackchat_ack_seconds", "10"),
			seconds("trackchat_ack_seconds", "1"), "",
		},
		"TrackchatStoreSlow": {
			seconds("trackchat_store_seconds", "10"),
			seconds("trackchat_store_seconds", "1"), "",
		},
		"TrackchatPendingGrows": {
			samples{"trackchat_pending" + node: "1000+0x60 20000+0x400"},
			samples{"trackchat_pending" + node: "20000+0x500"},
			"7h",
		},
		"TrackchatWakesMissed": {
			samples{"trackchat_wake_missed_total" + node: rising},
			samples{"trackchat_wake_missed_total" + node: flat},
			"",
		},
		"TrackchatFramesDamaged": {frames("0+10x90"), frames("0+1x90"), ""},
		"TrackchatLoopSlow": {
			seconds("trackchat_loop_lag_seconds", "10"),
			seconds("trackchat_loop_lag_seconds", "0.1"), "",
		},
		"TrackchatErrorsLogged": {
			samples{
				`trackchat_log_entries_total{instance="a",level="error"}`: rising,
			},
			samples{`trackchat_log_entries_total{instance="a",level="warn"}`: rising},
			"",
		},
		// a restart.
		"TrackchatNotReady": {
			samples{"trackchat_ready" + node: "1+0x50 0+0x40"},
			samples{"trackchat_ready" + node: "1+0x57 0+0x40"},
			"",
		},
		"TrackchatWebhooksLate": {
			samples{"trackchat_webhook_lag_seconds" + node: "700+0x90"},
			samples{"trackchat_webhook_lag_seconds" + node: "300+0x90"},
			"",
		},
		"TrackchatFeedDrops": {
			samples{"trackchat_feed_dropped_total" + node: rising},
			samples{"trackchat_feed_dropped_total" + node: flat},
			"",
		},
		"TrackchatMemoryShort": {
			samples{"trackchat_memory_short" + node: "1+0x90"},
			samples{"trackchat_memory_short" + node: never},
			"",
		},
		"TrackchatWrongProtocol": {
			samples{
				`trackchat_refused_total{instance="a",reason="wrong_protocol"}`: rising,
			},
			samples{`trackchat_refused_total{instance="a",reason="garbage"}`: rising},
			"",
		},
		"TrackchatDeviceIdShared": {
			samples{
				`trackchat_refused_total{instance="a",reason="takeovers"}`: "0+0x50 3+0x40",
			},
			samples{`trackchat_refused_total{instance="a",reason="blocked"}`: rising},
			"",
		},
		"TrackchatDescriptorsShort": {
			samples{
				`process_open_fds{job="trackchat"}`: "900+0x90",
				`process_max_fds{job="trackchat"}`:  "1000+0x90",
			},
			samples{
				`process_open_fds{job="trackchat"}`: "800+0x90",
				`process_max_fds{job="trackchat"}`:  "1000+0x90",
			},
			"",
		},
		"TrackchatPanics": {
			samples{
				"trackchat_http_panics_total" + node:   "0+0x50 1+0x40",
				"trackchat_engine_panics_total" + node: never,
			},
			samples{"trackchat_http_panics_total" + node: flat, "trackchat_engine_panics_total" +
				node: never},
			"",
		},
		// The clock of these tests begins at 0.
		"TrackchatCertificateEnds": {samples{"trackchat_certificate_expires_seconds" +
			node: "1000000+0x90"}, samples{"trackchat_certificate_expires_seconds" +
			node: "2000000+0x90"}, ""},
		// none at all.
		"TrackchatCertificateEndsSoon": {
			samples{"trackchat_certificate_expires_seconds" +
				node: "100000+0x90"},
			samples{"trackchat_certificate_expires_seconds" + node: never},
			"",
		},
		"TrackchatWebhooksDropped": {samples{"trackchat_webhook_dropped_total" +
			node: "0+0x50 1+0x40"}, samples{"trackchat_webhook_dropped_total" + node: flat}, ""},
		"TrackchatTakeovers": {
			samples{"trackchat_takeovers_total" + node: "0+100x90", "trackchat_sessions" +
				node: "1000+0x90"},
			samples{"trackchat_takeovers_total" + node: "0+10x90", "trackchat_sessions" +
				node: "1000+0x90"},
			"",
		},
		"TrackchatLoginsRefused": {
			logins(samples{"ok": "0+1x90", "unknown_device": "0+2x90", "blocked": "0+1x90"}),
			logins(samples{"ok": "0+9x90", "unknown_device": "0+2x90", "blocked": "0+1x90"}),
			"",
		},
		"TrackchatTextsFail": {endings("0+1x90", "0+1x90", "0+10x90"), endings("0+1x90",
			"0+0x90", "0+20x90"), ""},
		"TrackchatCharactersReplaced": {replacements("0+30x90"), replacements("0+3x90"), ""},
		"TrackchatProtocolSilent": {
			acks("0+10x50 500+0x100", "0+10x150"),
			acks("0+0x150", "0+10x150"),
			"2h", // a device class that never acknowledges
		},
		"TrackchatUpstreamDown": {
			samples{"trackchat_relay_upstream_down_seconds" + node: "90+0x90"},
			samples{"trackchat_relay_upstream_down_seconds" + node: "30+0x90"},
			"",
		},
		"TrackchatUpstreamDialErrors": {
			samples{"trackchat_relay_dial_errors_total" + node: rising},
			samples{"trackchat_relay_dial_errors_total" + node: flat},
			"",
		},
		"TrackchatUpstreamConflicts": {
			samples{"trackchat_relay_conflicts_total" + node: "0+0x50 1+0x40"},
			samples{"trackchat_relay_conflicts_total" + node: flat},
			"",
		},
	}
}

// seconds is a histogram all of whose samples lie at or below a limit.
func seconds(name, limit string) samples {
	s := samples{}
	for _, le := range []string{"0.1", "1", "10", "+Inf"} {
		s[name+`_bucket{instance="a",le="`+le+`"}`] = "0+10x90"
	}
	for _, le := range []string{"0.1", "1", "10"} {
		if le == limit {
			break
		}
		s[name+`_bucket{instance="a",le="`+le+`"}`] = "0+0x90"
	}
	return s
}

func frames(damaged string) samples {
	return samples{
		`trackchat_frames_total{instance="a",protocol="egts"}`:        "0+200x90",
		`trackchat_decode_errors_total{instance="a",protocol="egts"}`: damaged,
	}
}

func logins(results samples) samples {
	s := samples{}
	for result, values := range results {
		s[`trackchat_logins_total{instance="a",result="`+result+`"}`] = values
	}
	return s
}

func endings(failed, expired, delivered string) samples {
	return samples{
		`trackchat_texts_ended_total{status="failed"}`: failed,
		`trackchat_texts_ended_total{status="sent"}`:   "0+1000x90",
		"trackchat_expired_total":                      expired,
		"trackchat_delivery_seconds_count":             delivered,
	}
}

func replacements(characters string) samples {
	return samples{
		`trackchat_replaced_characters_total{protocol="egts"}`: characters,
		`trackchat_texts_sent_total{protocol="egts"}`:          "0+10x90",
	}
}

func acks(egts, jt808 string) samples {
	return samples{
		`trackchat_texts_sent_total{protocol="egts"}`:   "0+10x150",
		`trackchat_texts_acked_total{protocol="egts"}`:  egts,
		`trackchat_texts_sent_total{protocol="jt808"}`:  "0+10x150",
		`trackchat_texts_acked_total{protocol="jt808"}`: jt808,
	}
}

// TestAlertsFire: every alert fires when it has to, and does not when it must not.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	type series struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	type sample struct {
		Labels string `yaml:"labels"`
		Value  int    `yaml:"value"`
	}
	type query struct {
		Expr    string   `yaml:"expr"`
		At      string   `yaml:"eval_time"`
		Samples []sample `yaml:"exp_samples"`
	}
	type unit struct {
		Name     string   `yaml:"name"`
		Interval string   `yaml:"interval"`
		Input    []series `yaml:"input_series"`
		Queries  []query  `yaml:"promql_expr_test"`
	}
	var units []any
	cases := alertCases()
	for name, c := range cases {
		if c.at == "" {
			c.at = "1h"
		}
		for what, given := range map[string]samples{"fires": c.fires, "is quiet": c.quiet} {
			u := unit{Name: name + " " + what, Interval: "1m"}
			for _, s := range slices.Sorted(maps.Keys(given)) {
				u.Input = append(u.Input, series{s, given[s]})
			}
			q := query{
				Expr: `count(ALERTS{alertname="` + name + `",alertstate="firing"})`,
				At:   c.at,
			}
			if what == "fires" {
				q.Samples = []sample{{"{}", 1}}
			}
			u.Queries = []query{q}
			units = append(units, u)
		}
	}
	names := alertNames(t)
	if !slices.Equal(names, slices.Sorted(maps.Keys(cases))) {
		t.Errorf("alerts %q, cases of %q", names, slices.Sorted(maps.Keys(cases)))
	}
	promtool(t, units...)
}

// alertNames returns the names of all alerts, sorted.
func alertNames(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(apptest.Shipped("alerts.yaml"))
	apptest.Must(t, err)
	var file struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	apptest.Must(t, yaml.Unmarshal(data, &file))
	var names []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Alert)
		}
	}
	slices.Sort(names)
	return names
}

// metricName finds the figures in an expression: ours and those of the process. A histogram's
// series are its family's.
var metricName = regexp.MustCompile(`\b(?:trackchat|process)_[a-z0-9_]+`)

func TestAlertRulesAreValid(t *testing.T) {
	out, err := exec.Command("promtool", "check", "rules", apptest.Shipped("alerts.yaml")).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool (Debian package prometheus): %v\n%s", err, out)
	}
}

// TestMonitoringNamesFiguresThatExist: an alert or a panel on a name that nobody exports is silent
// for ever.
func TestMonitoringNamesFiguresThatExist(t *testing.T) {
	s := startService(t, apptest.Config(t, 2))
	s.API.Send(1, "so that a request and the store have been timed")
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
	p := nurse(t, apptest.Config(t, 1))
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
	res, err := http.Get("http://" + s.Addrs["admin"] + "/metrics")
	apptest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	apptest.Must(t, err)
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
	data, err := os.ReadFile(apptest.Shipped("alerts.yaml"))
	apptest.Must(t, err)
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	apptest.Must(t, yaml.Unmarshal(data, &file))
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
	data, err := os.ReadFile(apptest.Shipped("grafana-dashboard.json"))
	apptest.Must(t, err)
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
	apptest.Must(t, json.Unmarshal(data, &board))
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
