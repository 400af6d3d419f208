package standin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
)

// Server is a running server. Its methods may be called from any goroutine.
type Server struct {
	// Static after Start.
	o     Options
	addr  string
	group sync.WaitGroup

	mu        sync.Mutex
	ln        net.Listener // nil: it does not listen
	closed    bool
	behaviour Behaviour
	conns     map[*conn]struct{}
	devices   map[string]*device
	figures   Figures
	texts     uint64        // references given out
	changed   chan struct{} // closed at the next change of records; nil: nobody waits
}

// Start listens and serves until Close. The context is for listening alone.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Server{
		o: o, addr: o.Listen, behaviour: o.Behaviour,
		conns: map[*conn]struct{}{}, devices: map[string]*device{},
	}
	if err := s.Return(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is where the server listens, or did before Die: host:port.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Return listens again, at the same address, after Die. It does nothing where the server listens.
func (s *Server) Return(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("stand-in listening: %w", net.ErrClosed)
	case s.ln != nil:
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("stand-in listening: %w", err)
	}
	s.ln, s.addr = ln, ln.Addr().String()
	s.group.Go(func() { s.accept(ln) })
	return nil
}

// Die stops listening, so that dials are refused, and ends all connections; see Kill.
func (s *Server) Die(how End) int {
	s.mu.Lock()
	if s.ln != nil {
		_ = s.ln.Close() // nothing waits in it that the end of the connections does not end too
		s.ln = nil
	}
	s.mu.Unlock()
	return s.Kill(how)
}

// Kill ends the connections of those devices, or all connections where none is given, and returns
// their number. When it returns no frame of them is read and nothing written any more.
func (s *Server) Kill(how End, devices ...string) int {
	var victims []*conn
	s.mu.Lock()
	if len(devices) == 0 {
		victims = slices.Collect(maps.Keys(s.conns))
	}
	for _, id := range devices {
		if d := s.devices[queue.NormalizeDeviceID(id)]; d != nil && d.conn != nil {
			victims = append(victims, d.conn)
		}
	}
	s.mu.Unlock()
	for _, c := range victims {
		c.end(how)
	}
	return len(victims)
}

// Close ends everything and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.Die(FIN)
	s.mu.Lock()
	for c := range s.conns {
		_ = c.tcp.Close() // it does not wait for the other side
	}
	s.mu.Unlock()
	s.group.Wait()
}

// Behave changes how the server treats all its devices from now on.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	s.behaviour = b
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, c := range conns {
		c.wake()
	}
}

func (s *Server) behaves() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behaviour
}

// Text sends a text of the server's own to a device and returns the reference that the ack will
// carry, 0 where the protocol has none. It is sent once, as one part. protocol.ErrNotText: not now,
// protocol.ErrTextTooLong, ErrAway. It waits for a device that does not read.
func (s *Server) Text(device, body string) (ref uint64, err error) {
	s.mu.Lock()
	s.texts++
	ref = s.texts
	s.mu.Unlock()
	return s.text(device, body, ref)
}

// TextAs is Text with a chosen reference, of which the protocol takes the low bits: the serial
// number of JT/T 808, the CID of EGTS, the message id of FMI, the number of a Galileosky command.
func (s *Server) TextAs(device, body string, ref uint64) error {
	_, err := s.text(device, body, ref)
	return err
}

func (s *Server) text(device, body string, ref uint64) (uint64, error) {
	c, err := s.find(device)
	if err == nil {
		ref, err = c.text(body, ref)
	}
	if err != nil {
		return 0, fmt.Errorf("text to device %s: %w", device, err)
	}
	return ref, nil
}

// Send writes bytes to a device, between whole answers. It waits for a device that does not read.
func (s *Server) Send(device string, b []byte) error {
	c, err := s.find(device)
	if err == nil {
		err = c.send(b)
	}
	if err != nil {
		return fmt.Errorf("bytes to device %s: %w", device, err)
	}
	return nil
}

func (s *Server) find(device string) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[queue.NormalizeDeviceID(device)]
	if d == nil || d.conn == nil {
		return nil, ErrAway
	}
	return d.conn, nil
}

// Await waits until ok, which is asked after every change of the records, or ctx ends.
func (s *Server) Await(ctx context.Context, ok func() bool) error {
	for {
		s.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("awaiting the stand-in: %w", ctx.Err())
		}
	}
}

// acceptPause is for errors of Accept that pass, such as too many open files.
const acceptPause = 50 * time.Millisecond

func (s *Server) accept(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptPause)
			continue
		}
		c := s.newConn(nc.(*net.TCPConn)) // what a TCP listener accepts
		if !s.enter(c, ln) {
			_ = nc.Close() // nothing was said over it
			continue
		}
		s.group.Go(c.serve)
	}
}

// enter takes a connection in, unless there are too many or the server has died meanwhile.
func (s *Server) enter(c *conn, ln net.Listener) (taken bool) {
	s.update(func() {
		if s.ln != ln || len(s.conns) >= s.o.MaxConns {
			s.figures.Closed++
			return
		}
		taken = true
		s.conns[c] = struct{}{}
		s.figures.Connections++
		s.figures.Open++
	})
	return taken
}

// leave gives back what a connection holds.
func (s *Server) leave(c *conn) {
	if c.device == nil && len(c.early)+c.missed > 0 && c.id == "" {
		c.named("")
	}
	s.update(func() {
		delete(s.conns, c)
		s.figures.Open--
		if d := c.device; d != nil && d.conn == c {
			d.conn = nil
		}
	})
}
