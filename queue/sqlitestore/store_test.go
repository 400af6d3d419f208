package sqlitestore

import "trackchat/queue"

var _ queue.Store = (*Store)(nil)
