package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/all"
)

// BenchmarkIdleSessions logs BENCH_SESSIONS (18,000) quiet JT/T 808 trackers in to a service in a
// process of its own and reports what each costs it in resident memory. Set TRACKCHAT_BIN to a
// built trackchat: the test binary itself carries the tests' packages.
func BenchmarkIdleSessions(b *testing.B) {
	sessions := 18_000
	if n, err := strconv.Atoi(os.Getenv("BENCH_SESSIONS")); err == nil {
		sessions = n
	}
	for b.Loop() {
		c := newChild(b, childOptions{trackers: 2 * sessions}) // odd ones speak JT/T 808
		c.start()
		settle := func() int64 {
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
		b.ReportMetric(float64(after-before)/float64(sessions), "RSS-B/session")
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

// residentMemory returns the anonymous resident memory of a process in bytes: what the kernel keeps
// of files comes and goes.
func residentMemory(b *testing.B, pid int) int64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("RssAnon:")); ok {
			kb, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			must(b, err)
			return kb << 10
		}
	}
	b.Fatal("no RssAnon")
	return 0
}
