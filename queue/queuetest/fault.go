package queuetest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy passes TCP connections on to an address and spoils them when told to.
type Proxy struct {
	Addr string // where it listens

	target string
	ln     net.Listener
	pairs  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	open    map[net.Conn]net.Conn
	refuse  bool
	stalled chan struct{} // not nil: nothing passes until it is closed
	cut     *cut
	closed  bool
}

// cut ends the connection that carries a certain text.
type cut struct {
	text string
	// wait for the first bytes that come back after it and swallow them; else the request itself is
	// lost.
	reply bool
	armed bool // text has passed, the reply is awaited
	on    net.Conn
	done  chan struct{}
}

// StartProxy starts a proxy in front of target and ends it with the test.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: ln.Addr().String(), target: target, ln: ln, open: make(map[net.Conn]net.Conn)}
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	tb.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		_ = ln.Close()
		accepting.Wait()
		p.Resume()
		p.Cut()
		p.pairs.Wait()
	})
	return p
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		up, err := d.Dial("tcp", p.target)
		p.mu.Lock()
		if err != nil || p.refuse || p.closed {
			p.mu.Unlock()
			_ = c.Close()
			if err == nil {
				_ = up.Close()
			}
			continue
		}
		p.open[c] = up
		p.pairs.Add(2)
		p.mu.Unlock()
		go p.pass(c, up, c, false)
		go p.pass(up, c, c, true)
	}
}

// pass copies one direction of the connection that client names.
func (p *Proxy) pass(from, to, client net.Conn, reply bool) {
	defer p.pairs.Done()
	defer p.end(client)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.admit(client, buf[:n], reply) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
	}
}

// admit waits while the proxy is stalled and reports whether the bytes may pass.
func (p *Proxy) admit(client net.Conn, b []byte, reply bool) bool {
	for {
		p.mu.Lock()
		stalled := p.stalled
		if stalled == nil {
			break
		}
		p.mu.Unlock()
		<-stalled
	}
	defer p.mu.Unlock()
	c := p.cut
	switch {
	case c == nil:
		return true
	case c.armed && reply && c.on == client:
		p.cut = nil
		close(c.done)
		return false
	case !c.armed && !reply && contains(b, c.text):
		if c.reply {
			c.armed, c.on = true, client
			return true
		}
		p.cut = nil
		close(c.done)
		return false
	default:
		return true
	}
}

func contains(b []byte, text string) bool {
	for i := 0; i+len(text) <= len(b); i++ {
		if string(b[i:i+len(text)]) == text {
			return true
		}
	}
	return false
}

func (p *Proxy) end(client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up, ok := p.open[client]; ok {
		_, _ = client.Close(), up.Close()
		delete(p.open, client)
		if c := p.cut; c != nil && c.on == client {
			// its answer did not come in time: the next one counts
			c.armed, c.on = false, nil
		}
	}
}

// CutRequest ends the next connection over which text comes, before it is passed on. The channel is
// closed when that has happened.
func (p *Proxy) CutRequest(text string) <-chan struct{} { return p.arm(&cut{text: text}) }

// CutReply ends the next connection over which text comes, after it was passed on and an answer has
// come, which is swallowed.
func (p *Proxy) CutReply(text string) <-chan struct{} {
	return p.arm(&cut{
		text:  text,
		reply: true,
	})
}

func (p *Proxy) arm(c *cut) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.done = make(chan struct{})
	p.cut = c
	return c.done
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	list := make([]net.Conn, 0, 2*len(p.open))
	for a, b := range p.open {
		list = append(list, a, b)
	}
	p.mu.Unlock()
	for _, c := range list {
		_ = c.Close()
	}
}

// Refuse makes the proxy end new connections at once, or take them again.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Stall keeps everything back until Resume; connections stay open.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Resume lets what was kept back pass.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}
