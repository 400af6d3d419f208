//go:build unix

package engine

import (
	"errors"
	"math"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawOf gives access to the descriptor of a TCP connection; nil for other transports.
func rawOf(nc net.Conn) syscall.RawConn {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readFD reads without waiting.
func readFD(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

// writeFD writes what the kernel takes without waiting.
func writeFD(raw syscall.RawConn, p []byte) (n int, err error) {
	rawErr := raw.Write(func(fd uintptr) bool {
		for n < len(p) && err == nil {
			var m int
			m, err = syscall.Write(int(fd), p[n:])
			n += max(m, 0)
			if errors.Is(err, syscall.EINTR) {
				err = nil
			}
		}
		return true
	})
	if errors.Is(err, syscall.EAGAIN) {
		err = nil
	}
	if err == nil {
		err = rawErr
	}
	return n, err
}

// descriptors is the number below which the descriptor of an accepted connection must be. The kernel gives the lowest number that is free, so one
// beyond it says that nearly all are in use. The limit may change while the process runs.
func (k *core) descriptors() int {
	var limit unix.Rlimit
	if k.Spare < 0 || unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt
	}
	most := int(limit.Cur)
	if k.Spare > 0 {
		return most - k.Spare
	}
	return most - min(max(most/50, 8), 512)
}

// fdOf returns the descriptor of a TCP connection, -1 for other transports. It is good for a look only.
func fdOf(nc net.Conn) int {
	fd := -1
	if raw := rawOf(nc); raw != nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) }) // fails on a closed connection, which has none
	}
	return fd
}
