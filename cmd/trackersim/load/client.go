package load

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/gateway/engine"
)

// job is a series of requests to the API. Its methods may be called from any goroutine, next never
// by two at a time.
type job interface {
	// next appends the body of the next request and names it; false: there is none now.
	next(dst []byte) (body []byte, token int, ok bool)
	// answer takes the answer to a request; body is valid until the return.
	answer(token, status int, body []byte)
	// lost says that there will be no answer.
	lost(token int)
}

// client asks the API over a fixed number of connections, one request at a time on each. Requests
// that find no free connection wait, which counts in their latency.
type client struct {
	eng  engine.Engine
	addr string
	head string        // of every request, up to the path's last segments
	tail string        // headers, up to the content length
	lost chan struct{} // one for each connection that has to be replaced
	dial sync.WaitGroup

	mu  sync.Mutex
	op  string
	job job
	// the one that has waited longest first: the service closes those that are not used.
	free   []*link
	ending bool

	lastError atomic.Pointer[error]
}

var _ engine.Handler = (*link)(nil)

// link is one connection to the API.
type link struct {
	c    *client
	conn engine.Conn
	out  []byte
	body []byte

	// guarded by client.mu
	job   job // whose request is under way; nil: none
	token int
}

func newClient(eng engine.Engine, api string, connections int) *client {
	u, err := url.Parse(api)
	if err != nil {
		u = &url.URL{} // check has refused that
	}
	addr := u.Host
	if u.Port() == "" {
		addr = u.Hostname() + ":80"
	}
	return &client{
		eng: eng, addr: addr, lost: make(chan struct{}, connections),
		head: "POST " + strings.TrimRight(u.EscapedPath(), "/") + "/v2/tracker/chat/",
		tail: " HTTP/1.1\r\nHost: " + u.Host +
			"\r\nContent-Type: application/json\r\nContent-Length: ",
	}
}

// connect opens the connections, and replaces lost ones until ctx ends; an error says that none
// could be opened.
func (c *client) connect(ctx context.Context) error {
	var last error
	opened := 0
	for range cap(c.lost) {
		if _, err := c.eng.Dial(ctx, c.addr, engine.DialOptions{}, &link{c: c}); err != nil {
			last = err
			c.lost <- struct{}{}
			continue
		}
		opened++
	}
	if opened == 0 {
		return last
	}
	c.dial.Go(func() { c.redialing(ctx) })
	return nil
}

// work makes j the source of requests for an operation; what the job before it asked is still
// answered to that one.
func (c *client) work(op string, j job) {
	c.mu.Lock()
	c.op, c.job = op, j
	c.mu.Unlock()
	c.kick()
}

// kick lets free connections ask for work.
func (c *client) kick() {
	for {
		c.mu.Lock()
		if len(c.free) == 0 || c.job == nil {
			c.mu.Unlock()
			return
		}
		l := c.free[0]
		c.free = slices.Delete(c.free, 0, 1)
		ok := l.takeLocked()
		c.mu.Unlock()
		if !ok {
			return
		}
		l.send()
	}
}

// takeLocked gives l the next request, or makes it free.
func (l *link) takeLocked() bool {
	c := l.c
	if c.job != nil && !c.ending {
		var ok bool
		if l.body, l.token, ok = c.job.next(l.body[:0]); ok {
			l.job = c.job
			l.out = append(append(append(l.out[:0], c.head...), c.op...), c.tail...)
			return true
		}
	}
	l.job = nil
	c.free = append(c.free, l)
	return false
}

func (l *link) send() {
	l.out = strconv.AppendInt(l.out, int64(len(l.body)), 10)
	l.out = append(append(l.out, "\r\n\r\n"...), l.body...)
	if err := l.conn.Write(l.out); err != nil {
		_ = l.conn.Close() // always nil; OnClose reports the loss
	}
}

func (l *link) OnOpen(conn engine.Conn) {
	conn.Trust(maxAnswer)
	l.conn = conn
	c := l.c
	c.mu.Lock()
	ok := l.takeLocked()
	c.mu.Unlock()
	if ok {
		l.send()
	}
}

func (l *link) OnData(conn engine.Conn, buf []byte) int {
	c := l.c
	a, n, err := cutAnswer(buf)
	c.mu.Lock()
	job, token := l.job, l.token
	c.mu.Unlock()
	if err != nil || n > 0 && job == nil {
		c.fail(errAnswer)
		_ = conn.Close() // always nil
		return len(buf)
	}
	if n == 0 {
		return 0
	}
	job.answer(token, a.status, a.body)
	c.mu.Lock()
	l.job = nil
	ok := !a.last && l.takeLocked()
	c.mu.Unlock()
	switch {
	case ok:
		l.send()
	case a.last:
		_ = conn.Close() // always nil
	}
	return n
}

func (l *link) OnClose(_ engine.Conn, err error) {
	c := l.c
	if err == nil {
		err = errors.New("connection to the API closed")
	}
	c.mu.Lock()
	for i, free := range c.free {
		if free == l {
			c.free = slices.Delete(c.free, i, i+1)
			break
		}
	}
	job, token, ending := l.job, l.token, c.ending
	c.mu.Unlock()
	if job != nil {
		job.lost(token)
	}
	if ending {
		return
	}
	c.fail(err)
	c.lost <- struct{}{}
}

func (c *client) fail(err error) { c.lastError.Store(&err) }

// redialing replaces lost connections until ctx ends.
func (c *client) redialing(ctx context.Context) {
	every := time.NewTicker(redialAPI)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		for range len(c.lost) {
			<-c.lost
			if _, err := c.eng.Dial(ctx, c.addr, engine.DialOptions{}, &link{c: c}); err != nil {
				c.fail(err)
				c.lost <- struct{}{}
			}
		}
	}
}

// end makes no more requests; connections close with the engine.
func (c *client) end() {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
}

// error returns the newest failure.
func (c *client) error() error {
	if p := c.lastError.Load(); p != nil {
		return *p
	}
	return nil
}
