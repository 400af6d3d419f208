package protocoltest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/protocol/protocoltest"
)

// stopped is how recorder ends a test that is fatal.
type stopped struct{}

// recorder takes failures instead of the test that runs it.
type recorder struct {
	testing.TB

	problems []string
	logged   []string
}

func (r *recorder) Helper() {}
func (r *recorder) Logf(format string, args ...any) {
	r.logged = append(r.logged, fmt.Sprintf(format, args...))
}

func (r *recorder) Errorf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatal(args ...any) {
	r.problems = append(r.problems, fmt.Sprint(args...))
	panic(stopped{})
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// read reads vectors in a module whose package keeps own, beside a folder that holds collected
// (none where it is empty).
func read(t *testing.T, own, collected string) (r *recorder, vectors []protocoltest.Vector) {
	t.Helper()
	root := t.TempDir()
	put := func(name, content string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("module/go.mod", "module m\n")
	put("module/deep/pkg/testdata/vectors.jsonl", own)
	if collected != "" {
		put("shared/vectors/p.jsonl", collected)
	}
	t.Chdir(filepath.Join(root, "module/deep/pkg"))
	r = &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != (stopped{}) {
			panic(p)
		}
	}()
	vectors = protocoltest.Vectors(r, "p.jsonl")
	return r, vectors
}

const (
	generated = `{"id":"g1","direction":"device->server","hex":"7e00","kind":"generated","checksum_ok":true}` + "\n"
	captured  = `{"id":"c1","direction":"both","hex":"ff","kind":"captured","checksum_ok":null,"length_ok":false}` + "\n"
)

func TestDerivedVectorsAreThePackagesOwn(t *testing.T) {
	t.Setenv("CI", "")
	t.Setenv("TRACKCHAT_VECTORS", "")
	derived := strings.NewReplacer("g1", "c1-derived", "generated", "derived").Replace(generated)
	r, vectors := read(t, generated+derived, generated+captured)
	if len(r.problems) != 0 || len(vectors) != 3 {
		t.Fatalf("%v, %+v", r.problems, vectors)
	}
	if v := vectors[1]; v.Origin() != "c1" || !v.IsDerived() || vectors[2].IsDerived() {
		t.Errorf("%+v", vectors)
	}
}

func TestVectorsComeFromBothPlaces(t *testing.T) {
	t.Setenv("CI", "")
	t.Setenv("TRACKCHAT_VECTORS", "")
	r, vectors := read(t, generated, generated+captured)
	if len(r.problems) != 0 || len(vectors) != 2 {
		t.Fatalf("%v, %+v", r.problems, vectors)
	}
	g, c := vectors[0], vectors[1]
	if string(g.Bytes()) != "\x7e\x00" || !g.Good() || !g.FromDevice() || g.ToDevice() ||
		c.Good() || !c.FromDevice() || !c.ToDevice() {
		t.Errorf("%+v", vectors)
	}
}

func TestWithoutCollectedVectors(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string // the failure, empty: goes on
	}{
		"at home": {map[string]string{"CI": "", "TRACKCHAT_VECTORS": ""}, ""},
		"in CI": {
			map[string]string{"CI": "true", "TRACKCHAT_VECTORS": ""},
			"no collected frames",
		},
		"when demanded": {
			map[string]string{"CI": "", "TRACKCHAT_VECTORS": "nowhere"},
			"no collected frames",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			r, vectors := read(t, generated, "")
			if c.want == "" && (len(r.problems) != 0 || len(vectors) != 1 || len(r.logged) != 1) {
				t.Errorf("%v, logged %v, %+v", r.problems, r.logged, vectors)
			}
			if c.want != "" && (len(r.problems) != 1 || !strings.Contains(r.problems[0], c.want)) {
				t.Errorf("%v", r.problems)
			}
		})
	}
}

func TestVectorsThatAreRefused(t *testing.T) {
	t.Setenv("CI", "")
	t.Setenv("TRACKCHAT_VECTORS", "")
	for name, c := range map[string]struct{ own, collected, want string }{
		"a stranger's frame in the package": {
			generated + captured, "",
			"only generated and derived frames",
		},
		"nothing in the package": {"\n", "", "holds no frame"},
		"a generated frame is missing": {
			generated, strings.ReplaceAll(generated, "g1", "g2"),
			"is not in testdata",
		},
		"a generated frame differs": {generated, strings.ReplaceAll(generated, "7e00",
			"7e01"), "differs"},
		"not hexadecimal": {
			strings.ReplaceAll(generated, "7e00", "7e0"), "",
			"holds no bytes",
		},
		"not JSON": {"{", "", "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			if r, _ := read(t, c.own, c.collected); len(r.problems) != 1 ||
				!strings.Contains(r.problems[0], c.want) {
				t.Errorf("%v", r.problems)
			}
		})
	}
}
