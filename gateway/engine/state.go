package engine

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
)

type flags uint16

const (
	closed  flags = 1 << iota // Close was called or the connection has ended: no more writes, no more OnData
	gone                      // the socket is closed, OnClose has been called or is about to be
	paused                    // Pause was called last
	rerun                     // Resume was called and what is kept has not been offered again yet
	trusted                   // Trust was called
	slow                      // the last Write was refused
	unheard                   // the PROXY header is still to come, and OnOpen with it
)

// state is the part of a connection that the engines have in common. It is kept small: a node holds a million of them.
type state struct {
	mu sync.Mutex

	// static after construction; the address after OnOpen
	srv  *service
	id   uint64
	addr [16]byte
	port uint16

	// guarded by mu
	flags   flags
	limit   uint32 // unconsumed bytes that may be kept
	session any
	out     *chunk // unsent bytes

	// written under mu by whoever reads the socket, which may therefore look at it without the lock
	partial *chunk

	last atomic.Uint32 // Unix seconds of the last read
}

func (s *state) init(srv *service, peer netip.AddrPort) {
	s.srv = srv
	s.id = srv.core.IDs.Add(1)
	s.setPeer(peer)
	s.limit = uint32(min(srv.core.MaxPartial, math.MaxInt32))
	s.last.Store(srv.core.seconds())
}

func (s *state) setPeer(peer netip.AddrPort) {
	if peer.IsValid() {
		s.addr, s.port = peer.Addr().As16(), peer.Port()
	}
}

func (s *state) ID() uint64 { return s.id }

func (s *state) RemoteAddr() netip.AddrPort {
	if s.addr == [16]byte{} {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(s.addr).Unmap(), s.port)
}

func (s *state) LastRead() int64 { return int64(s.last.Load()) }

func (s *state) Session() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

func (s *state) SetSession(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = v
}

func (s *state) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flags |= paused
}

func (s *state) Trust(maxPartial int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = uint32(min(max(maxPartial, 0), math.MaxInt32))
	if s.flags&trusted == 0 {
		s.flags |= trusted
		s.srv.core.untrusted.Add(-int64(s.partial.len()))
	}
}

// has says whether any of the flags is set.
func (s *state) has(f flags) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flags&f != 0
}

// roomLocked says whether n more unsent bytes beside the pending ones are within the bound, and remembers a refusal for Close.
func (s *state) roomLocked(pending, n int) error {
	if n > s.srv.core.Unsent-pending {
		s.flags |= slow
		s.srv.core.Stats.Slow.Add(1)
		return ErrSlow
	}
	s.flags &^= slow
	return nil
}

// queueLocked puts bytes behind the unsent ones.
func (s *state) queueLocked(p []byte) {
	s.out = s.srv.core.pool.add(s.out, p)
	s.srv.core.Stats.Unsent.Add(int64(len(p)))
}

// dropOutLocked forgets the unsent bytes.
func (s *state) dropOutLocked() {
	s.srv.core.Stats.Unsent.Add(-int64(s.out.len()))
	s.srv.core.pool.put(s.out)
	s.out = nil
}

// causeLocked is what OnClose is told after the connection's own Close.
func (s *state) causeLocked() error {
	if s.flags&slow != 0 {
		return ErrSlow
	}
	return nil
}

// keep stores what the handler left of the bytes it was offered. The last fresh bytes of rest are new; if all the others are those that
// are kept already, only the new ones are copied.
func (s *state) keep(rest []byte, fresh int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	core := s.srv.core
	if s.flags&(paused|rerun) == 0 && len(rest) > int(s.limit) {
		return ErrTooMuch
	}
	held := s.partial.len()
	if err := s.chargeLocked(len(rest) - held); err != nil {
		return err
	}
	switch {
	case len(rest) == 0:
		core.pool.put(s.partial)
		s.partial = nil
	case len(rest) == held+fresh:
		s.partial = core.pool.add(s.partial, rest[held:])
	default:
		s.partial = core.pool.set(s.partial, rest)
	}
	return nil
}

// chargeLocked accounts for n more unconsumed bytes, or fewer if n is negative.
func (s *state) chargeLocked(n int) error {
	core := s.srv.core
	if s.flags&trusted == 0 {
		if core.untrusted.Add(int64(n)) > int64(core.PartialBudget) && n > 0 {
			core.untrusted.Add(-int64(n))
			return ErrBudget
		}
	}
	core.Stats.Partial.Add(int64(n))
	return nil
}

// endLocked marks the connection as ended and gives its buffers back. It says false if that was done before.
func (s *state) endLocked() bool {
	if s.flags&gone != 0 {
		return false
	}
	s.flags |= closed | gone
	s.dropOutLocked()
	_ = s.chargeLocked(-s.partial.len()) // giving back cannot fail
	s.srv.core.pool.put(s.partial)
	s.partial = nil
	return true
}
