package queuetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// CommandFault is what happens to a command on its way to Redis.
type CommandFault struct {
	Reply    string // not empty: Redis does not get the command, this is answered
	Executed bool   // Redis gets the command, its answer is lost with the connection
	// Neither: the connection ends before the command.
}

// CommandProxies pass commands on to Redis and spoil one of them.
type CommandProxies struct {
	mu    sync.Mutex // guards what follows
	armed bool
	name  string
	left  int // commands of that name until the one that meets the fault
	fault CommandFault
	seen  []string
	met   bool
}

// Begin has the n-th command of a name that comes from now on over any connection meet the fault,
// with 0 none. The function it returns ends that and says which commands came, and whether one met
// the fault.
func (p *CommandProxies) Begin(
	name string, n int, fault CommandFault,
) (end func() (names []string, met bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.name, p.left, p.fault, p.seen, p.met = true, name, n, fault, nil, false
	return func() ([]string, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.armed = false
		return p.seen, p.met
	}
}

// meet is called with each command and returns its fault, nil for none.
func (p *CommandProxies) meet(args []string) *CommandFault {
	name := strings.ToLower(args[0])
	if name == "evalsha" {
		name += " " + args[1]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.armed || ofConnections(name, len(args)) {
		return nil
	}
	p.seen = append(p.seen, name)
	if name != p.name {
		return nil
	}
	if p.left--; p.left != 0 {
		return nil
	}
	p.met = true
	return new(p.fault)
}

// ofConnections reports whether a command may come at any time: with a new connection, or once a
// second.
func ofConnections(name string, args int) bool {
	return name == "info" && args > 1 || name == "script" || name == "hello" || name == "client"
}

// Listen starts a proxy of one Redis and ends it with the test.
func (p *CommandProxies) Listen(tb testing.TB, target string) (addr string) {
	tb.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	open, closed := make(map[net.Conn]bool), false
	hold := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		open[c] = true
		return !closed
	}
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			up, err := new(net.Dialer).Dial("tcp", target)
			if err != nil || !hold(c) || !hold(up) {
				_ = c.Close()
				continue
			}
			pair := &commandPair{p: p, client: c, up: up, order: make(chan *CommandFault, 1<<12)}
			work.Go(pair.commands)
			work.Go(pair.replies)
		}
	})
	tb.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		closed = true
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return ln.Addr().String()
}

// commandPair is a connection and the one that it is passed on to.
type commandPair struct {
	p          *CommandProxies
	client, up net.Conn
	order      chan *CommandFault // of commands whose answers are still to come, nil without one
}

func (c *commandPair) close() { _, _ = c.client.Close(), c.up.Close() }

// commands passes commands on until the connection ends or one is lost with it.
func (c *commandPair) commands() {
	defer close(c.order)
	r := bufio.NewReaderSize(c.client, 64<<10)
	for {
		raw, args, err := readCommand(r)
		if err != nil {
			_ = c.up.Close()
			return
		}
		if strings.Contains(strings.ToLower(args[0]), "subscribe") {
			// answers come unasked from now on
			c.order <- &CommandFault{Reply: passAll}
			if _, err := c.up.Write(raw); err == nil {
				_, _ = io.Copy(c.up, r)
			}
			_ = c.up.Close()
			return
		}
		fault := c.p.meet(args)
		c.order <- fault
		if fault != nil && !fault.Executed {
			if fault.Reply == "" {
				return
			}
			continue
		}
		if _, err := c.up.Write(raw); err != nil {
			return
		}
	}
}

// passAll instead of an answer means that all further bytes are passed on.
const passAll = "all"

// replies passes answers back in the order of their commands.
func (c *commandPair) replies() {
	defer c.close()
	r := bufio.NewReaderSize(c.up, 64<<10)
	for fault := range c.order {
		switch {
		case fault != nil && fault.Reply == passAll:
			_, _ = io.Copy(c.client, r)
			return
		case fault != nil && fault.Reply != "":
			if _, err := fmt.Fprintf(c.client, "-%s\r\n", fault.Reply); err != nil {
				return
			}
			continue
		case fault != nil && !fault.Executed:
			return
		}
		var raw bytes.Buffer
		if err := copyReply(&raw, r); err != nil || fault != nil {
			return
		}
		if _, err := c.client.Write(raw.Bytes()); err != nil {
			return
		}
	}
}

// readCommand reads one command: a list of strings.
func readCommand(r *bufio.Reader) (raw []byte, args []string, err error) {
	var b bytes.Buffer
	if err := copyReply(&b, r); err != nil {
		return nil, nil, err
	}
	raw = b.Bytes()
	list := bufio.NewReader(bytes.NewReader(raw))
	head, err := list.ReadString('\n')
	if err != nil || head[0] != '*' {
		return nil, nil, fmt.Errorf("command %q: %w", head, err)
	}
	for range 2 { // no more are of interest
		text, err := readReply(list)
		if err != nil {
			break
		}
		args = append(args, text)
	}
	n, err := strconv.Atoi(strings.TrimSpace(head[1:]))
	if err != nil || len(args) == 0 {
		return nil, nil, fmt.Errorf("command %q: %w", head, err)
	}
	return raw, append(args, make([]string, max(0, n-len(args)))...), nil
}

// copyReply copies one value of the Redis protocol (RESP2) as it is.
func copyReply(dst *bytes.Buffer, r *bufio.Reader) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	dst.WriteString(line)
	if line[0] != '$' && line[0] != '*' {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil {
		return fmt.Errorf("length %q: %w", line, err)
	}
	if line[0] == '$' && n >= 0 {
		_, err = io.CopyN(dst, r, int64(n)+2)
		return err
	}
	for range n {
		if err := copyReply(dst, r); err != nil {
			return err
		}
	}
	return nil
}

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
