package queuetest_test

import (
	"testing"

	"trackchat/queue"
	"trackchat/queue/queuetest"
)

func TestModel(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		clock := queuetest.NewClock()
		m := queuetest.NewModel(clock.Now, 700)
		t.Cleanup(func() { _ = m.Close() })
		return queuetest.Fixture{
			Store: m, Clock: clock, MaxPending: 700,
			Reopen: func(*testing.T) queue.Store { return m.Reopen() },
		}
	})
}

func TestModelAdmin(t *testing.T) {
	queuetest.RunAdmin(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		clock := queuetest.NewClock()
		m := queuetest.NewModel(clock.Now, 700)
		t.Cleanup(func() { _ = m.Close() })
		return queuetest.Fixture{
			Store: m, Clock: clock, MaxPending: 700,
			Reopen: func(*testing.T) queue.Store { return m.Reopen() },
		}
	})
}
