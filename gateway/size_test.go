package gateway

import (
	"testing"
	"unsafe"
)

// A quiet session is paid for a million times: this fails when a field is added without looking for
// one to give up.
func TestSizeOfASession(t *testing.T) {
	if size := unsafe.Sizeof(session{}); size > 144 {
		t.Errorf("a session takes %d bytes, the next size class is larger", size)
	}
}
