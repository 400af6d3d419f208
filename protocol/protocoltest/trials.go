package protocoltest

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Trial is one input that a public bug report or firmware showed, one line of a trials file.
type Trial struct {
	ID       string      `json:"id"`
	Protocol string      `json:"protocol"`
	Hex      string      `json:"hex"`   // the device's frames, or
	Calls    [][2]string `json:"calls"` // what happens in order, with the device's bytes
}

// Frames returns the device's bytes, in order; empty ones where a call has none.
func (tr Trial) Frames(tb testing.TB) [][]byte {
	tb.Helper()
	if tr.Hex != "" {
		tr.Calls = append(tr.Calls, [2]string{"", tr.Hex})
	}
	frames := make([][]byte, len(tr.Calls))
	for i, call := range tr.Calls {
		b, err := hex.DecodeString(call[1])
		if err != nil {
			tb.Fatalf("%s: call %d: %v", tr.ID, i+1, err)
		}
		frames[i] = b
	}
	return frames
}

// FindTrial returns one trial of a file such as "west.jsonl", which lies in the folder trials beside
// that of the collected frames (see Vectors). Without the file the test is skipped: what a trial
// taught is in a transcript too.
func FindTrial(tb testing.TB, file, id string) Trial {
	tb.Helper()
	folder := os.Getenv("TRACKCHAT_VECTORS")
	if folder == "" {
		folder = filepath.Join(moduleRoot(tb), "..", "shared", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(folder, "..", "trials", file))
	if err != nil {
		tb.Skipf("no trials: %v", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for lines.Scan() {
		var known struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(lines.Bytes(), &known) != nil || known.ID != id {
			continue
		}
		var tr Trial
		if err := json.Unmarshal(lines.Bytes(), &tr); err != nil {
			tb.Fatalf("%s: %v", id, err)
		}
		return tr
	}
	tb.Fatalf("%s has no trial %s", file, id)
	return Trial{}
}
