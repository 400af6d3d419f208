package gateway_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// trial returns what a device sends in an input that a public report showed, by its id in a file of
// the folder beside the collected vectors. Without that folder a test of it is skipped, unless it
// has to run.
func trial(t *testing.T, file, id string) [][]byte {
	t.Helper()
	folder := os.Getenv("TRACKCHAT_VECTORS")
	named := folder != "" || os.Getenv("CI") != ""
	if folder == "" {
		folder = filepath.Join("..", "..", "shared", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Clean(folder)), "trials", file))
	if errors.Is(err, fs.ErrNotExist) && !named {
		t.Skip("no trials beside the module")
	}
	must(t, err)
	for line := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
		var tr struct {
			ID    string
			Hex   any
			Calls []any
		}
		must(t, json.Unmarshal([]byte(line), &tr))
		if tr.ID == id {
			return hexIn(t, tr.Hex, tr.Calls)
		}
	}
	t.Fatalf("%s has no trial %s", file, id)
	return nil
}

// hexIn returns the frames of a trial's field hex, where it has none those of its calls.
func hexIn(t *testing.T, list any, calls []any) [][]byte {
	t.Helper()
	frames, _ := list.([]any)
	if frames == nil {
		for _, call := range calls {
			if pair, ok := call.([]any); ok && len(pair) == 2 {
				frames = append(frames, pair[1])
			}
		}
	}
	var out [][]byte
	for _, f := range frames {
		text, _ := f.(string)
		b, err := hex.DecodeString(text)
		must(t, err)
		out = append(out, b)
	}
	return out
}

// pipe is a bare connection to a listener.
func (r *rig) pipe(proto string) *device {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addrs[proto])
	must(r.t, err)
	r.t.Cleanup(func() { _ = nc.Close() })
	return &device{t: r.t, nc: nc}
}

// until reads raw bytes until they contain what is wanted, and returns all of them.
func (d *device) until(want string) string {
	d.t.Helper()
	must(d.t, d.nc.SetReadDeadline(time.Now().Add(patience)))
	chunk := make([]byte, 4<<10)
	for !strings.Contains(string(d.buf), want) {
		n, err := d.nc.Read(chunk)
		if err != nil {
			d.t.Fatalf("waiting for %q: %v; got %q", want, err, d.buf)
		}
		d.buf = append(d.buf, chunk[:n]...)
	}
	return string(d.buf)
}
