package sqlitestore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"

	"github.com/prometheus/client_golang/prometheus"
)

// TestCacheIsBounded delivers texts that take several times the cache. They fill it up to its bound
// and stay while calls come; the second quiet minute gives the memory back.
func TestCacheIsBounded(t *testing.T) {
	const bound, texts, batch = 1 << 20, 3200, 64
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		s := open(t, sqlitestore.Options{
			Path: t.TempDir(), Durability: sqlitestore.EverySecond, CacheBytes: bound,
			Registerer: reg,
		})
		for from := 0; from < texts; from += batch {
			acked, err := s.Ack(t.Context(), sendBatch(t, s, from, batch))
			if err != nil || acked[0] != queue.AckDelivered {
				t.Fatal(acked, err)
			}
		}
		for minute, want := range []struct {
			reads       int
			least, most float64
		}{{1000, bound / 2, bound}, {1000, bound / 2, bound}, {10, 0, bound / 10}} {
			for n := range want.reads {
				q := queue.ListQuery{Tracker: queue.TrackerID(n + 1), ToMs: 1 << 52, Limit: 10}
				msgs, err := s.List(t.Context(), q)
				if err != nil || len(msgs) != 1 {
					t.Fatal(msgs, err)
				}
			}
			time.Sleep(time.Minute + time.Millisecond)
			if held := gauge(t, reg, "trackchat_store_cache_bytes"); held < want.least ||
				held > want.most {
				t.Errorf("minute %d: %.0f bytes in a cache of %d, want %.0f to %.0f", minute, held,
					bound, want.least, want.most)
			}
		}
	})
}
