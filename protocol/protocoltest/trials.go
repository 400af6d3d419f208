package protocoltest

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Trial is an input from a public report or firmware that was handled wrongly once. Its ids are
// invented.
type Trial struct {
	ID     string   `json:"id"`
	Hex    []string `json:"hex"`
	Frames [][]byte `json:"-"` // what the device says, in order
}

// Trials reads the trials of a file such as "jt808.jsonl", by their id. They lie in a folder beside
// that of the collected frames, see Vectors, and are not kept in the module: without them the test
// is skipped, or fails where CI or TRACKCHAT_VECTORS is set.
func Trials(tb testing.TB, file string) map[string]Trial {
	tb.Helper()
	folder, named := collected(tb)
	path := filepath.Join(filepath.Dir(filepath.Clean(folder)), "trials", file)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		tb.Skipf("no trials (%s)", file)
	}
	if err != nil {
		tb.Fatal(err)
	}
	trials := map[string]Trial{}
	for line := range strings.Lines(string(data)) {
		var t Trial
		if err := json.Unmarshal([]byte(line), &t); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		for _, h := range t.Hex {
			frame, err := hex.DecodeString(h)
			if err != nil {
				tb.Fatalf("%s: %s: %v", path, t.ID, err)
			}
			t.Frames = append(t.Frames, frame)
		}
		trials[t.ID] = t
	}
	return trials
}
