package sqlitestore_test

import (
	"testing"

	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"
)

func TestAdminContract(t *testing.T) {
	queuetest.RunAdmin(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		return fixture(t,
			sqlitestore.Options{})
	})
}
