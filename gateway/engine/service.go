package engine

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// core is what all connections of an engine share.
type core struct {
	Options
	pool      chunkPool
	untrusted atomic.Int64 // unconsumed bytes of connections before Trust
	started   time.Time    // by Now
	shakes    shakes
}

func newCore(o Options) *core {
	k := &core{Options: o.withDefaults()}
	if k.Now != nil {
		k.started = k.Now()
	}
	return k
}

// service is what the connections of one Serve or Dial in one loop share, so that a connection
// needs no other way to it.
type service struct {
	*terms
	loop *loop
}

// terms are those of one Serve or Dial.
type terms struct {
	core    *core
	handler Handler
	front   *Front                      // nil: none
	admit   func(netip.AddrPort) bool   // nil admits all
	refused func(netip.AddrPort, error) // nil: nobody wants to know
	unheard atomic.Int64                // connections whose PROXY header is still to come

	admitting sync.Mutex // calls of admit do not overlap
}

func (k *core) terms(h Handler, front *Front) *terms {
	t := &terms{core: k, handler: h, front: front}
	if a, ok := h.(Admitter); ok {
		t.admit = a.Admit
	}
	if r, ok := h.(Refuser); ok {
		t.refused = r.Refused
	}
	return t
}

// admitted says whether a connection may be made for the peer, and counts refusals.
func (t *terms) admitted(peer netip.AddrPort) (ok bool) {
	if t.admit == nil {
		return true
	}
	defer func() {
		if t.core.caught(recover()) || !ok {
			ok = false
			t.core.Stats.Refused.Add(1)
		}
	}()
	t.admitting.Lock()
	defer t.admitting.Unlock()
	return t.admit(peer)
}

// seconds is the clock's reading as kept per connection: Unix seconds by the clock as it was at the
// start, and what has passed since, also when it was set meanwhile; good until the year 2106.
func (k *core) seconds() uint32 {
	if k.Now == nil {
		return 0
	}
	return k.secondsOf(k.Now())
}

func (k *core) secondsOf(now time.Time) uint32 {
	return uint32(k.started.Add(now.Sub(k.started)).Unix())
}

// wall is what seconds returned, by the clock as it is now.
func (k *core) wall(seconds uint32) int64 {
	if k.Now == nil {
		return 0
	}
	now := k.Now()
	return int64(seconds) + now.Unix() - int64(k.secondsOf(now))
}

// caught counts and logs a recovered panic; false if there was none.
func (k *core) caught(cause any) bool {
	if cause == nil {
		return false
	}
	k.Stats.Panics.Add(1)
	k.Logger.Error("handler panicked", zap.Any("cause", cause), zap.StackSkip("stack", 1))
	return true
}

// open makes the first call of a connection's handler. An error says that it failed.
func (s *service) open(c Conn) (err error) {
	s.core.Stats.Opened.Add(1)
	defer func() {
		if s.core.caught(recover()) {
			err = ErrHandler
		}
	}()
	s.handler.OnOpen(c)
	return nil
}

// data offers the handler bytes. An error says that it failed.
func (s *service) data(c Conn, buf []byte) (n int, err error) {
	defer func() {
		if s.core.caught(recover()) {
			err = ErrHandler
		}
	}()
	n = s.handler.OnData(c, buf)
	if n < 0 || n > len(buf) {
		s.core.Stats.Panics.Add(1)
		s.core.Logger.Error("handler consumed what it was not given",
			zap.Int("consumed", n), zap.Int("given", len(buf)))
		return 0, ErrHandler
	}
	return n, nil
}

// rest offers a handler that wants it what a peer that is gone has left unfinished.
func (s *service) rest(c Conn, buf []byte) {
	if r, ok := s.handler.(Rester); ok && len(buf) > 0 {
		defer func() { s.core.caught(recover()) }()
		r.OnRest(c, buf)
	}
}

// close makes the last call of a connection's handler.
func (s *service) close(c Conn, cause error) {
	switch {
	case errors.Is(cause, ErrTooMuch):
		s.core.Stats.TooMuch.Add(1)
	case errors.Is(cause, ErrBudget):
		s.core.Stats.Budget.Add(1)
	}
	s.core.Stats.Closed.Add(1)
	defer func() { s.core.caught(recover()) }()
	s.handler.OnClose(c, cause)
}
