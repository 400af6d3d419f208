package sqlitestore_test

import (
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a store and closes it with the test.
func open(tb testing.TB, o sqlitestore.Options) *sqlitestore.Store {
	tb.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	s, err := sqlitestore.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("closing: %v", err)
		}
	})
	return s
}

// fixture opens stores in one directory, one after the other.
func fixture(t *testing.T, o sqlitestore.Options) queuetest.Fixture {
	t.Helper()
	clock := queuetest.NewClock()
	o.Path, o.Now, o.MaxPending = t.TempDir(), clock.Now, 700
	current := open(t, o)
	return queuetest.Fixture{
		Store: current, Clock: clock, MaxPending: o.MaxPending,
		Reopen: func(t *testing.T) queue.Store {
			t.Helper()
			if err := current.Close(); err != nil {
				t.Fatal(err)
			}
			current = open(t, o)
			return current
		},
	}
}

func TestContract(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		return fixture(t,
			sqlitestore.Options{})
	})
}

func TestMachine(t *testing.T) { queuetest.Machine(t, fixture(t, sqlitestore.Options{})) }
