//go:build unix

package trackersim

import (
	"errors"
	"net"
	"syscall"
)

// rawOf gives access to the descriptor of a TCP connection; nil for other transports.
func rawOf(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readFD reads what is there; again says that nothing is.
func readFD(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), errors.Is(err, syscall.EAGAIN), err
		}
	}
}
