// Package protocoltest is what every wire protocol has to pass: recorded and generated frames cut
// anywhere, transcripts of whole sessions, round trips between the gateway's and the tracker's
// side, and fuzzing. A protocol's own tests call it with what is particular to that protocol.
package protocoltest

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Vector is one recorded or generated frame, one line of a vectors file.
type Vector struct {
	ID          string `json:"id"`
	Direction   string `json:"direction"` // device->server, server->device, both, either
	Hex         string `json:"hex"`
	Description string `json:"description"`
	Source      string `json:"source,omitempty"`
	// Kind is captured, test-suite, test-suite-body, spec, manual, generated or derived.
	Kind       string `json:"kind"`
	ChecksumOK *bool  `json:"checksum_ok"`         // nil: the frame has none
	LengthOK   *bool  `json:"length_ok,omitempty"` // nil: as ChecksumOK says
	Message    string `json:"msg_id,omitempty"`
	// Where it is told: how many frames there are, what is answered to them, and whether the length
	// that one declares is right; where it is not, the frame is served all the same.
	Frames     *int    `json:"frames,omitempty"`
	Answer     *string `json:"answer,omitempty"`
	DeclaredOK *bool   `json:"declared_len_ok,omitempty"`
}

// kindGenerated marks, with kindDerived, the only vectors that a package may keep: the others carry
// ids and positions of strangers.
const kindGenerated = "generated"

// Origin is the id of the frame that v was derived from, else its own.
func (v Vector) Origin() string { return strings.TrimSuffix(v.ID, derivedSuffix) }

// IsDerived reports whether v is an anonymous copy: ids, texts, positions and times are invented.
func (v Vector) IsDerived() bool { return v.Kind == kindDerived }

// Bytes returns the frame.
func (v Vector) Bytes() []byte {
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		return nil // parseVectors has refused it already
	}
	return b
}

// Good reports whether the frame is one that a codec must accept: neither checksum nor length are
// known to be wrong.
func (v Vector) Good() bool {
	return (v.ChecksumOK == nil || *v.ChecksumOK) && (v.LengthOK == nil || *v.LengthOK)
}

// BodyOnly reports whether Hex is the body of a frame without its envelope.
func (v Vector) BodyOnly() bool { return strings.HasPrefix(v.Description, "BODY ONLY") }

// FromDevice and ToDevice say which way the frame travels; both hold for some.
func (v Vector) FromDevice() bool { return v.Direction != "server->device" }

// ToDevice reports whether the gateway may send the frame.
func (v Vector) ToDevice() bool { return v.Direction != "device->server" }

// Vectors reads the frames of a protocol: always those in the package's testdata/vectors.jsonl, all
// of which must be generated or derived (see Derived), and those of the folder of collected frames
// (file is a name in it, such as "jt808.jsonl"). That folder is named by TRACKCHAT_VECTORS, else it
// is ../shared/vectors beside the module's root. Without it the test fails where CI or
// TRACKCHAT_VECTORS is set; elsewhere it says so and goes on with the package's own.
func Vectors(tb testing.TB, file string) []Vector {
	tb.Helper()
	own := readVectors(tb, ownVectors)
	if len(own) == 0 {
		tb.Fatal("testdata/vectors.jsonl holds no frame")
	}
	known := map[string]string{}
	for _, v := range own {
		if v.Kind != kindGenerated && !v.IsDerived() {
			tb.Fatalf("%s is of kind %q: only generated and derived frames may be kept in testdata",
				v.ID, v.Kind)
		}
		known[v.ID] = v.Hex
	}
	folder, named := collected(tb)
	path := filepath.Join(folder, file)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if named {
			tb.Fatalf("no collected frames: %v", err)
		}
		tb.Logf("no collected frames (%s): only generated and derived ones are tested", file)
		return own
	}
	vectors := own
	for _, v := range readVectors(tb, path) {
		switch kept, here := known[v.ID]; {
		case !here && v.Kind == kindGenerated:
			tb.Errorf("generated frame %s is not in testdata/vectors.jsonl", v.ID)
		case here && kept != v.Hex:
			tb.Errorf("generated frame %s differs from the one in testdata/vectors.jsonl", v.ID)
		case !here:
			vectors = append(vectors, v)
		}
	}
	return vectors
}

// Frames reads the frames of a protocol for a test outside its package: those in its own testdata,
// and the collected ones where they are to be had (see Vectors).
func Frames(tb testing.TB, name string) []Vector {
	tb.Helper()
	frames := readVectors(tb, filepath.Join(moduleRoot(tb), "protocol", name, ownVectors))
	folder, named := collected(tb)
	path := filepath.Join(folder, fileOf(name))
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !named {
		return frames
	}
	return append(frames, readVectors(tb, path)...)
}

// fileOf is the file of a protocol's collected frames.
func fileOf(name string) string {
	if name == "wialon" {
		name = "wialon-ips"
	}
	return name + ".jsonl"
}

// collected returns the folder of collected frames, and whether it has to be there.
func collected(tb testing.TB) (folder string, named bool) {
	tb.Helper()
	folder = os.Getenv("TRACKCHAT_VECTORS")
	named = folder != "" || os.Getenv("CI") != ""
	if folder == "" {
		folder = filepath.Join(moduleRoot(tb), "..", "shared", "vectors")
	}
	return folder, named
}

func readVectors(tb testing.TB, path string) []Vector {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var vectors []Vector
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var v Vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		if _, err := hex.DecodeString(v.Hex); err != nil || v.Hex == "" || v.ID == "" {
			tb.Fatalf("%s: vector %q holds no bytes (%v)", path, v.ID, err)
		}
		vectors = append(vectors, v)
	}
	if err := lines.Err(); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return vectors
}

func moduleRoot(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod above the package")
		}
		dir = parent
	}
}
