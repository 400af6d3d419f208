package trackersim_test

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"trackchat/protocol"
)

// desk is a gateway without a store: the protocol's own codec behind a TCP listener, whose answers
// the test decides.
type desk struct {
	t        *testing.T
	p        *protocol.Protocol
	ln       net.Listener
	settings protocol.Settings
	group    sync.WaitGroup

	mu     sync.Mutex
	result func(e *protocol.Event) protocol.Result // nil finds everything OK
	layer  func(net.Conn) net.Conn                 // over TCP; nil: none
	conns  []*deskConn
	seen   []seen
	change chan struct{}
}

// seen is one event, with the number of its connection from 0 and its frame.
type seen struct {
	protocol.Event
	conn  int
	frame string
}

type deskConn struct {
	net.Conn
	codec protocol.Codec
}

func newDesk(t *testing.T, p *protocol.Protocol) *desk {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, p: p, ln: ln, settings: settings(t, p), change: make(chan struct{})}
	d.group.Go(d.accept)
	t.Cleanup(d.close)
	return d
}

func (d *desk) addr() string { return d.ln.Addr().String() }

func (d *desk) close() {
	_ = d.ln.Close()
	d.mu.Lock()
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.group.Wait()
}

func (d *desk) accept() {
	for {
		nc, err := d.ln.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		if d.layer != nil {
			nc = d.layer(nc)
		}
		c := &deskConn{nc, d.p.NewCodec(d.settings)}
		d.conns = append(d.conns, c)
		number := len(d.conns) - 1
		d.mu.Unlock()
		d.group.Go(func() { d.serve(c, number) })
	}
}

func (d *desk) serve(c *deskConn, number int) {
	defer func() { _ = c.Close() }()
	var pending []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		pending = append(pending, buf[:n]...)
		for len(pending) > 0 {
			n, _, err := d.p.Frame(pending, 0)
			if err != nil {
				d.t.Errorf("framing: %v", err)
				return
			}
			if n == 0 {
				break
			}
			d.frame(c, number, pending[:n])
			pending = pending[n:]
		}
	}
}

func (d *desk) frame(c *deskConn, number int, frame []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []byte
	err := c.codec.Decode(frame, func(e *protocol.Event) {
		d.seen = append(d.seen, seen{*e, number, string(frame)})
		r := protocol.OK
		if d.result != nil {
			r = d.result(e)
		}
		if e.Kind == protocol.KindLogin && r == protocol.OK {
			c.codec.Bind(d.settings)
		}
		if e.Kind == protocol.KindRegister {
			e.Secret = "code"
		}
		out = c.codec.AppendReply(out, e, r)
	})
	if err != nil {
		d.t.Errorf("decoding %q: %v", frame, err)
	}
	out, _ = c.codec.Poll(out, time.Now())
	if len(out) > 0 {
		_, _ = c.Write(out) // the device may be gone
	}
	close(d.change)
	d.change = make(chan struct{})
}

// answer replaces what the desk finds about events from now on.
func (d *desk) answer(f func(e *protocol.Event) protocol.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.result = f
}

// wrap puts a layer over the connections to come.
func (d *desk) wrap(layer func(net.Conn) net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.layer = layer
}

// silent leaves the driver's texts unanswered.
func silent(e *protocol.Event) protocol.Result {
	if e.Kind == protocol.KindText {
		return protocol.Later
	}
	return protocol.OK
}

// send writes one part to the newest connection, in pieces of size bytes (0: whole).
func (d *desk) send(ref uint64, body string, size int) {
	d.t.Helper()
	c := d.ready()
	d.mu.Lock() // also while it is written: an answer must not come between the pieces
	defer d.mu.Unlock()
	out, err := c.codec.AppendText(nil, protocol.Text{Ref: ref, Parts: 1, Body: body})
	if err != nil {
		d.t.Fatal(err)
	}
	if size == 0 {
		size = len(out)
	}
	for piece := range slices.Chunk(out, size) {
		if _, err := c.Write(piece); err != nil {
			d.t.Fatal(err)
		}
	}
}

// ready waits until the newest connection can carry texts.
func (d *desk) ready() *deskConn {
	d.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		d.mu.Lock()
		c := d.conns[len(d.conns)-1]
		notYet, change := c.codec.Caps().NotYet, d.change
		d.mu.Unlock()
		if !notYet {
			return c
		}
		select {
		case <-change:
		case <-deadline.C:
			d.t.Fatal("the handshake does not end")
		}
	}
}

// write writes bytes to the newest connection.
func (d *desk) write(s string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.conns[len(d.conns)-1].Write([]byte(s)); err != nil {
		d.t.Fatal(err)
	}
}

// verdicts waits until n acks have come that say what became of a part, not only that it was taken,
// and returns them.
func (d *desk) verdicts(n int) []seen {
	d.t.Helper()
	for more := n; ; more++ {
		acks := slices.DeleteFunc(d.await(protocol.KindAck, more),
			func(s seen) bool { return s.Outcome == protocol.AckLater })
		if len(acks) >= n {
			return acks
		}
	}
}

// await waits until n events of a kind have come and returns them.
func (d *desk) await(kind protocol.Kind, n int) []seen {
	d.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		d.mu.Lock()
		var got []seen
		for _, s := range d.seen {
			if s.Kind == kind {
				got = append(got, s)
			}
		}
		change := d.change
		d.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-change:
		case <-deadline.C:
			d.t.Fatalf("%d events of kind %d came, want %d", len(got), kind, n)
		}
	}
}
