package engine

import (
	"testing"
	"unsafe"
)

// A quiet connection is paid for a million times, as a session of the gateway is.
func TestSizeOfAConnection(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 96 {
		t.Errorf("a connection takes %d bytes, the next size class is larger", size)
	}
}
