package sqlitestore_test

import (
	"context"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"
)

func TestCrash(t *testing.T) { crash(t, "TestCrash", sqlitestore.Always) }

// TestCrashEverySecond: the end of the process loses nothing with this durability either.
func TestCrashEverySecond(t *testing.T) {
	crash(t, "TestCrashEverySecond",
		sqlitestore.EverySecond)
}

func crash(t *testing.T, name string, d sqlitestore.Durability) {
	t.Helper()
	dir := t.TempDir()
	queuetest.Crash(t, queuetest.CrashOptions{
		Test: name, Place: dir, Rounds: 3,
		Open: func(ctx context.Context, place string) (queue.Store, error) {
			return sqlitestore.Open(ctx, sqlitestore.Options{
				Path: place, Now: time.Now,
				MaxPending: 100_000, Durability: d,
			})
		},
	})
	rep, err := sqlitestore.Inspect(t.Context(), dir, time.Now)
	if err != nil || len(rep.Problems) > 0 {
		t.Fatalf("integrity after the kills: %v %v", rep.Problems, err)
	}
}
