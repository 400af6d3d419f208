//go:build !unix

package trackersim

import (
	"net"
	"syscall"
)

// rawOf gives no access: the tracker waits in Read with a buffer.
func rawOf(net.Conn) syscall.RawConn { return nil }

func readFD(uintptr, []byte) (n int, again bool, err error) { return 0, false, syscall.EINVAL }
