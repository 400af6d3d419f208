package gateway

import "trackchat/queue"

func (s *session) lease() queue.Lease {
	return queue.Lease{Tracker: s.tracker, Node: s.l.g.o.Node, Epoch: s.epoch, SeenMs: s.seen()}
}

// seen is when the device was last heard of, Unix ms to the second.
func (s *session) seen() int64 { return max(s.conn.LastRead()*1000, s.l.g.wall(s.since)) }

// touch has the store note when the device was last heard of, every touchEvery by a phase of its
// own: that is when a multiple of it lies between the look that was due at was and the next one, so
// nothing has to be remembered for it.
func (s *session) touch(was int64) {
	every := touchEvery.Milliseconds()
	if (was+s.since)/every != (s.nextMs+s.since)/every {
		s.l.g.store.touch.add(s, 0, s.lease())
	}
}
