package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/all"
)

// BenchmarkIdleSessions logs BENCH_SESSIONS (18,000) quiet JT/T 808 trackers in to a service in a
// process of its own and reports what each costs it in resident memory: VmRSS with the pages of
// files, RssAnon without them. Set TRACKCHAT_BIN to a built trackchat: the test binary itself
// carries the tests' packages.
func BenchmarkIdleSessions(b *testing.B) {
	sessions := 18_000
	if n, err := strconv.Atoi(os.Getenv("BENCH_SESSIONS")); err == nil {
		sessions = n
	}
	for b.Loop() {
		c := newChild(b, childOptions{trackers: 2 * sessions}) // odd ones speak JT/T 808
		c.start()
		settle := func() map[string]int64 {
			time.Sleep(3 * time.Second)
			return residentMemory(b, c.cmd.Process.Pid)
		}
		before := settle()
		start := time.Now()
		conns := make([]net.Conn, 0, sessions)
		for i := range sessions {
			conns = append(conns, quietTracker(b, c.ports["jt808"], 2*i+1))
		}
		took := time.Since(start)
		after := settle()
		for name, bytes := range after {
			b.ReportMetric(float64(bytes-before[name])/float64(sessions), name+"-B/session")
		}
		b.ReportMetric(float64(sessions)/took.Seconds(), "logins/s")
		for _, nc := range conns {
			_ = nc.Close()
		}
		c.kill()
	}
}

// quietTracker logs a device in and leaves it there.
func quietTracker(b *testing.B, addr string, id int) net.Conn {
	b.Helper()
	p, _ := all.Find("jt808")
	settings, err := p.NewSettings()
	must(b, err)
	side := p.NewDevice(protocol.DeviceConfig{ID: deviceOf(id), Settings: settings})
	nc, err := net.Dial("tcp", addr)
	must(b, err)
	_, err = nc.Write(side.AppendLogin(nil))
	must(b, err)
	chunk, buf := make([]byte, 512), []byte(nil)
	for in := false; !in; {
		n, err := nc.Read(chunk)
		must(b, err)
		buf = append(buf, chunk[:n]...)
		out, used, err := side.Feed(nil, buf, func(e protocol.DeviceEvent) {
			in = in ||
				e.Kind == protocol.DeviceLoggedIn
		})
		must(b, err)
		buf = buf[used:]
		if len(out) > 0 {
			_, err = nc.Write(out)
			must(b, err)
		}
	}
	return nc
}

// residentMemory returns figures about the resident memory of a process in bytes: all of it, and
// what is no file's, which the kernel takes back as it likes.
func residentMemory(b *testing.B, pid int) map[string]int64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	figures := map[string]int64{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "VmRSS" && name != "RssAnon" {
			continue
		}
		kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
		must(b, err)
		figures[name] = kb << 10
	}
	return figures
}
