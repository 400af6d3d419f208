package engine

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

const (
	readsPerTurn = 8       // reads of one connection before the others get their turn
	smallestRead = 4 << 10 // room for new bytes behind those that are kept
)

// socket is a connection as its reader sees it.
type socket interface {
	Conn
	base() *state
	recv(p []byte) (int, error) // without waiting: syscall.EAGAIN when there is nothing, 0 at the end of the stream
}

// outcome is why a turn of reading ended.
type outcome uint8

const (
	idle   outcome = iota // everything is read: wait for the socket
	again                 // there may be more, but it is the others' turn
	parked                // paused, or closed by this side
	ended                 // the connection is over, the error says why
)

// window is a read buffer and the way from it into handlers. One goroutine owns it; connections borrow it for their turn.
type window struct {
	buf []byte
}

func newWindow() *window { return &window{buf: make([]byte, readBuffer)} }

// pump reads what a connection has and feeds its handler, at most readsPerTurn times. After a read that did not fill its room it ends without
// another one, unless eager: a new arrival would be a new event, but an end of stream whose event has been taken is only found by reading.
func (w *window) pump(c socket, eager bool) (outcome, error) {
	s := c.base()
	for range readsPerTurn {
		held, room, next := s.begin(len(w.buf))
		if next == stopReading {
			return parked, nil
		}
		w.load(s.partial, room)
		n := 0
		if next != offerAgain {
			var err error
			n, err = c.recv(w.buf[held : held+room])
			if err != nil {
				return idleOr(err)
			}
			if n == 0 {
				return ended, endOf(held, next)
			}
			s.last.Store(s.srv.core.seconds())
		}
		data := w.buf[:held+n]
		if next == readFront {
			used, out, err := w.front(c, data, n)
			switch out {
			case idle:
				continue
			case parked, ended:
				return out, err
			case again:
			}
			data = data[used:]
		}
		if err := w.feed(c, data, min(n, len(data))); err != nil {
			return ended, err
		}
		if next == readMore && n < room && !eager {
			return idle, nil
		}
	}
	return again, nil
}

// front looks for the PROXY header in data, the last fresh bytes of which are new: idle when it is not whole yet, again when it is, of used bytes, and what
// is behind it is the handler's.
func (w *window) front(c socket, data []byte, fresh int) (used int, out outcome, err error) {
	s := c.base()
	used, err = s.srv.hear(c, data)
	switch {
	case err != nil:
		return 0, ended, err
	case used == 0:
		out, err = idle, s.keep(data, fresh)
	case s.has(closed | paused): // by OnOpen
		rest := data[used:]
		out, err = parked, s.keep(rest, min(fresh, len(rest)))
	default:
		return used, again, nil
	}
	if err != nil {
		return 0, ended, err
	}
	return 0, out, nil
}

// endOf is what the end of the stream means: there is none amid a PROXY header.
func endOf(held int, next step) error {
	if next == readFront && held > 0 {
		return fmt.Errorf("%w: it ends too early", ErrProxy)
	}
	return io.EOF
}

// idleOr tells having nothing to read from the end of the connection.
func idleOr(err error) (outcome, error) {
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return idle, nil
	case errors.Is(err, syscall.EINTR):
		return again, nil
	default:
		return ended, err
	}
}

// load copies the bytes that are kept to the front of the window and makes sure of the room behind them.
func (w *window) load(held *chunk, room int) {
	if need := held.len() + room; need > len(w.buf) {
		w.buf = make([]byte, need)
	}
	copy(w.buf, held.bytes())
}

// feed offers data, the last fresh bytes of which are new, until the handler wants no more, and keeps the rest.
func (w *window) feed(c socket, data []byte, fresh int) error {
	s := c.base()
	for len(data) > 0 {
		n, err := s.srv.data(c, data)
		if err != nil {
			return err
		}
		data = data[n:]
		if n == 0 || len(data) > 0 && s.has(closed|paused) {
			break
		}
	}
	if len(data) == 0 && s.partial == nil {
		return nil
	}
	return s.keep(data, min(fresh, len(data)))
}

// step is what a reader does next.
type step uint8

const (
	readMore    step = iota
	offerAgain       // Resume asked for what is kept to be offered again
	stopReading      // paused or closed
	readFront        // what comes belongs to the PROXY header
)

// begin decides about the next step. held is how many bytes are kept, room how many may be read behind them: an untrusted peer gets no more
// than one byte beyond its limit, so that even a paused connection keeps no more than that.
func (s *state) begin(size int) (held, room int, next step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held = s.partial.len()
	if s.flags&(closed|paused) != 0 {
		return held, 0, stopReading
	}
	if s.flags&rerun != 0 {
		s.flags &^= rerun
		if held > 0 {
			return held, 0, offerAgain
		}
	}
	room = max(size-held, smallestRead)
	if s.flags&trusted == 0 {
		room = max(min(room, int(s.limit)+1-held), 1)
	}
	if s.flags&unheard != 0 {
		return held, room, readFront
	}
	return held, room, readMore
}
