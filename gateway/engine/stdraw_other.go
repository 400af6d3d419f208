//go:build !unix

package engine

import (
	"errors"
	"net"
	"syscall"
)

// rawOf says that connections have to be read and written through net.Conn here.
func rawOf(net.Conn) syscall.RawConn { return nil }

func readFD(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func writeFD(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }
