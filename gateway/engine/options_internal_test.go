package engine

import "testing"

// TestSpareByDefault: 2 % of the descriptors are kept for other things than connections, 8 to 512.
func TestSpareByDefault(t *testing.T) {
	k := newCore(Options{})
	for limit, spare := range map[int]int{
		100: 8, 400: 8, 1000: 20, 10_000: 200, 25_600: 512, 1_048_576: 512,
	} {
		if got := limit - k.descriptors(limit); got != spare {
			t.Errorf("of %d descriptors %d are spared, want %d", limit, got, spare)
		}
	}
}
