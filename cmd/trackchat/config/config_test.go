package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the expected problems of testdata anew")

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// golden compares what an error says with the .want file beside a .yaml file; "ok" is no error.
func golden(t *testing.T, file string, err error) {
	t.Helper()
	got := "ok\n"
	if err != nil {
		var ce *Error
		if !errors.As(err, &ce) {
			t.Fatalf("not a ConfigError: %v", err)
		}
		// What is built in grows.
		got = strings.ReplaceAll(strings.Join(ce.Problems, "\n")+"\n",
			"built in: "+strings.Join(ProtocolNames(), ", "), "built in: …")
		got = regexp.MustCompile(`\(it has: [^)]*\)`).ReplaceAllString(got, "(it has: …)")
	}
	want := strings.TrimSuffix(file, ".yaml") + ".want"
	if *update {
		must(t, os.WriteFile(want, []byte(got), 0o600))
	}
	expected, err := os.ReadFile(want)
	must(t, err)
	if diff := cmp.Diff(string(expected), got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("a secret is shown:\n%s", got)
	}
}

func cases(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	must(t, err)
	if len(files) == 0 {
		t.Fatalf("no cases in testdata/%s", dir)
	}
	return files
}

func name(file string) string { return strings.TrimSuffix(filepath.Base(file), ".yaml") }

// caseEnviron is the environment of the files in testdata/config.
func caseEnviron(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	writeCertificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	writeCertificate(t, filepath.Join(dir, "unused.pem"), filepath.Join(dir, "other.pem"))
	return []string{"DIR=" + dir, "NAME=north", "NUMBER=7070", "SECRET=hunter2 hunter2"}
}

// writeCertificate makes a self-signed certificate and its key.
func writeCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{
		Type:  "PRIVATE KEY",
		Bytes: private,
	}), 0o600))
}

func TestConfigFiles(t *testing.T) {
	for _, file := range cases(t, "config") {
		t.Run(name(file), func(t *testing.T) {
			c, err := Load(file, caseEnviron(t))
			if (c == nil) == (err == nil) {
				t.Errorf("configuration %v and error %v together", c, err)
			}
			golden(t, file, err)
		})
	}
}

// load reads a configuration that is right.
func load(t *testing.T, file string, environ ...string) *Config {
	t.Helper()
	c, err := Load(file, environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testdata(parts ...string) string {
	return filepath.Join(append([]string{"testdata"}, parts...)...)
}

func TestConfigDefaults(t *testing.T) {
	host, err := os.Hostname()
	must(t, err)
	want := Default()
	want.Node = host
	for _, file := range []string{"", testdata("config", "empty.yaml"), testdata("config",
		"comments.yaml"), testdata("config", "sections_without_keys.yaml")} {
		if diff := cmp.Diff(want, load(t, file)); diff != "" {
			t.Errorf("%q (-default +got):\n%s", file, diff)
		}
	}
}

func TestConfigScalarsKeepTheirText(t *testing.T) {
	c := load(t, testdata("config", "scalars_keep_their_text.yaml"))
	want := Listener{
		Protocol: "jt808", Listen: ":6808",
		Settings: map[string]string{"lenient": "true", "part_bytes": "500"},
	}
	if diff := cmp.Diff([]Listener{want}, c.Gateway.Listeners); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if c.Node != "007" || c.Store.Redis.Username != "0x10" {
		t.Errorf("node %q, username %q", c.Node, c.Store.Redis.Username)
	}
}

func TestConfigZeroSwitchesLimitsOff(t *testing.T) {
	c := load(t, testdata("config", "limits_off.yaml"))
	if diff := cmp.Diff(Limits{}, c.Gateway.Limits); diff != "" || c.Store.Retention != 0 ||
		c.API.RateLimit != 0 || len(c.API.CORSOrigins) != 0 {
		t.Errorf("limits %s, retention %v, rate %v, origins %q", diff, c.Store.Retention,
			c.API.RateLimit, c.API.CORSOrigins)
	}
}

func TestConfigVariables(t *testing.T) {
	c := load(t, testdata("config", "variables.yaml"), caseEnviron(t)...)
	if c.Node != "north-7070" || c.API.RateLimit != 7070 || c.API.Listen != "127.0.0.1:7070" ||
		c.Admin.Token != "${NAME}$" {
		t.Errorf("node %q, rate %v, listen %q, token %q", c.Node, c.API.RateLimit, c.API.Listen,
			c.Admin.Token)
	}
}

func TestConfigFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.yaml")
	must(t, os.WriteFile(huge, make([]byte, maxConfigFile+1), 0o600))
	for _, file := range []string{filepath.Join(dir, "missing.yaml"), dir, huge} {
		_, err := Load(file, nil)
		var ce *Error
		if err == nil || errors.As(err, &ce) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A report stays readable, however much is wrong.
func TestConfigErrorIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "many.yaml")
	must(t, os.WriteFile(file, []byte("roles: ["+strings.Repeat("x, ", 5000)+"x]"), 0o600))
	_, err := Load(file, nil)
	var ce *Error
	if !errors.As(err, &ce) || len(ce.Problems) != maxProblems+1 ||
		!strings.HasPrefix(ce.Problems[maxProblems], "and ") {
		t.Errorf("%v", err)
	}
	if text := err.Error(); !strings.HasPrefix(text, "101 problems:\n  roles[0] (line 1): ") {
		t.Errorf("error begins %.60q", text)
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob(testdata("config", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, filepath.Join("..", "..", "..", "configs", "trackchat.yaml")) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a: &a [*a, *a]\ngateway: &g { listeners: *a, limits: *g }\n"))
	f.Add([]byte("gateway: {listeners: [{settings: {? {} : 1}}]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "fuzz.yaml")
		must(t, os.WriteFile(file, data, 0o600))
		c, err := Load(file, []string{"NAME=x"})
		switch {
		case err == nil && (c == nil || len(c.Roles) == 0 || len(c.Gateway.Listeners) == 0):
			t.Errorf("a configuration that cannot run: %+v", c)
		case err != nil && (c != nil || strings.TrimSpace(err.Error()) == ""):
			t.Errorf("configuration %v with error %q", c, err)
		}
	})
}
