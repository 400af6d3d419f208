package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/cmd/trackchat/apptest"
)

// TestBackupBesideARunningService: the copy of a store that a service uses becomes a store with the
// same messages, and the service goes on.
func TestBackupBesideARunningService(t *testing.T) {
	cfg := apptest.Config(t, 1)
	s := startService(t, cfg)
	s.Device(1, nil)
	sent := s.API.Send(1, "before the copy")
	s.API.Delivered(1, sent)
	cli := adminCLI{t, "http://" + s.Addrs["admin"]}
	cli.run("user", "create", "1",
		cli.file(`{"login":"ann","password":"secret","name":"Ann","role":"viewer"}`))
	cli.run("tracker", "import", cli.file(`{"account":{"id":1,"login":"demo",`+
		`"keys":["`+apptest.Key+`"],"groups":[{"id":9,"title":"North"}]}}`))
	export := cli.run("account", "export")
	config := filepath.Join(t.TempDir(), "trackchat.yaml")
	apptest.Must(t, os.WriteFile(config, []byte("store: {path: \""+cfg.Store.Path+"\"}\n"), 0o600))
	copied := filepath.Join(t.TempDir(), "copy.db")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"backup", copied, "--config", config}, &stdout,
		&stderr); code != 0 || !strings.HasPrefix(stdout.String(), copied+": ") ||
		stderr.Len() > 0 {
		t.Fatalf("exit code %d, output %q, errors %q", code, stdout.String(), stderr.String())
	}
	s.API.Delivered(1, s.API.Send(1, "after the copy"))

	restored := apptest.Config(t, 1)
	restored.Directory.File = ""
	apptest.Must(t, os.MkdirAll(restored.Store.Path, 0o700))
	apptest.Must(t, os.Rename(copied, filepath.Join(restored.Store.Path, "chat.db")))
	r := startService(t, restored)
	list := r.API.List(1)
	if len(list) != 1 || list[0].ID != sent || list[0].Text != "before the copy" ||
		list[0].Status != "DELIVERED" {
		t.Errorf("restored: %+v", list)
	}
	cli.url = "http://" + r.Addrs["admin"]
	if again := cli.run("account", "export"); again != export ||
		!strings.Contains(export, `"ann"`) {
		t.Errorf("restored\n%s\nfrom\n%s", again, export)
	}
}

func TestBackupCommandLine(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // the default store is ./data
	apptest.Must(t, apptest.OpenStore(t, filepath.Join(dir, "data")).Close())
	apptest.Must(t, os.WriteFile("precious", []byte("text"), 0o600))
	redis := filepath.Join(dir, "redis.yaml")
	apptest.Must(t, os.WriteFile(redis, []byte("store: {backend: redis}\n"), 0o600))
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"backup"}, 2, "one file to write is expected, 0 are given"},
		{[]string{"backup", "a", "b"}, 2, "2 are given"},
		{[]string{"backup", "a", "--colour"}, 2, "flag provided but not defined"},
		{[]string{"backup", "--help"}, 0, "-config"},
		{[]string{"backup", "precious"}, 1, "a backup overwrites nothing"},
		{[]string{"backup", "copy", "--config", "missing.yaml"}, 1, "reading the configuration"},
		{[]string{"backup", "copy", "--config", redis}, 1, "only the embedded store"},
		{[]string{"backup", "copy"}, 0, ""},
		{[]string{"backup", "--", "copy"}, 1, "a backup overwrites nothing"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), c.args, &stdout, &stderr); code != c.code ||
			!strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q: exit code %d, output %q, errors %q", c.args, code, stdout.String(),
				stderr.String())
		}
	}
	if text, err := os.ReadFile("precious"); err != nil || string(text) != "text" {
		t.Errorf("%q %v", text, err)
	}
}
