//go:build !unix

package engine

import (
	"errors"
	"math"
	"net"
	"syscall"
)

// rawOf says that connections have to be read and written through net.Conn here.
func rawOf(net.Conn) syscall.RawConn { return nil }

func readFD(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func writeFD(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func (*core) descriptors() int { return math.MaxInt }

func fdOf(net.Conn) int { return -1 }
