package gateway

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/gateway/engine"
	"trackchat/queue"

	"golang.org/x/time/rate"
)

// Upstream is the tracking server behind a listener, see Listener.SetUpstream. Durations, the rate
// and the buffer that are 0 take the defaults of the configuration file.
type Upstream struct {
	Address string // host:port, resolved at each dial
	// TLS is asked for the configuration of each connection to an address; nil: plain TCP.
	TLS          func(address string) *tls.Config
	ProxyVersion int // of the PROXY header that tells the device's address; 0: none
	// RefuseUnknown refuses devices that the directory does not name; else only their bytes pass.
	RefuseUnknown bool
	// StayWhenDown keeps devices, and their chat, while the server cannot be reached; else their
	// connections end.
	StayWhenDown bool
	DialTimeout  time.Duration // 5 s
	DialRate     float64       // 500: dials a second
	Buffer       int           // 64 KiB: bytes each way and session
	PassAcks     bool          // the server gets the acks of our texts, too
	OnlyChat     bool          // drivers' texts do not go to the server
}

// upstream is an Upstream in use.
type upstream struct {
	Upstream
	dials *rate.Limiter
}

func newUpstream(u Upstream) *upstream {
	if u.DialTimeout <= 0 {
		u.DialTimeout = 5 * time.Second
	}
	if u.DialRate <= 0 {
		u.DialRate = 500
	}
	if u.Buffer <= 0 {
		u.Buffer = 64 << 10
	}
	return &upstream{u, rate.NewLimiter(rate.Limit(u.DialRate), max(int(u.DialRate), 1))}
}

// at is the same with another address.
func (u *upstream) at(address string) *upstream {
	other := *u
	other.Address = address
	return &other
}

// SetUpstream puts a tracking server behind the listener for the connections that come from now on,
// nil takes it away. Sessions stay as they are.
func (l *Listener) SetUpstream(u *Upstream) {
	if u == nil {
		l.upstream.Store(nil)
		return
	}
	l.upstream.Store(newUpstream(*u))
}

// upstreamFor is the tracking server of a device, which t is the tracker of, nil where the
// directory does not know it. None: the gateway is the server itself.
func (l *Listener) upstreamFor(t *queue.Tracker) *upstream {
	u := l.upstream.Load()
	switch {
	case t == nil || t.Upstream == "":
		return u
	case t.Upstream == queue.UpstreamNone:
		return nil
	case u == nil:
		return newUpstream(Upstream{Address: t.Upstream})
	default:
		return u.at(t.Upstream)
	}
}

// relays reports whether a new connection may be one that is relayed.
func (l *Listener) relays() bool {
	return l.protocol.NewRelay != nil &&
		(l.upstream.Load() != nil || l.g.o.Directory.Current().Upstreams() > 0)
}

// mayDial reports whether another connection to the tracking server may be opened now. A device
// that may stay without it can wait.
func (l *Listener) mayDial() bool {
	u := l.upstream.Load()
	return u == nil || u.StayWhenDown || u.dials.AllowN(l.g.o.Now(), 1)
}

// UpstreamInfo is what is known of a tracking server.
type UpstreamInfo struct {
	Address    string
	Sessions   int64 // connections to it
	Down       bool  // the last dial failed
	DownMs     int64 // since when, Unix ms
	DialErrors int64
	BytesUp    int64 // that devices sent it
	BytesDown  int64 // that it sent devices
	LastError  string
}

// trackingServers are those that were dialled, by address.
type trackingServers struct {
	mu sync.Mutex
	of map[string]*trackingServer
}

type trackingServer struct {
	address    string
	sessions   atomic.Int64
	dialErrors atomic.Int64
	up, down   atomic.Int64 // bytes
	downMs     atomic.Int64 // since when it cannot be reached, clock.ms; 0: it can
	dialledMs  atomic.Int64
	lastError  atomic.Pointer[string]
}

const (
	// mostServers bounds those that are told apart; the others are counted together.
	mostServers = 1024
	// forgetServer is how long one is remembered that nobody dials any more.
	forgetServer = 10 * time.Minute
	otherServers = "(others)"
)

// get returns what is known of an address that is about to be dialled.
func (t *trackingServers) get(address string, ms int64) *trackingServer {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of[address]
	if s == nil && len(t.of) >= mostServers {
		t.forgetLocked(ms)
		if len(t.of) >= mostServers {
			address = otherServers
			s = t.of[address]
		}
	}
	if s == nil {
		if t.of == nil {
			t.of = make(map[string]*trackingServer)
		}
		s = &trackingServer{address: address}
		t.of[address] = s
	}
	s.dialledMs.Store(ms)
	return s
}

// forgetLocked drops those that nobody uses any more.
func (t *trackingServers) forgetLocked(ms int64) {
	for address, s := range t.of {
		if s.idle(ms) {
			delete(t.of, address)
		}
	}
}

// idle reports whether nobody has used it for a while.
func (s *trackingServer) idle(ms int64) bool {
	return s.sessions.Load() == 0 && ms-s.dialledMs.Load() > forgetServer.Milliseconds()
}

// reached notes that it answered a dial.
func (s *trackingServer) reached() { s.downMs.Store(0) }

// failed notes that it did not.
func (s *trackingServer) failed(ms int64, err error) {
	s.dialErrors.Add(1)
	s.downMs.CompareAndSwap(0, max(ms, 1))
	text := err.Error()
	s.lastError.Store(&text)
}

// list returns those that are in use.
func (t *trackingServers) list(ms int64) []*trackingServer {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked(ms)
	list := make([]*trackingServer, 0, len(t.of))
	for _, s := range t.of {
		list = append(list, s)
	}
	return list
}

// longestDown is how long a tracking server cannot be reached already, of several the longest.
func (g *Gateway) longestDown() time.Duration {
	now, longest := g.ms(g.o.Now()), int64(0)
	for _, s := range g.servers.list(now) {
		if since := s.downMs.Load(); since != 0 {
			longest = max(longest, now-since)
		}
	}
	return time.Duration(longest) * time.Millisecond
}

// Upstreams returns what is known of the tracking servers that are in use, in no order.
func (g *Gateway) Upstreams() []UpstreamInfo {
	list := g.servers.list(g.ms(g.o.Now()))
	out := make([]UpstreamInfo, len(list))
	for i, s := range list {
		out[i] = UpstreamInfo{
			Address: s.address, Sessions: s.sessions.Load(), DialErrors: s.dialErrors.Load(),
			BytesUp: s.up.Load(), BytesDown: s.down.Load(),
		}
		if since := s.downMs.Load(); since != 0 {
			out[i].Down, out[i].DownMs = true, g.wall(since)
		}
		if text := s.lastError.Load(); text != nil {
			out[i].LastError = *text
		}
	}
	return out
}

// header is the PROXY header of a device's connection to the tracking server.
func (u *upstream) header(c engine.Conn) []byte {
	return engine.ProxyHeader(u.ProxyVersion, c.RemoteAddr(), c.LocalAddr())
}
