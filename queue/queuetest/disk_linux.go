package queuetest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// SmallDisk makes a file system of its own until the test ends, which takes root.
func SmallDisk(tb testing.TB, bytes int) (dir string) {
	tb.Helper()
	dir = tb.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(bytes))
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "" {
		tb.Skip("only root can make a small disk")
	}
	if err != nil {
		tb.Fatalf("making a small disk: %v", err)
	}
	tb.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			tb.Errorf("removing the small disk: %v", err)
		}
	})
	return dir
}

// FillDisk writes into a file until its disk has no byte left.
func FillDisk(tb testing.TB, file string) {
	tb.Helper()
	f, err := os.Create(filepath.Clean(file))
	if err != nil {
		tb.Fatal(err)
	}
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err = f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		tb.Fatalf("filling the disk: %v", err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}
