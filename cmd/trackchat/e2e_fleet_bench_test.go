package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue/queuetest"
)

// BenchmarkFleet has BENCH_DEVICES (2,000) trackers on two gateways and sends BENCH_RATE (500)
// texts a second to them, one request each, through an API elsewhere, for BENCH_SECONDS (10). It
// reports the time from when a text was to be submitted to its arrival at the device; what is late
// because an earlier one was slow counts. Set TRACKCHAT_BIN to a built trackchat to measure that.
func BenchmarkFleet(b *testing.B) {
	for name, start := range map[string]func(testing.TB) (servers []*queuetest.RedisServer,
		durability string){
		"redis-always": func(tb testing.TB) ([]*queuetest.RedisServer, string) {
			tb.Helper()
			return fleetStores["redis"](tb), config.DurabilityAlways
		},
		"redis-everysec": func(tb testing.TB) ([]*queuetest.RedisServer, string) {
			tb.Helper()
			return []*queuetest.RedisServer{queuetest.StartRedis(tb, "--appendfsync", "everysec")},
				config.DurabilityEverysec
		},
		"cluster-always": func(tb testing.TB) ([]*queuetest.RedisServer, string) {
			tb.Helper()
			return fleetStores["cluster"](tb), config.DurabilityAlways
		},
	} {
		b.Run(name, func(b *testing.B) {
			devices := fromEnvironment(b, "BENCH_DEVICES", 2000)
			servers, durability := start(b)
			for _, server := range servers {
				server.Must(b, "CONFIG", "SET", "latency-monitor-threshold", "5")
			}
			f := startFleet(b, servers, fleetOptions{trackers: devices, durability: durability})
			var round atomic.Pointer[pushes]
			playFleet(b, f, devices, func(text string, at time.Time) {
				round.Load().arrive(b, text,
					at)
			})
			for b.Loop() {
				pushes := newPushes(fromEnvironment(b, "BENCH_RATE", 500), fromEnvironment(b,
					"BENCH_SECONDS", 10))
				round.Store(pushes)
				pushes.send(b, f.api.Client(), devices)
				took := pushes.await(b)
				b.ReportMetric(milliseconds(took, 0.5), "p50-ms")
				b.ReportMetric(milliseconds(took, 0.99), "p99-ms")
				b.ReportMetric(milliseconds(took, 1), "max-ms")
			}
			for _, server := range servers {
				// event, when, last ms, most ms: a slow disk shows as aof-fsync-always, a busy
				// processor as command
				b.Logf("what Redis was held up by: %q", server.Must(b, "LATENCY", "LATEST"))
			}
			if n := f.sum("trackchat_wake_missed_total"); n != 0 {
				b.Errorf("%v wakes were missed", n)
			}
		})
	}
}

func fromEnvironment(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	apptest.Must(b, err)
	return n
}

// playFleet logs devices 1 to n in, half of them to each gateway, and tells which text they show
// when.
func playFleet(b *testing.B, f *fleet, n int, shown func(text string, at time.Time)) {
	b.Helper()
	sims, buffers := make([]*trackersim.Tracker, n), new(trackersim.Buffers)
	for i := range sims {
		sims[i] = apptest.PlayDevice(b, f.gateways[i/2%2].Ports[apptest.ProtocolOf(i+1)], i+1,
			func(o *trackersim.Options) {
				o.Buffers = buffers
				o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
					shown(e.Body, time.Now())
					return trackersim.Action{}
				}
			})
	}
	for _, sim := range sims {
		apptest.Must(b, sim.Await(b.Context(),
			func(st trackersim.Stats) bool { return st.LoggedIn }))
	}
}

// pushes are texts that are sent at planned times. A text's body is its number.
type pushes struct {
	planned []time.Time
	took    []time.Duration // element n is written by the device that text n is for
	missing sync.WaitGroup
}

func newPushes(rate, seconds int) *pushes {
	p := &pushes{planned: make([]time.Time, rate*seconds), took: make([]time.Duration,
		rate*seconds)}
	p.missing.Add(len(p.took))
	begin := time.Now().Add(100 * time.Millisecond)
	for n := range p.planned {
		p.planned[n] = begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
	}
	return p
}

func (p *pushes) arrive(b *testing.B, text string, at time.Time) {
	b.Helper()
	n, err := strconv.Atoi(text)
	if err != nil || p.took[n] != 0 {
		b.Errorf("shown, or shown again: %q", text)
		return
	}
	p.took[n] = at.Sub(p.planned[n])
	p.missing.Done()
}

// send sends each text when it is due, to one device after the other.
func (p *pushes) send(b *testing.B, c apptest.Client, devices int) {
	b.Helper()
	var next atomic.Int64
	var senders sync.WaitGroup
	for range 64 {
		senders.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(p.planned); n = int(next.Add(1)) - 1 {
				pause(b.Context(), time.Until(p.planned[n]))
				a, err := c.Try("send", url.Values{
					"tracker_id": {strconv.Itoa(n%devices + 1)},
					"message":    {strconv.Itoa(n)},
				})
				if err != nil || !a.Success {
					b.Errorf("text %d: %+v %v", n, a, err)
				}
			}
		})
	}
	senders.Wait()
}

// await returns how long the texts took, sorted, when all have arrived.
func (p *pushes) await(b *testing.B) []time.Duration {
	b.Helper()
	all := make(chan struct{})
	go func() {
		p.missing.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(apptest.Patience):
		b.Fatal("not all texts have arrived")
	}
	return slices.Sorted(slices.Values(p.took))
}

// milliseconds is a quantile of sorted times.
func milliseconds(sorted []time.Duration, quantile float64) float64 {
	return sorted[int(quantile*float64(len(sorted)-1))].Seconds() * 1000
}

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
		// odd ones speak JT/T 808
		c := apptest.NewChild(b, apptest.ChildOptions{Trackers: 2 * sessions})
		c.Start()
		settle := func() map[string]int64 {
			time.Sleep(3 * time.Second)
			return residentMemory(b, c.Cmd.Process.Pid)
		}
		before := settle()
		start := time.Now()
		conns := make([]net.Conn, 0, sessions)
		for i := range sessions {
			conns = append(conns, quietTracker(b, c.Ports["jt808"], 2*i+1))
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
		c.Kill()
	}
}

// quietTracker logs a device in and leaves it there.
func quietTracker(b *testing.B, addr string, id int) net.Conn {
	b.Helper()
	p, _ := all.Find("jt808")
	settings, err := p.NewSettings()
	apptest.Must(b, err)
	side := p.NewDevice(protocol.DeviceConfig{ID: apptest.DeviceOf(id), Settings: settings})
	nc, err := net.Dial("tcp", addr)
	apptest.Must(b, err)
	_, err = nc.Write(side.AppendLogin(nil))
	apptest.Must(b, err)
	chunk, buf := make([]byte, 512), []byte(nil)
	for in := false; !in; {
		n, err := nc.Read(chunk)
		apptest.Must(b, err)
		buf = append(buf, chunk[:n]...)
		out, used, err := side.Feed(nil, buf, func(e protocol.DeviceEvent) {
			in = in ||
				e.Kind == protocol.DeviceLoggedIn
		})
		apptest.Must(b, err)
		buf = buf[used:]
		if len(out) > 0 {
			_, err = nc.Write(out)
			apptest.Must(b, err)
		}
	}
	return nc
}

// residentMemory returns figures about the resident memory of a process in bytes: all of it, and
// what is no file's, which the kernel takes back as it likes.
func residentMemory(b *testing.B, pid int) map[string]int64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	apptest.Must(b, err)
	figures := map[string]int64{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "VmRSS" && name != "RssAnon" {
			continue
		}
		kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
		apptest.Must(b, err)
		figures[name] = kb << 10
	}
	return figures
}
