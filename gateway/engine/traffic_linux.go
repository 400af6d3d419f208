package engine

import (
	"net"

	"golang.org/x/sys/unix"
)

// Traffic returns the bytes that a TCP connection has received from its peer and that the peer has acknowledged, TLS and all, as the kernel counts them: a quiet connection pays
// nothing for it. 0 where there is no such count, and after the connection has closed.
func Traffic(c Conn) (in, out int64) {
	switch c := c.(type) {
	case *loopConn:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flags&closed != 0 {
			return 0, 0
		}
		return traffic(int(c.fd))
	case *stdConn:
		raw := c.raw
		if raw == nil { // TLS
			if over, ok := c.nc.(interface{ NetConn() net.Conn }); ok {
				raw = rawOf(over.NetConn())
			}
		}
		if raw == nil {
			return 0, 0
		}
		_ = raw.Control(func(fd uintptr) { in, out = traffic(int(fd)) }) // fails on a closed connection
	}
	return in, out
}

func traffic(fd int) (in, out int64) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0
	}
	return int64(info.Bytes_received), int64(info.Bytes_acked)
}
