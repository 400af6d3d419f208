package engine

import (
	"net/netip"
	"sync"
)

// Network is what stands for where a peer comes from: its address, of IPv6 the first 64 bits, which
// is what one customer has.
func Network(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// shakes are the handshakes under way, of which there are only so many, and those that wait for
// their turn. Only the former have a goroutine. A network may have as many under way as it leaves
// places for others, so that one whose peers stall keeps nobody else out.
type shakes struct {
	mu      sync.Mutex
	running int
	lines   map[netip.Addr]*line
	order   []*line // those with somebody waiting, who is next first
	work    sync.WaitGroup
}

// line are those of one network.
type line struct {
	network netip.Addr
	running int
	waiting []*secure
	queued  bool // in shakes.order
}

// mayStart reports whether one more may be under way with so many places free.
func (l *line) mayStart(free int) bool { return l.running < free }

// tidy forgets those that have given up, which have waited longest.
func (l *line) tidy() {
	for len(l.waiting) > 0 && l.waiting[0].isOver() {
		l.pop()
	}
}

func (l *line) pop() *secure {
	t := l.waiting[0]
	l.waiting[0] = nil
	if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	return t
}

func (s *shakes) add(t *secure) {
	network, most := Network(t.c.RemoteAddr().Addr()), t.c.srv.core.Handshakes
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[network]
	if l == nil {
		if s.lines == nil {
			s.lines = make(map[netip.Addr]*line)
		}
		l = &line{network: network}
		s.lines[network] = l
	}
	l.tidy()
	if len(l.waiting) == 0 && l.mayStart(most-s.running) {
		s.startLocked(t, l)
		return
	}
	l.waiting = append(l.waiting, t)
	s.queueLocked(l)
}

// queueLocked has a line wait for its turn.
func (s *shakes) queueLocked(l *line) {
	if !l.queued {
		l.queued = true
		s.order = append(s.order, l)
	}
}

func (s *shakes) startLocked(t *secure, l *line) {
	s.running++
	l.running++
	s.work.Go(func() {
		t.shake()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
		l.running--
		s.queueLocked(l)
		s.nextLocked(t.c.srv.core.Handshakes)
	})
}

// nextLocked starts what there is room for, the networks in turn, until none of them may go on.
func (s *shakes) nextLocked(most int) {
	for idle := 0; idle < len(s.order); {
		l := s.order[0]
		s.order[0] = nil
		s.order = s.order[1:]
		l.queued = false
		l.tidy()
		idle++
		if len(l.waiting) > 0 && l.mayStart(most-s.running) {
			s.startLocked(l.pop(), l)
			idle = 0
		}
		switch {
		case len(l.waiting) > 0:
			s.queueLocked(l)
		case l.running == 0:
			delete(s.lines, l.network)
			idle = max(idle-1, 0)
		default:
			idle = max(idle-1, 0)
		}
	}
}
