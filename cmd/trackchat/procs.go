package main

import (
	"os"
	"runtime"
)

const (
	// syncing is how many goroutines of the embedded store wait for the disk at the same time: the writer and the one who copies its log.
	syncing = 2
	// manyProcs is from where on those who sync leave enough processors to the others.
	manyProcs = 4
)

// allowForSyncs gives Go a processor more for each goroutine that syncs, where there are few. Go takes a processor back from a system call only if its monitor meets the same call
// twice, and the monitor looks every 10 ms once it has found nothing to do: longer than a sync. So whoever syncs keeps a processor that does nothing, and with a single one
// the whole service stands still for each commit. The operator's GOMAXPROCS counts.
func allowForSyncs(c *Config) {
	if n := runtime.GOMAXPROCS(0); c.Store.Backend == BackendEmbedded && n < manyProcs && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n + syncing)
	}
}
