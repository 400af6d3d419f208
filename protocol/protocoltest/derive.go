package protocoltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"trackchat/protocol"
)

const (
	kindDerived   = "derived"
	derivedSuffix = "-derived"
	ownVectors    = "testdata/vectors.jsonl"
)

// ErrLeftOut is what a Derivation returns for a frame that it cannot make anonymous for certain.
var ErrLeftOut = errors.New("left out")

// Derivation says how a protocol's frames are made anonymous, and how that is checked.
type Derivation struct {
	File   string // of the collected frames
	Update bool   // write testdata/vectors.jsonl anew
	// Derive overwrites in a copy of the frame what its owner could be known by, and makes its
	// checksum as right or wrong as it was.
	Derive func(s *Scrubber, v Vector, frame []byte) ([]byte, error)
	// Secrets returns ids, positions and times of the frame as they lie in it, found in another
	// way.
	Secrets func(t *testing.T, v Vector, frame []byte) [][]byte
	// Prepare, Device and Settings are those of Options.
	Prepare  func(t *testing.T, c protocol.Codec, v Vector)
	Device   func(v Vector) protocol.DeviceConfig
	Settings map[string]string
	Unescape func(answer []byte) []byte // nil: nothing is escaped
	LeftOut  int                        // how many frames are left out
}

// Derived holds the derived frames in testdata/vectors.jsonl to the collected ones that they were
// made of: they are what Derive makes of these today, say nothing of those who own them, and mean
// the same. Update writes them.
func Derived(t *testing.T, p *protocol.Protocol, d Derivation) {
	t.Helper()
	folder, named := collected(t)
	path := filepath.Join(folder, d.File)
	if _, err := os.Stat(path); err != nil && !named {
		t.Skipf("no collected frames (%s)", d.File)
	}
	var derived []Vector
	left := 0
	for _, v := range readVectors(t, path) {
		if v.Kind == kindGenerated || v.Kind == kindDerived {
			continue
		}
		w, err := d.derive(v)
		if errors.Is(err, ErrLeftOut) {
			left++
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		derived = append(derived, w)
		t.Run(w.ID, func(t *testing.T) {
			d.anonymous(t, p, v, w)
			d.alike(t, p, v, w)
		})
	}
	if left != d.LeftOut || len(derived) == 0 {
		t.Errorf("%d derived, %d left out, not %d", len(derived), left, d.LeftOut)
	}
	d.kept(t, derived)
}

// derive tries until what was invented needs as many bytes as what it stands for: an escape more or
// less would make another frame of it.
func (d *Derivation) derive(v Vector) (Vector, error) {
	const attempts = 20_000
	for attempt := range attempts {
		b, err := d.Derive(newScrubber(v.ID, attempt), v, v.Bytes())
		if err != nil {
			return v, err
		}
		if len(b) != len(v.Bytes()) {
			continue
		}
		v.ID += derivedSuffix
		v.Kind = kindDerived
		v.Hex = fmt.Sprintf("%x", b)
		v.Answer = nil // it may name the owner
		v.Description = plainDescription(v.Description)
		return v, nil
	}
	return v, errors.New("nothing of the same length was found")
}

// kept compares what testdata keeps, or writes it.
func (d *Derivation) kept(t *testing.T, derived []Vector) {
	t.Helper()
	before, err := os.ReadFile(ownVectors)
	if err != nil {
		t.Fatal(err)
	}
	var after bytes.Buffer
	for line := range strings.Lines(string(before)) {
		var v Vector
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		if v.Kind == kindGenerated {
			after.WriteString(line)
		}
	}
	lines := json.NewEncoder(&after)
	lines.SetEscapeHTML(false)
	for _, v := range derived {
		if err := lines.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case bytes.Equal(before, after.Bytes()):
	case d.Update && !t.Failed():
		if err := os.WriteFile(ownVectors, after.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what comes of the collected frames: run this test with -update",
			ownVectors)
	}
}

// plainDescription drops from a description what it quotes of the frame.
func plainDescription(s string) string {
	for _, r := range []struct{ what, by string }{
		{`,? ?\S*(text|payload|auth code|auth|of) b?['"].*['"]`, ""},
		{`b?'.*'|".*"|; server must answer \w+`, ""},
		{`,? ?(phone|OID|IMEI|TID|CD=?|CRC16) ?[0-9a-fA-F]+`, ""},
		{`[0-9a-fA-F]*[0-9][0-9a-fA-F]{5,}|[0-9]{6,}`, ""},
		{` +`, " "},
	} {
		s = regexp.MustCompile(r.what).ReplaceAllString(s, r.by)
	}
	return strings.TrimSpace(s)
}
