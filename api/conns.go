package api

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// refuseWithin bounds the farewell to a connection that is one too many; it goes into an empty socket buffer.
const refuseWithin = 50 * time.Millisecond

// Conns bounds the connections of listeners. One that is too many is told so, as far as it speaks plain HTTP, and closed at once, so that those that are open stay usable.
type Conns struct {
	open    *prometheus.GaugeVec
	refused *prometheus.CounterVec
}

// NewConns registers the figures.
func NewConns(reg prometheus.Registerer) *Conns {
	f := promauto.With(reg)
	return &Conns{
		open: f.NewGaugeVec(prometheus.GaugeOpts{Name: "trackchat_http_connections", Help: "Open connections of HTTP clients."}, []string{"listener"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trackchat_http_connections_refused_total", Help: "Connections of HTTP clients that were one too many.",
		}, []string{"listener"}),
	}
}

// Listen wraps ln, which name is for in the figures. tls says that it is to carry TLS.
func (c *Conns) Listen(ln net.Listener, name string, most int, tls bool) net.Listener {
	l := &boundListener{Listener: ln, most: int64(most), open: c.open.WithLabelValues(name), refused: c.refused.WithLabelValues(name)}
	if !tls {
		body := appendRefusal(nil, &refusal{code: codeTooMany})
		l.farewell = []byte("HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json; charset=utf-8\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: " +
			strconv.Itoa(len(body)) + "\r\n\r\n" + string(body))
	}
	return l
}

type boundListener struct {
	net.Listener
	most     int64
	count    atomic.Int64
	open     prometheus.Gauge
	refused  prometheus.Counter
	farewell []byte // nil: none
}

// Accept returns the next connection within the bound.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.count.Add(1) <= l.most {
			l.open.Inc()
			return &boundConn{Conn: c, leave: sync.OnceFunc(func() {
				l.count.Add(-1)
				l.open.Dec()
			})}, nil
		}
		l.count.Add(-1)
		l.refused.Inc()
		if l.farewell != nil && c.SetWriteDeadline(time.Now().Add(refuseWithin)) == nil { //nolint:forbidigo // of a socket, which knows no other clock
			_, _ = c.Write(l.farewell)
		}
		_ = c.Close()
	}
}

// boundConn gives its place back when it is closed.
type boundConn struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *boundConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite is what the server uses to let a refusal reach a client that is still writing.
func (c *boundConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
