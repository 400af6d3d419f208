package sqlitestore

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// registerMetrics shows how full the bounded buffers are and what a power cut would cost now; a nil
// reg keeps the figures unregistered.
func registerMetrics(s *Store, reg prometheus.Registerer) {
	f := promauto.With(reg)
	for _, g := range []struct {
		name, help string
		value      func() int64
	}{
		{
			"trackchat_store_queued_operations",
			"Calls that wait for the writer of the embedded store.",
			s.room.Items,
		},
		{
			"trackchat_store_queued_bytes",
			"Bytes of the calls that wait for the writer of the embedded store.",
			s.room.Bytes,
		},
		{
			"trackchat_store_log_unreadable_transactions",
			"Transactions that stood behind damage in the embedded store's write-ahead log when this process started, and are lost.",
			func() int64 { return int64(s.hidden) },
		},
		{
			"trackchat_store_cache_bytes",
			"Memory of the embedded store's cache, of which store.cache is the most; looked at once a minute.", s.cached.Load,
		},
		{
			"trackchat_store_unsynced_commits",
			"Answered transactions of the embedded store that are not synced yet; 0 with durability always.", s.wal.unsynced,
		},
	} {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help},
			func() float64 { return float64(g.value()) })
	}
}
