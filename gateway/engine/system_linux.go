package engine

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout is a wish, as in tune.
func setUserTimeout(fd int, d time.Duration) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}

// bindLate lets the kernel choose the local port when it knows the destination, so that one local
// address is good for more connections than it has ports. Where that is not to be had, the port is
// chosen early.
func bindLate(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}

// traffic asks the kernel.
func traffic(fd int) (in, out int64) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0
	}
	return int64(info.Bytes_received), int64(info.Bytes_acked)
}
