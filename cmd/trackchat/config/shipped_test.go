package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trackchat/protocol/all"
	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestShippedConfigurationIsTheDefault(t *testing.T) {
	if diff := cmp.Diff(load(t, ""), load(t, shipped("trackchat.yaml"))); diff != "" {
		t.Errorf("configs/trackchat.yaml (-default +file):\n%s", diff)
	}
}

// Every key is in the file, so that nobody has to look for one elsewhere; those of a listener that
// are off by default are in its comments.
func TestShippedConfigurationHasEveryKey(t *testing.T) {
	data, err := os.ReadFile(shipped("trackchat.yaml"))
	must(t, err)
	root, err := parseYAML(data)
	must(t, err)
	for _, s := range settingsOf(nil, envPrefix, reflect.ValueOf(Default()).Elem()) {
		n := root
		for key := range strings.SplitSeq(s.path.String(), ".") {
			if n = childNode(n, key); n == nil {
				t.Errorf("configs/trackchat.yaml has no %s", s.path)
				break
			}
		}
	}
	_, after, _ := strings.Cut(string(data), "\ngateway:\n")
	comment, _, _ := strings.Cut(after, "\n  listeners:\n")
	for key := range new(decoder).fieldsOf(reflect.TypeFor[Listener]()) {
		if !strings.Contains(comment, key) && key != "protocol" && key != "listen" {
			t.Errorf("the comment before gateway.listeners does not name %s", key)
		}
	}
}

// TestShippedConfigurationShowsAnUpstream: the block in the comments is that of the defaults, with
// every key.
func TestShippedConfigurationShowsAnUpstream(t *testing.T) {
	data, err := os.ReadFile(shipped("trackchat.yaml"))
	must(t, err)
	const head = "  #     upstream:\n"
	before, after, found := strings.Cut(string(data), head)
	if !found {
		t.Fatal("configs/trackchat.yaml shows no upstream")
	}
	block := "    - protocol: jt808\n      upstream:\n"
	for line := range strings.Lines(after) {
		key, ok := strings.CutPrefix(line, "  #       ")
		if !ok {
			break
		}
		block += "        " + strings.Replace(key, `address: ""`, `address: "a.example:1"`, 1)
	}
	for key := range new(decoder).fieldsOf(reflect.TypeFor[Upstream]()) {
		if !strings.Contains(block, "        "+key+": ") {
			t.Errorf("the upstream in configs/trackchat.yaml has no %s", key)
		}
	}
	if strings.Contains(before, head) {
		t.Error("configs/trackchat.yaml shows two upstreams")
	}
	file := filepath.Join(t.TempDir(), "upstream.yaml")
	must(t, os.WriteFile(file, []byte("gateway:\n  listeners:\n"+block), 0o600))
	want := DefaultUpstream()
	want.Address = "a.example:1"
	if diff := cmp.Diff(&want, load(t, file).Gateway.Listeners[0].Upstream); diff != "" {
		t.Errorf("upstream (-default +file):\n%s", diff)
	}
}

func childNode(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func TestShippedDirectory(t *testing.T) {
	f, err := LoadDirectory(shipped("directory.yaml"))
	must(t, err)
	want := queue.Account{
		ID: 1, Login: "demo", Title: "Demo fleet", TimeZone: "Europe/Berlin",
		Keys: []queue.Key{
			{Hash: queue.HashKey("a6aa75587e5c59c32d347da438505fc3")},
			{
				Hash: queue.HashKey("5d0f2c4b8e1a47f39c6d7b2e0a813f64"), Name: "Fleet system",
				Role: queue.RoleDispatcher, EndMs: 1_893_456_000_000,
			},
		},
		People: &queue.People{Users: []queue.User{{
			ID: 1, Login: "ann", Name: "Ann Lee", Role: queue.RoleDispatcher, Locale: "en_US",
		}}},
	}
	if diff := cmp.Diff([]queue.Account{want}, f.Accounts); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	passwords := map[Holder]string{{Account: 1}: "demo", {Account: 1, User: 1}: "demo"}
	if !maps.Equal(f.Passwords, passwords) || len(f.Trackers) != 2 || f.Trackers[0].ID != 999199 {
		t.Errorf("passwords %v, trackers %+v", f.Passwords, f.Trackers)
	}
	data, err := os.ReadFile(shipped("directory.yaml"))
	must(t, err)
	comment, _, _ := strings.Cut(string(data), "\ntrackers:")
	for _, entry := range []reflect.Type{
		reflect.TypeFor[accountEntry](),
		reflect.TypeFor[trackerEntry](),
	} {
		for key := range new(decoder).fieldsOf(entry) {
			if !strings.Contains(comment, "\n#   "+key+" ") {
				t.Errorf("configs/directory.yaml does not explain %s of %s", key, entry.Name())
			}
		}
	}
	for _, entry := range []reflect.Type{
		reflect.TypeFor[keyEntry](),
		reflect.TypeFor[userEntry](),
		reflect.TypeFor[groupEntry](),
		reflect.TypeFor[templateEntry](),
	} {
		for key := range new(decoder).fieldsOf(entry) {
			if !regexp.MustCompile(`\n#  .*\b` + key + `\b`).MatchString(comment) {
				t.Errorf("configs/directory.yaml does not explain %s of %s", key, entry.Name())
			}
		}
	}
	for _, p := range all.Protocols() {
		if !strings.Contains(comment, p.Name) {
			t.Errorf("configs/directory.yaml does not name the protocol %s", p.Name)
		}
	}
}

// TestShippedRedisConfiguration is the default but for what its comments say, and tells every key
// about Redis.
func TestShippedRedisConfiguration(t *testing.T) {
	got, err := Load(shipped("trackchat.redis.yaml"), []string{"REDIS_PASSWORD=secret"})
	must(t, err)
	want := load(t, "")
	want.Store.Backend, want.Store.Redis.Password = BackendRedis, "secret"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configs/trackchat.redis.yaml (-expected +file):\n%s", diff)
	}
	data, err := os.ReadFile(shipped("trackchat.redis.yaml"))
	must(t, err)
	root, err := parseYAML(data)
	must(t, err)
	for _, key := range []string{"addrs", "username", "password", "tls", "master"} {
		if childNode(childNode(childNode(root, "store"), "redis"), key) == nil {
			t.Errorf("configs/trackchat.redis.yaml has no store.redis.%s", key)
		}
	}
	if _, err := Load(shipped("trackchat.redis.yaml"), nil); err == nil ||
		!strings.Contains(err.Error(), "REDIS_PASSWORD") {
		t.Errorf("without a password: %v", err)
	}
}

// TestEmbeddedStoreNeedsBothRoles: a process with one role would be alone with its file.
func TestEmbeddedStoreNeedsBothRoles(t *testing.T) {
	for _, role := range []string{RoleAPI, RoleGateway} {
		roles := fmt.Sprintf(`TRACKCHAT_ROLES=[%q]`, role)
		if _, err := Load("", []string{roles}); err == nil ||
			!strings.Contains(err.Error(),
				"the embedded store needs api and gateway in one process") {
			t.Errorf("%s alone: %v", role, err)
		}
		if cfg, err := Load("", []string{roles, "TRACKCHAT_STORE_BACKEND=redis"}); err != nil ||
			!slices.Equal(cfg.Roles, []string{role}) {
			t.Errorf("%s alone on Redis: %v", role, err)
		}
	}
}

// shipped is a file of the repository's configs.
func shipped(name string) string { return filepath.Join("..", "..", "..", "configs", name) }
