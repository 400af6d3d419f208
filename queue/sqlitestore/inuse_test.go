package sqlitestore_test

import (
	"path/filepath"
	"testing"
	"time"

	"trackchat/queue/sqlitestore"
)

func TestInUseWhileOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	want := func(when string, used bool) {
		t.Helper()
		if got, err := sqlitestore.InUse(dir); err != nil || got != used {
			t.Errorf("%s: in use %v, %v", when, got, err)
		}
	}
	want("before there is a store", false)
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	want("open", true)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	want("closed", false)
	again, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	if err != nil {
		t.Fatalf("asking whether it is in use keeps it in use: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
