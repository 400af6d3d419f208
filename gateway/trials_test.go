package gateway_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"trackchat/protocol/protocoltest"
)

// trial returns what a device sends in an input that a public report showed.
func trial(t *testing.T, file, id string) [][]byte {
	t.Helper()
	return protocoltest.Trials(t, file)[id].Frames()
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
