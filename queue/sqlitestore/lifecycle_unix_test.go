//go:build unix

package sqlitestore_test

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkLifecycle has 128 senders who each send a message, wait, acknowledge it and wait.
func BenchmarkLifecycle(b *testing.B) {
	for _, d := range []sqlitestore.Durability{sqlitestore.Always, sqlitestore.EverySecond} {
		b.Run(map[sqlitestore.Durability]string{
			sqlitestore.Always:      "always",
			sqlitestore.EverySecond: "everysec",
		}[d], func(b *testing.B) {
			reg := prometheus.NewRegistry()
			s := open(b, sqlitestore.Options{
				Path: b.TempDir(), MaxPending: 1 << 30, Durability: d,
				Registerer: reg,
			})
			ts := make([]queue.TrackerID, benchTrackers)
			for i := range ts {
				ts[i] = queue.TrackerID(i + 1)
			}
			if _, err := s.Acquire(b.Context(), "n", ts); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			before := processorTime(b)
			for range 128 {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						t := queue.TrackerID(n*7919%benchTrackers + 1)
						sent, err := s.Send(b.Context(), []queue.SendReq{{
							Tracker: t,
							Text:    benchText(),
						}})
						if err != nil || sent[0].Err != nil {
							b.Errorf("send: %v %v", sent, err)
							return
						}
						acked, err := s.Ack(b.Context(),
							[]queue.AckReq{{Tracker: t, ID: sent[0].ID}})
						if err != nil || acked[0] != queue.AckDelivered {
							b.Errorf("ack: %v %v", acked, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lifecycles/s")
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N),
				"cpu-us/op")
			b.ReportMetric(itemsPerCommit(b, reg), "items/commit")
		})
	}
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// itemsPerCommit is what a transaction held on average.
func itemsPerCommit(b *testing.B, reg *prometheus.Registry) float64 {
	b.Helper()
	families, err := reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "trackchat_batch_size" {
			h := f.GetMetric()[0].GetHistogram()
			return h.GetSampleSum() / float64(h.GetSampleCount())
		}
	}
	return 0
}
