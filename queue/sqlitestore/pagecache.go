package sqlitestore

import (
	"fmt"

	"modernc.org/sqlite"
)

const (
	pageCounted = pageSize + 256 // what SQLite counts for a page, with its notes
	// and what it takes: SQLite's allocator rounds up to a power of two.
	pageMemory = 2 * pageSize

	leastPages = 10 // of a connection; SQLite allows each as many
	// at most: every commit makes all of them void, and the system has the file too.
	readerPages = 256
	readersPart = 4   // of all pages one part in so many at most is the readers'
	quietCalls  = 600 // transactions and reads in cleanEvery rounds
)

// cacheSizes share CacheBytes out: nearly all is for the connection that writes.
func cacheSizes(o *Options) (writer, reader string) {
	pages, readers := o.CacheBytes/pageMemory, int64(o.Readers)
	each := max(min(pages/readersPart/readers, readerPages), leastPages)
	return cacheSize(max(pages-each*readers-leastPages, leastPages)), cacheSize(each)
}

func cacheSize(pages int64) string { return fmt.Sprintf("cache_size = %d", pages) }

// cached is how much memory the connection's pages take.
func (c *conn) cached() int64 {
	s, ok := c.raw.(sqlite.DBStatus)
	if !ok {
		return 0
	}
	n, _, err := s.Status(sqlite.DBStatusCacheUsed, false)
	if err != nil {
		return 0
	}
	return int64(n) / pageCounted * pageMemory
}

// rest gives the memory of all pages back where few calls came since it was asked last. This build
// of SQLite has the pages of all connections in one list, which any of them can empty.
func (l *wal) rest() error {
	calls := l.commits.Load() + l.s.readers.taken()
	quiet := calls-l.calls < quietCalls
	l.calls = calls
	if !quiet {
		return nil
	}
	_, err := l.c.exec("PRAGMA shrink_memory")
	return err
}
