//go:build !linux

package engine_test

import "testing"

func descriptors(t *testing.T) int {
	t.Helper()
	return 0 // not to be counted here
}
