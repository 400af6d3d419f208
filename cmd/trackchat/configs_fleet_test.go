package main

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// composeFile is what the tests look at of configs/compose.yaml.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
	Networks map[string]struct {
		IPAM struct {
			Config []struct {
				Subnet string `yaml:"subnet"`
			} `yaml:"config"`
		} `yaml:"ipam"`
	} `yaml:"networks"`
}

type composeService struct {
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []string          `yaml:"volumes"`
	Ports       []string          `yaml:"ports"`
	StopGrace   string            `yaml:"stop_grace_period"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func shippedCompose(t *testing.T) composeFile {
	t.Helper()
	data, err := os.ReadFile(apptest.Shipped("compose.yaml"))
	apptest.Must(t, err)
	var f composeFile
	apptest.Must(t, yaml.Unmarshal(data, &f))
	return f
}

// givenByOperator finds what stands for a variable of the operator's environment.
func givenByOperator() *regexp.Regexp { return regexp.MustCompile(`\$\{(\w+)(:\?[^}]*)?\}`) }

// fleetOf loads the configuration of each trackchat in the compose file, with its environment.
func fleetOf(t *testing.T, f composeFile) map[string]*config.Config {
	t.Helper()
	given := givenByOperator()
	fleet := make(map[string]*config.Config)
	for name, s := range f.Services {
		if s.Image != "trackchat" {
			continue
		}
		var environ []string
		for key, value := range s.Environment {
			environ = append(environ, key+"="+given.ReplaceAllString(value, "given-$1"))
		}
		cfg, err := config.Load(apptest.Shipped("trackchat.redis.yaml"), slices.DeleteFunc(environ,
			func(e string) bool { return strings.HasPrefix(e, "TRACKCHAT_DIRECTORY_FILE=") }))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if cfg.Node != name {
			t.Errorf("%s calls itself %s", name, cfg.Node)
		}
		if grace, err := time.ParseDuration(s.StopGrace); err != nil || grace <= app.StopWithin {
			t.Errorf("%s is killed after %s, an orderly stop takes up to %s", name, s.StopGrace,
				app.StopWithin)
		}
		if !slices.Contains(s.Volumes, "./trackchat.redis.yaml:"+s.Command[2]+":ro") ||
			!slices.Contains(s.Healthcheck.Test, s.Command[2]) {
			t.Errorf("%s runs with %s, its volumes are %q, its health check %q", name, s.Command[2],
				s.Volumes, s.Healthcheck.Test)
		}
		fleet[name] = cfg
	}
	return fleet
}

func TestShippedCompose(t *testing.T) {
	f := shippedCompose(t)
	fleet := fleetOf(t, f)
	given := givenByOperator()
	roles := map[string]int{}
	for name, cfg := range fleet {
		roles[strings.Join(cfg.Roles, "+")]++
		if cfg.Store.Backend != config.BackendRedis ||
			cfg.Store.Redis.Password != "given-REDIS_PASSWORD" ||
			!slices.Equal(cfg.Store.Redis.Addrs, []string{"redis:6379"}) {
			t.Errorf("%s: %+v", name, cfg.Store)
		}
		if cfg.Admin.Listen != ":8081" || cfg.Admin.Token != "given-ADMIN_TOKEN" {
			t.Errorf("%s: admin %+v", name, cfg.Admin)
		}
	}
	want := map[string]int{config.RoleAPI: 2, config.RoleGateway: 2}
	if diff := cmp.Diff(want, roles); diff != "" {
		t.Errorf("nodes by their roles (-want +got):\n%s", diff)
	}
	if file := f.Services["api1"].Environment["TRACKCHAT_DIRECTORY_FILE"]; !slices.Contains(
		f.Services["api1"].Volumes, "./directory.yaml:"+file+":ro") {
		t.Errorf("the directory's file is %s", file)
	}
	for name, s := range f.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(given.ReplaceAllString(v, "given-$1"), ":")
			if strings.HasPrefix(from, "given-") {
				continue // the operator's own
			}
			if file, ok := strings.CutPrefix(from, "./"); ok {
				if _, err := os.Stat(apptest.Shipped(filepath.FromSlash(file))); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := f.Volumes[from]; !ok {
				t.Errorf("%s: no volume %s", name, from)
			}
		}
	}
}

// TestShippedComposeRedis: a Redis that is started as the compose file says is fit for use, without
// a warning but that it is new.
func TestShippedComposeRedis(t *testing.T) {
	command := shippedCompose(t).Services["redis"].Command
	i := slices.Index(command, "--requirepass")
	if command[0] != "redis-server" || i < 0 ||
		command[i+1] != "${REDIS_PASSWORD:?a password for Redis}" {
		t.Fatalf("%q", command)
	}
	server := queuetest.StartRedis(t, append([]string{"--appendfsync", "no"}, slices.Delete(command,
		i, i+2)[1:]...)...)
	rep, err := redisstore.Inspect(t.Context(), redisstore.Options{
		Addrs: []string{server.Addr},
		Now:   time.Now,
	})
	if err != nil || len(rep.Problems) > 0 || len(rep.Warnings) != 1 ||
		!strings.Contains(rep.Warnings[0], "holds no store yet") {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestShippedBalancer: every port of the fleet is balanced over every node that listens on it,
// published under its own number, and nodes are asked where they answer.
func TestShippedBalancer(t *testing.T) {
	f := shippedCompose(t)
	data, err := os.ReadFile(apptest.Shipped("haproxy.cfg"))
	apptest.Must(t, err)
	want := map[string][]string{}
	listening := map[string]bool{}
	for name, cfg := range fleetOf(t, f) {
		listening[cfg.Admin.Listen] = true
		if cfg.HasRole(config.RoleAPI) {
			want[cfg.API.Listen] = append(want[cfg.API.Listen], name+" "+name+cfg.API.Listen)
			continue
		}
		for _, l := range cfg.Gateway.Listeners {
			want[l.Listen] = append(want[l.Listen], name+" "+name+l.Listen)
		}
	}
	got := map[string][]string{}
	subnet := f.Networks["default"].IPAM.Config[0].Subnet
	for name, cfg := range fleetOf(t, f) {
		if cfg.HasRole(config.RoleAPI) && !slices.Equal(cfg.API.TrustedProxies, []string{subnet}) {
			t.Errorf("%s believes %q about its clients, the balancer is in %s", name,
				cfg.API.TrustedProxies, subnet)
		}
		for _, l := range cfg.Gateway.Listeners {
			if cfg.HasRole(config.RoleGateway) && !slices.Equal(l.ProxyProtocol, []string{subnet}) {
				t.Errorf("%s believes headers on %s from %q, the balancer is in %s", name, l.Listen,
					l.ProxyProtocol, subnet)
			}
		}
	}
	bind, secured, tlsFile := "", []string(nil), mountOf(t, f.Services["balancer"],
		"${TLS_PEM:?a file with certificate and key}")
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		switch fields := strings.Fields(line); {
		case len(fields) == 2 && fields[0] == "bind":
			bind = fields[1]
		case len(fields) > 2 && fields[0] == "bind":
			secured = append(secured, fields[1])
			if fields[2] != "ssl" || fields[4] != tlsFile || fields[1] != withTLS(bind) {
				t.Errorf("%q beside %s", line, bind)
			}
		case len(fields) >= 3 && fields[0] == "server":
			if device := strings.HasPrefix(fields[1], "gateway"); device != (len(fields) == 4 &&
				fields[3] == "send-proxy-v2") {
				t.Errorf("%q: a gateway, and nobody else, is told the device's address", line)
			}
			got[bind] = append(got[bind], fields[1]+" "+fields[2])
		case len(fields) > 3 && fields[0] == "default-server":
			if fields[1] != "check" || fields[2] != "port" || !listening[":"+fields[3]] {
				t.Errorf("nodes are asked by %q, they listen on %v", line,
					slices.Collect(maps.Keys(listening)))
			}
		}
	}
	var published []string
	for _, list := range []map[string][]string{want, got} {
		for _, servers := range list {
			slices.Sort(servers)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configs/haproxy.cfg (-fleet +file):\n%s", diff)
	}
	for _, port := range f.Services["balancer"].Ports {
		parts := strings.Split(port, ":")
		if parts[len(parts)-1] != parts[len(parts)-2] {
			t.Errorf("%s is published under another number", port)
		}
		published = append(published, ":"+parts[len(parts)-1])
	}
	slices.Sort(published)
	if len(secured) != len(want) {
		t.Errorf("%d of %d ports have a twin with TLS", len(secured), len(want))
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(slices.AppendSeq(secured, maps.Keys(want)))),
		published); diff != "" {
		t.Errorf("published ports (-fleet +compose.yaml):\n%s", diff)
	}
}

// withTLS is the port that stands beside another one for those who speak TLS.
func withTLS(port string) string {
	if port == ":8080" {
		return ":8443"
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(port, ":"))
	return ":" + strconv.Itoa(n+10_000)
}

// mountOf is where a file or a directory is found in a container.
func mountOf(t *testing.T, s composeService, from string) string {
	t.Helper()
	for _, v := range s.Volumes {
		if rest, ok := strings.CutPrefix(v, from+":"); ok {
			return strings.TrimSuffix(rest, ":ro")
		}
	}
	t.Fatalf("%s is not mounted: %q", from, s.Volumes)
	return ""
}

// TestShippedGrafana has the dashboard, and the Prometheus of the fleet to take its figures from.
func TestShippedGrafana(t *testing.T) {
	f := shippedCompose(t)
	s := f.Services["grafana"]
	var sources struct {
		Datasources []struct {
			Type, URL string
			IsDefault bool `yaml:"isDefault"`
		}
	}
	apptest.Must(t, yaml.Unmarshal(readFile(t, apptest.Shipped("grafana/datasources.yaml")), &sources))
	if d := sources.Datasources; len(d) != 1 || d[0].Type != "prometheus" ||
		d[0].URL != "http://prometheus:9090" || !d[0].IsDefault {
		t.Errorf("%+v", sources)
	}
	if ports := f.Services["prometheus"].Ports; !slices.Equal(ports,
		[]string{"127.0.0.1:9090:9090"}) {
		t.Errorf("Prometheus is at %q", ports)
	}
	var boards struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	apptest.Must(t, yaml.Unmarshal(readFile(t, apptest.Shipped("grafana/dashboards.yaml")), &boards))
	if p := boards.Providers; len(p) != 1 || p[0].Type != "file" ||
		p[0].Options.Path != path.Dir(mountOf(t, s, "./grafana-dashboard.json")) {
		t.Errorf("%+v", boards)
	}
	if home := s.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]; home != mountOf(t, s,
		"./grafana-dashboard.json") {
		t.Errorf("the first page is %s", home)
	}
	for file, dir := range map[string]string{
		"datasources": "datasources",
		"dashboards":  "dashboards",
	} {
		if at := mountOf(t, s, "./grafana/"+file+".yaml"); path.Dir(
			at) != "/etc/grafana/provisioning/"+dir {
			t.Errorf("%s.yaml is at %s", file, at)
		}
	}
	if !strings.Contains(s.Environment["GF_SECURITY_ADMIN_PASSWORD"], ":?") {
		t.Error("Grafana may have its well-known password")
	}
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	apptest.Must(t, err)
	return data
}

func TestShippedPrometheus(t *testing.T) {
	data, err := os.ReadFile(apptest.Shipped("prometheus.yaml"))
	apptest.Must(t, err)
	var p struct {
		ScrapeConfigs []struct {
			MetricsPath   string `yaml:"metrics_path"`
			StaticConfigs []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	apptest.Must(t, yaml.Unmarshal(data, &p))
	var want []string
	for name, cfg := range fleetOf(t, shippedCompose(t)) {
		want = append(want, name+cfg.Admin.Listen)
	}
	slices.Sort(want)
	if len(p.ScrapeConfigs) != 1 || p.ScrapeConfigs[0].MetricsPath != "" ||
		len(p.ScrapeConfigs[0].StaticConfigs) != 1 {
		t.Fatalf("%+v", p)
	}
	if diff := cmp.Diff(want, p.ScrapeConfigs[0].StaticConfigs[0].Targets); diff != "" {
		t.Errorf("targets (-fleet +file):\n%s", diff)
	}
}
