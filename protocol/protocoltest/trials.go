package protocoltest

import (
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

// Trial is an input from a public report or firmware that was handled wrongly once. Its ids are
// invented.
type Trial struct {
	ID string
	// what the device says, in order: frames of each call, none where it says nothing.
	Calls [][][]byte
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
		t, err := parseTrial(line)
		if err != nil {
			tb.Fatalf("%s: %s: %v", path, t.ID, err)
		}
		trials[t.ID] = t
	}
	return trials
}

// Frames returns what the device says in each call, all in one.
func (t Trial) Frames() [][]byte {
	frames := make([][]byte, len(t.Calls))
	for i, call := range t.Calls {
		frames[i] = bytes.Join(call, nil)
	}
	return frames
}

// parseTrial reads a line: its frames are in hex, one or several, or in calls, each after a word
// that says what happens.
func parseTrial(line string) (Trial, error) {
	var raw struct {
		ID    string          `json:"id"`
		Hex   json.RawMessage `json:"hex"`
		Calls json.RawMessage `json:"calls"`
	}
	if err := json.Unmarshal([]byte(line), &raw); err != nil {
		return Trial{}, err
	}
	t := Trial{ID: raw.ID}
	var one string
	var several []string
	var calls [][2]string
	switch {
	case json.Unmarshal(raw.Hex, &one) == nil && one != "":
		several = []string{one}
	case json.Unmarshal(raw.Hex, &several) == nil && several != nil:
	default:
		if err := json.Unmarshal(raw.Calls, &calls); err != nil {
			return t, err
		}
		for _, call := range calls {
			several = append(several, call[1])
		}
	}
	for _, said := range several {
		var frames [][]byte
		for h := range strings.FieldsSeq(said) {
			frame, err := hex.DecodeString(h)
			if err != nil && calls == nil {
				return t, err
			}
			if err == nil { // else words, not bytes
				frames = append(frames, frame)
			}
		}
		t.Calls = append(t.Calls, frames)
	}
	return t, nil
}
