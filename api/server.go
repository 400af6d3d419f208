package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"trackchat/api/auth"
	"trackchat/api/navixy"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

// Limits of a server. A text of 20,000 characters of four bytes, percent-encoded, takes 240,000
// bytes of a query and so of the header.
const (
	maxHeader     = 512 << 10
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second // header and body
	writeTimeout  = 60 * time.Second // a handler that streams for longer sets its own deadline
	idleTimeout   = 2 * time.Minute
)

// NewServer returns a server for h whose clients cannot hold a connection or memory for ever. A nil
// log drops what the server has to say.
func NewServer(h http.Handler, log *zap.Logger) *http.Server {
	if log == nil {
		log = zap.NewNop()
	}
	// Everything it says is about some client's connection, so it is no error of ours.
	logger, err := zap.NewStdLogAt(log, zap.DebugLevel)
	if err != nil {
		logger = zap.NewStdLog(log)
	}
	return &http.Server{
		Handler:                      begun(h),
		ConnContext:                  withConn,
		ConnState:                    connState,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     logger,
	}
}

// refuseWithin bounds the farewell to a connection that is one too many; it goes into an empty
// socket buffer.
const refuseWithin = 50 * time.Millisecond

// Memory of headers that have not arrived.
const (
	headerShare         = 32 // one part in so many of the limit of memory
	leastHeaderMemory   = 4 << 20
	defaultHeaderMemory = 128 << 20
)

// Conns bounds the connections of listeners, and the memory of headers that have not arrived. Where
// all connections are taken, the oldest goes of the address with the most on which nobody who is
// known has asked for anything yet; where there is none, the new one is told so, as far as it
// speaks plain HTTP, and closed.
type Conns struct {
	open    *prometheus.GaugeVec
	refused *prometheus.CounterVec
	headers *auth.FairShare // in bytes
}

// NewConns registers the figures. memory is the limit of memory in bytes, 0: not known.
func NewConns(reg prometheus.Registerer, memory int64) *Conns {
	f := promauto.With(reg)
	most := int64(defaultHeaderMemory)
	if memory > 0 {
		most = min(max(memory/headerShare, leastHeaderMemory), most)
	}
	return &Conns{
		open: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trackchat_http_connections",
			Help: "Open connections of HTTP clients.",
		}, []string{"listener"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_http_connections_refused_total",
			Help: "Connections of HTTP clients closed because there were too many, or too much of unfinished headers.",
		}, []string{"listener"}),
		headers: auth.NewFairShare(most, most, max(most/addressShare, maxHeader)),
	}
}

// Listen wraps ln, which name is for in the figures. tls says that it is to carry TLS. The server
// has to be one of NewServer.
func (c *Conns) Listen(ln net.Listener, name string, most int, tls bool) net.Listener {
	l := &boundListener{
		Listener: ln, seats: auth.NewFairShare(int64(most), int64(most), 0), headers: c.headers,
		open: c.open.WithLabelValues(name), refused: c.refused.WithLabelValues(name),
	}
	if !tls {
		body := (&navixy.Refusal{Code: navixy.CodeTooMany}).Append(nil)
		l.farewell = []byte(
			"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json; charset=utf-8\r\n" +
				"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\nRetry-After: 1\r\n" +
				"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + string(body))
	}
	return l
}

type boundListener struct {
	net.Listener
	seats    *auth.FairShare
	headers  *auth.FairShare
	open     prometheus.Gauge
	refused  prometheus.Counter
	farewell []byte // nil: none
}

// Accept returns the next connection within the bound.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &boundConn{Conn: nc, listener: l, free: freeBytes}
		if peer, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
			c.place = auth.Place(plainAddr(peer.Addr()))
		}
		c.seat = l.seats.Join(c.place, false, c.cut)
		if c.seat.Grow(1) {
			l.open.Inc()
			return c, nil
		}
		c.seat.Leave()
		l.refused.Inc()
		deadline := time.Now().Add(refuseWithin) //nolint:forbidigo // a socket knows no other clock
		if l.farewell != nil && nc.SetWriteDeadline(deadline) == nil {
			_, _ = nc.Write(l.farewell)
		}
		_ = nc.Close()
	}
}

// boundConn gives its place back when it is closed.
type boundConn struct {
	net.Conn
	listener *boundListener
	place    string
	seat     *auth.Holder
	closed   sync.Once

	mu     sync.Mutex
	free   int64        // of the header that arrives: what is not counted; guarded by mu
	header *auth.Holder // what else of it has arrived; guarded by mu
	begun  bool         // it is there, and its handler runs; guarded by mu
}

var errHeaderMemory = errors.New("no room for a header")

// Read counts what arrives of a header.
func (c *boundConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.take(int64(n)) {
		c.listener.refused.Inc()
		return 0, errHeaderMemory
	}
	return n, err
}

func (c *boundConn) take(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun {
		return true
	}
	if c.free -= n; c.free >= 0 {
		return true
	}
	n, c.free = -c.free, 0
	if c.header == nil {
		c.header = c.listener.headers.Join(c.place, false, c.cut)
	}
	return c.header.Grow(n)
}

// next waits for a header (begun false), or leaves what has arrived of one to its handler.
func (c *boundConn) next(begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header.Leave()
	c.free, c.header, c.begun = freeBytes, nil, begun
}

// cut makes room for others. It takes no lock: whoever serves the connection finds it closed.
func (c *boundConn) cut() {
	c.listener.refused.Inc()
	_ = c.Conn.Close() // whatever it says, the socket is gone
}

// Close closes the connection.
func (c *boundConn) Close() error {
	c.closed.Do(func() {
		c.seat.Leave()
		c.listener.open.Dec()
		c.next(true)
	})
	return c.Conn.Close()
}

// CloseWrite is what the server uses to let a refusal reach a client that is still writing.
func (c *boundConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// boundOf finds the connection under another one, nil where there is none.
func boundOf(nc net.Conn) *boundConn {
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = over.NetConn()
	}
	c, _ := nc.(*boundConn)
	return c
}

type connKey struct{}

// withConn is http.Server.ConnContext.
func withConn(ctx context.Context, nc net.Conn) context.Context {
	c := boundOf(nc)
	if c == nil {
		return ctx
	}
	return context.WithValue(auth.WithSeat(ctx, c.seat), connKey{}, c)
}

// connOf returns the connection of a request, nil where it is not bounded.
func connOf(ctx context.Context) *boundConn {
	c, _ := ctx.Value(connKey{}).(*boundConn)
	return c
}

// connState is http.Server.ConnState.
func connState(nc net.Conn, s http.ConnState) {
	if c := boundOf(nc); c != nil && s == http.StateIdle {
		c.next(false)
	}
}

// begun tells the connection that a request's header is there.
func begun(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := connOf(r.Context()); c != nil {
			c.next(true)
		}
		h.ServeHTTP(w, r)
	})
}
