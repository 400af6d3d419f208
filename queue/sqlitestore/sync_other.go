//go:build !linux

package sqlitestore

import "os"

// syncFile makes the file's content durable.
func syncFile(f *os.File) error { return f.Sync() }
