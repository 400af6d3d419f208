package queue_test

import (
	"slices"
	"testing"

	"trackchat/queue"
)

func TestBufferKeepsOrderAndBound(t *testing.T) {
	filled := 0
	b := queue.NewBuffer(3, -1, func() { filled++ })
	if got := b.Take(); got != nil || filled != 0 {
		t.Fatalf("empty: %v, filled %d times", got, filled)
	}
	if !b.Add() || !b.Add(1, 2) || !b.Add(3) || filled != 1 {
		t.Fatalf("no room for as many as fit, or filled %d times", filled)
	}
	if got := b.Take(); !slices.Equal(got, []int{1, 2, 3}) {
		t.Fatalf("took %v", got)
	}
	// What does not fit is told by one entry, and by no more of them until that one is taken.
	if !b.Add(4, 5) || b.Add(6, 7) || !b.Add(8) || !b.Add(9, 10, 11, 12) || filled != 2 {
		t.Fatalf("filled %d times", filled)
	}
	if got := b.Take(); !slices.Equal(got, []int{-1}) {
		t.Fatalf("took %v", got)
	}
	if b.Add(1, 2, 3, 4) || filled != 3 {
		t.Fatal("room for more than the limit")
	}
	if got := b.Take(); !slices.Equal(got, []int{-1}) || b.Take() != nil {
		t.Fatalf("took %v", got)
	}
}

func TestChangeBufferKeepsNewestWatermark(t *testing.T) {
	b := queue.NewChangeBuffer(3, func() {})
	stored := queue.Change{Kind: queue.ChangeStored, Tracker: 1, ID: 9}
	through := func(ms int64) queue.Change {
		return queue.Change{Kind: queue.ChangeWatermark, Ms: ms}
	}
	b.Add(stored, through(1))
	for ms := range int64(10) {
		if !b.Add(through(ms + 2)) {
			t.Fatal("watermarks add up")
		}
	}
	want := []queue.Change{stored, through(11)}
	if got := b.Take(); !slices.Equal(got, want) {
		t.Fatalf("took %+v, want %+v", got, want)
	}
	b.Add(stored, stored, stored)
	if b.Add(stored) {
		t.Fatal("room for more than the limit")
	}
	want = []queue.Change{{Kind: queue.ChangeResync}}
	if got := b.Take(); !slices.Equal(got, want) {
		t.Fatalf("took %+v, want %+v", got, want)
	}
}
