//go:build unix

package engine

import (
	"errors"
	"net"
	"syscall"
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
