package trackersim

import (
	"io"
	"net"
	"syscall"
)

// reader reads a connection; where it can (see readFD) it waits without a buffer, so that a quiet
// tracker holds none.
type reader struct {
	conn    net.Conn
	raw     syscall.RawConn // nil: conn.Read
	buffers *Buffers
	buf     *[readSize]byte // lent, nil between read and the next wait
	n       int
	err     error
	try     func(fd uintptr) bool
}

func newReader(conn net.Conn, buffers *Buffers) *reader {
	r := &reader{conn: conn, raw: rawOf(conn), buffers: buffers}
	r.try = r.tryFD
	return r
}

// tryFD is the callback of RawConn.Read: false waits until the descriptor is readable.
func (r *reader) tryFD(fd uintptr) bool {
	r.buf = r.buffers.read()
	var again bool
	r.n, again, r.err = readFD(fd, r.buf[:])
	if again {
		r.release()
	}
	return !again
}

// read waits for bytes, which are valid until release.
func (r *reader) read() ([]byte, error) {
	if r.raw == nil {
		r.buf = r.buffers.read()
		r.n, r.err = r.conn.Read(r.buf[:])
	} else {
		r.n, r.err = 0, nil
		if err := r.raw.Read(r.try); err != nil {
			return nil, err
		}
		if r.n == 0 && r.err == nil {
			r.err = io.EOF
		}
	}
	if r.n > 0 {
		return r.buf[:r.n], nil // an error that came with bytes comes again without them
	}
	return nil, r.err
}

func (r *reader) release() {
	if r.buf != nil {
		r.buffers.putRead(r.buf)
		r.buf = nil
	}
}
