package engine_test

import (
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway/engine"
)

// BenchmarkTimer tells how late timers of 2 ms are while the engine carries light traffic: fifty
// peers, each with a frame of 100 bytes about every 20 ms.
func BenchmarkTimer(b *testing.B) {
	r := start(b, kinds()[0], engine.Options{Now: time.Now}, &quiet{})
	var over atomic.Bool
	var peers sync.WaitGroup
	for range 50 {
		nc := r.dial()
		_ = nc.SetDeadline(time.Time{})
		peers.Go(func() {
			frame := make([]byte, 100)
			for !over.Load() {
				if _, err := nc.Write(frame); err != nil {
					return
				}
				if _, err := io.ReadFull(nc, frame); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	var late []time.Duration
	for b.Loop() {
		for range 1500 {
			t := time.Now()
			<-time.After(2 * time.Millisecond)
			late = append(late, time.Since(t)-2*time.Millisecond)
		}
	}
	over.Store(true)
	peers.Wait()
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(late[len(late)-1].Microseconds()), "max-us")
}

// BenchmarkIdleTLS tells what a quiet TLS connection costs with both its ends in this process, and
// what a plain one does.
func BenchmarkIdleTLS(b *testing.B) {
	const conns = 1500
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
				r := start(b, k, engine.Options{Now: time.Now}, &quiet{})
				all := []net.Conn{r.dial()}
				before := weigh(b)
				frame := make([]byte, 100)
				for range conns {
					nc := r.dial()
					_ = nc.SetDeadline(time.Time{})
					if _, err := nc.Write(frame); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(nc, frame); err != nil {
						b.Fatal(err)
					}
					all = append(all, nc)
				}
				after := weigh(b)
				b.ReportMetric(float64(after.heap-before.heap)/conns, "heap-B/pair")
				b.ReportMetric(float64(after.stack-before.stack)/conns, "stack-B/pair")
				b.ReportMetric(float64(after.rss-before.rss)/conns, "rss-B/pair")
				for _, nc := range all {
					_ = nc.Close()
				}
				r.shutdown()
			}
		})
	}
}
