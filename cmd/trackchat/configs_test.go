package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trackchat/protocol/all"
	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// shipped is a file of the repository's configs.
func shipped(name string) string { return filepath.Join("..", "..", "configs", name) }

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
	for _, s := range settingsOf(nil, envPrefix, reflect.ValueOf(DefaultConfig()).Elem()) {
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
		Keys: []queue.KeyHash{queue.HashKey("a6aa75587e5c59c32d347da438505fc3")},
	}
	if diff := cmp.Diff([]queue.Account{want}, f.Accounts); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	if f.Passwords[1] != "demo" || len(f.Trackers) != 2 || f.Trackers[0].ID != 999199 {
		t.Errorf("password %q, trackers %+v", f.Passwords[1], f.Trackers)
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
	for _, p := range all.Protocols() {
		if !strings.Contains(comment, p.Name) {
			t.Errorf("configs/directory.yaml does not name the protocol %s", p.Name)
		}
	}
}

// The image publishes the API and every protocol's port.
func TestImageExposesEveryPort(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	must(t, err)
	_, after, _ := strings.Cut(string(data), "\nEXPOSE ")
	line, _, _ := strings.Cut(after, "\n")
	want := []string{"8080"}
	for _, p := range all.Protocols() {
		want = append(want, strconv.Itoa(p.Port))
	}
	if got := strings.Fields(line); !slices.Equal(got, want) {
		t.Errorf("the Dockerfile exposes %v, not %v", got, want)
	}
}

// The unit starts what the README installs, with what a gateway needs: descriptors, a place for its
// store, SIGHUP as reload.
func TestShippedUnit(t *testing.T) {
	data, err := os.ReadFile(shipped("trackchat.service"))
	must(t, err)
	lines := strings.Split(string(data), "\n")
	for _, want := range []string{
		"ExecStart=/usr/local/bin/trackchat serve --config /etc/trackchat/trackchat.yaml",
		"ExecReload=/bin/kill -HUP $MAINPID",
		"DynamicUser=yes", "StateDirectory=trackchat", "WorkingDirectory=%S/trackchat",
		"LimitNOFILE=1048576", "[Install]",
	} {
		found := false
		for _, line := range lines {
			found = found || line == want
		}
		if !found {
			t.Errorf("configs/trackchat.service has no line %q", want)
		}
	}
}
