//go:build linux || darwin || freebsd

package sqlitestore

import "syscall"

// freeBytes returns what unprivileged processes may still write to the file system of dir.
func freeBytes(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true //nolint:unconvert // types differ by system
}
