package gateway_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// benchGateway runs a gateway on a real store and a real socket for JT/T 808 trackers 1..n.
func benchGateway(b *testing.B, n int) (store queue.Store, addr string) {
	b.Helper()
	trackers := make([]queue.Tracker, n)
	for i := range trackers {
		trackers[i] = jt(queue.TrackerID(i + 1))
	}
	store, addr, _ = benchListener(b, trackers)
	return store, addr
}

// benchListener is the same for any trackers of one protocol.
func benchListener(b *testing.B, trackers []queue.Tracker) (store queue.Store, addr string,
	l *gateway.Listener,
) {
	b.Helper()
	ok := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	st, err := sqlitestore.Open(b.Context(), sqlitestore.Options{
		Path: b.TempDir(), Now: time.Now,
		MaxPending: 1 << 20,
	})
	ok(err)
	for i := range trackers {
		trackers[i].Account = 1
	}
	dir := new(queue.Directory)
	dir.Replace(queue.NewSnapshot([]queue.Account{{ID: 1}}, trackers))
	eng, err := engine.New(engine.Options{Now: time.Now})
	need(b, err)
	gw, err := gateway.New(gateway.Options{
		Node: "bench", Engine: eng, Store: st, Directory: dir,
		Now: time.Now,
	})
	ok(err)
	ok(gw.Start(b.Context()))
	p, _ := all.Find(trackers[0].Protocol)
	l, err = gw.Listen(p, nil, 0)
	ok(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ok(err)
	addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- l.Serve(ln) }()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ok(gw.Quiesce(ctx))
		ok(eng.Shutdown(ctx))
		ok(gw.Close(ctx))
		ok(<-served)
		ok(st.Close())
	})
	return st, addr, l
}

// benchDevice acknowledges every text at once; onText is told of each.
func benchDevice(b *testing.B, addr string, id queue.TrackerID, onText func()) net.Conn {
	b.Helper()
	p, _ := all.Find("jt808")
	settings, err := p.NewSettings()
	if err != nil {
		b.Fatal(err)
	}
	side := p.NewDevice(protocol.DeviceConfig{ID: phone(id), Settings: settings})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := nc.Write(side.AppendLogin(nil)); err != nil {
		b.Fatal(err)
	}
	go func() {
		var buf, out []byte
		chunk := make([]byte, 4096)
		for {
			n, err := nc.Read(chunk)
			if err != nil {
				return
			}
			buf = append(buf, chunk[:n]...)
			out = out[:0]
			var events []protocol.DeviceEvent
			for used := 1; used > 0; buf = buf[used:] {
				if out, used, err = side.Feed(out, buf, func(e protocol.DeviceEvent) {
					events = append(events, e)
				}); err != nil {
					return
				}
			}
			for _, e := range events {
				if e.Kind == protocol.DeviceText {
					out = side.AppendAck(out, e, protocol.AckDelivered)
					onText()
				}
			}
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
	}()
	return nc
}

// BenchmarkRepush is the time from a device's connecting to the first waiting text in its hands.
func BenchmarkRepush(b *testing.B) {
	st, addr := benchGateway(b, 1)
	times := make([]time.Duration, 0, b.N)
	for b.Loop() {
		if _, err := st.Send(b.Context(), []queue.SendReq{{Tracker: 1, Text: "waiting"}}); err !=
			nil {
			b.Fatal(err)
		}
		shown := make(chan struct{}, 1)
		start := time.Now()
		nc := benchDevice(b, addr, 1, func() {
			select {
			case shown <- struct{}{}:
			default:
			}
		})
		<-shown
		times = append(times, time.Since(start))
		for pending := true; pending; {
			ms, err := st.Unacknowledged(b.Context(), 1, 1)
			if err != nil {
				b.Fatal(err)
			}
			pending = len(ms) > 0
		}
		_ = nc.Close()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkLifecycle sends single texts from 64 goroutines to 200 devices and counts those that
// came back acknowledged and stored.
func BenchmarkLifecycle(b *testing.B) {
	const devices, senders = 200, 64
	st, addr := benchGateway(b, devices)
	var shown atomic.Int64
	for id := range devices {
		nc := benchDevice(b, addr, queue.TrackerID(id+1), func() { shown.Add(1) })
		defer func() { _ = nc.Close() }()
	}
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				res, err := st.Send(b.Context(),
					[]queue.SendReq{{
						Tracker: queue.TrackerID(n%devices + 1),
						Text:    "a text of about a hundred characters, which is what dispatchers write to drivers on an ordinary day.",
					}})
				if err != nil || res[0].Err != nil {
					b.Error(err, res)
					return
				}
			}
		})
	}
	group.Wait()
	pending := func() bool {
		leases := make([]queue.Lease, devices)
		for i := range leases {
			leases[i] = queue.Lease{Tracker: queue.TrackerID(i + 1), Epoch: 1}
		}
		left, err := st.CheckLeases(b.Context(), leases)
		return err != nil || len(left) > 0
	}
	for pending() {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lifecycles/s")
	if got := shown.Load(); got != int64(b.N) {
		b.Errorf("%d texts shown, %d sent", got, b.N)
	}
}
