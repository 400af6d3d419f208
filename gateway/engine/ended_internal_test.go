package engine

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
)

type idleHandler struct {
	opens chan Conn
	ends  chan error
}

func (h *idleHandler) OnOpen(c Conn)               { h.opens <- c }
func (h *idleHandler) OnData(_ Conn, b []byte) int { return len(b) }
func (h *idleHandler) OnClose(_ Conn, err error)   { h.ends <- err }

// TestLoopEndsByItself: an event loop that ends, which gnet tells nobody, ends Serve with the
// reason; its connections have their OnClose, nobody waits for it to take another one, and Shutdown
// works.
func TestLoopEndsByItself(t *testing.T) {
	made, err := New(Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := made.(*server)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &idleHandler{opens: make(chan Conn, 10), ends: make(chan error, 10)}
	served := make(chan error, 1)
	go func() { served <- e.Serve(ln, h) }()
	if _, err := e.Dial(t.Context(), ln.Addr().String(), DialOptions{}, h); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// Both ends are there: what gnet is still enrolling when a loop ends waits for ever.
	for range 2 {
		select {
		case <-h.opens:
		case <-ctx.Done():
			t.Fatal("no OnOpen")
		}
	}
	l := e.loops[0]
	if err := l.events.Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
		return gneterrors.ErrEngineShutdown
	})); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-h.ends:
			if !errors.Is(err, ErrShutdown) && err == nil {
				t.Errorf("OnClose(%v)", err)
			}
		case <-ctx.Done():
			t.Fatal("no OnClose")
		}
	}
	select {
	case err := <-served:
		if !errors.Is(err, ErrLoop) {
			t.Errorf("Serve: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("Serve goes on")
	}
	other, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	nc, err := net.Dial("tcp", other.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(&service{terms: e.core.terms(h, nil), loop: l})
	if err := l.enroll(c, nc); !errors.Is(err, ErrLoop) {
		t.Errorf("enrolled in a loop that has ended: %v", err)
	}
	if l.Execute(func() {}) {
		t.Error("an order taken")
	}
	if _, err := e.Dial(ctx, ln.Addr().String(), DialOptions{}, h); !errors.Is(err, ErrShutdown) {
		t.Errorf("Dial: %v", err)
	}
	if err := e.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
