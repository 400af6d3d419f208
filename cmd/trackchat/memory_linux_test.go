package main

import (
	"syscall"
	"testing"
)

// TestResidentOutsideGo takes memory from the system past Go, touches it and gives it back.
func TestResidentOutsideGo(t *testing.T) {
	const bytes, margin = 128 << 20, 48 << 20
	outside := func() int64 {
		n, known := outsideGo()
		if !known {
			t.Fatal("not known")
		}
		return n
	}
	before := outside()
	mem, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < bytes; i += 4096 {
		mem[i] = 1
	}
	with := outside()
	if err := syscall.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	if with < bytes-margin || with > before+bytes+margin || outside() > before+margin {
		t.Errorf("%d bytes before, %d with %d more, %d after", before, with, bytes, outside())
	}
}
