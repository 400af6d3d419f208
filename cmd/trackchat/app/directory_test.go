package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/api/auth"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/queue"

	"github.com/google/go-cmp/cmp"
)

func TestDirectoryImport(t *testing.T) {
	st := apptest.OpenStore(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "directory.yaml")
	accounts := func() map[queue.AccountID]queue.Account {
		list, _, err := st.LoadDirectory(t.Context())
		apptest.Must(t, err)
		m := make(map[queue.AccountID]queue.Account)
		for _, a := range list {
			m[a.ID] = a
		}
		return m
	}
	run := func(text string, prune bool, want queue.ImportStats) {
		t.Helper()
		apptest.Must(t, os.WriteFile(file, []byte(text), 0o600))
		got, err := ImportDirectory(t.Context(), st, file, prune)
		apptest.Must(t, err)
		if got != want {
			t.Errorf("import changed %+v, want %+v", got, want)
		}
	}
	const first = `
accounts:
  - { id: 1, login: anna, password: secret }
  - { id: 2, login: berta, password: secret }
  - { id: 3, login: carla }
trackers:
  - { id: 10, account: 1, protocol: jt808, device_id: "013812345678" }
`
	run(first, false, queue.ImportStats{Added: 4})
	before := accounts()
	for id, verifies := range map[queue.AccountID]bool{1: true, 2: true, 3: false} {
		if auth.VerifyPassword(before[id].Password, "secret") != verifies {
			t.Errorf("account %d has the hash %q", id, before[id].Password)
		}
	}
	if before[1].Password == before[2].Password || strings.Contains(before[1].Password, "secret") ||
		before[3].Password != "" {
		t.Errorf("hashes %q, %q, %q", before[1].Password, before[2].Password, before[3].Password)
	}

	run(first, false, queue.ImportStats{Unchanged: 4})
	if diff := cmp.Diff(before, accounts()); diff != "" {
		t.Errorf("the same file again changes (-before +after):\n%s", diff)
	}

	run(`
accounts:
  - { id: 1, login: anna, password: other }
  - { id: 2, login: berta }
`, false, queue.ImportStats{Updated: 2})
	after := accounts()
	if !auth.VerifyPassword(after[1].Password, "other") ||
		auth.VerifyPassword(after[1].Password, "secret") || after[2].Password != "" ||
		len(after) != 3 {
		t.Errorf("accounts after new passwords: %+v", after)
	}

	run("accounts:\n  - { id: 2, login: berta }\n", true, queue.ImportStats{
		Unchanged: 1,
		Removed:   3,
	})
	if _, trackers, err := st.LoadDirectory(t.Context()); err != nil || len(trackers) != 0 ||
		len(accounts()) != 1 {
		t.Errorf("left after pruning: %v, %v, %v", accounts(), trackers, err)
	}

	apptest.Must(t, os.WriteFile(file, []byte("accounts:\n  - { id: 2, logn: x }\n"), 0o600))
	if _, err := ImportDirectory(t.Context(), st, file, true); err == nil || len(accounts()) != 1 {
		t.Errorf("a wrong file: %v, accounts %v", err, accounts())
	}
	if _, err := ImportDirectory(t.Context(), st, file+".missing", true); err == nil ||
		len(accounts()) != 1 {
		t.Errorf("no file: %v, accounts %v", err, accounts())
	}
}

// TestAuditHasTheDirectoryFile: what its import has changed at the start and at each reload, and
// that one was refused.
func TestAuditHasTheDirectoryFile(t *testing.T) {
	cfg := apptest.Config(t, 2)
	s := startService(t, cfg)
	newest := func() string {
		t.Helper()
		_, body := s.Ask(http.MethodGet, "/admin/audit?limit=1")
		var got struct {
			List []struct {
				Name    string `json:"actor_name"`
				Action  string
				Actor   string
				Outcome string
				Detail  string
				Code    int
			}
		}
		apptest.Must(t, json.Unmarshal([]byte(body), &got))
		e := got.List[0]
		if e.Name != cfg.Directory.File || e.Action != "directory/import" || e.Actor != "file" {
			t.Errorf("%+v", e)
		}
		return strings.TrimSpace(fmt.Sprint(e.Outcome, " ", e.Code, " ", e.Detail))
	}
	if got := newest(); got != "done 0 3 added, 0 updated, 0 removed, 0 unchanged" {
		t.Error(got)
	}
	yaml := strings.Replace(apptest.DirectoryYAML(3), "label: Truck 1", "label: Van", 1)
	apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(yaml), 0o600))
	apptest.Must(t, s.App.Reload(t.Context()))
	if got := newest(); got != "done 0 1 added, 1 updated, 0 removed, 2 unchanged" {
		t.Error(got)
	}
	for _, yaml := range []string{"accounts:\n  - {id: 1, logn: x, password: Canary}\n", ""} {
		if yaml == "" {
			apptest.Must(t, os.Remove(cfg.Directory.File))
		} else {
			apptest.Must(t, os.WriteFile(cfg.Directory.File, []byte(yaml), 0o600))
		}
		if err := s.App.Reload(t.Context()); err == nil {
			t.Error("a wrong file is taken")
		}
		if got := newest(); got != "refused 7" {
			t.Error(got)
		}
	}
	if _, body := s.Ask(http.MethodGet, "/admin/audit"); strings.Contains(body, "Canary") {
		t.Error(body)
	}
}

// TestDirectoryImportOfPeople: what managers have made stays where the file says nothing of it, and
// passwords of users keep their hashes.
func TestDirectoryImportOfPeople(t *testing.T) {
	st := apptest.OpenStore(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "directory.yaml")
	run := func(more, tracker string, want queue.ImportStats) queue.Account {
		t.Helper()
		apptest.Must(t, os.WriteFile(file, []byte(
			"accounts:\n  - { id: 1, login: anna"+more+" }\ntrackers:\n"+
				"  - { id: 10, account: 1, protocol: jt808, device_id: \"1\""+tracker+" }\n"), 0o600))
		got, err := ImportDirectory(t.Context(), st, file, true)
		apptest.Must(t, err)
		if got != want {
			t.Errorf("import of%s changed %+v, want %+v", more, got, want)
		}
		accounts, _, err := st.LoadDirectory(t.Context())
		apptest.Must(t, err)
		return accounts[0]
	}
	const users = ", users: [{ id: 1, login: bob, password: secret, name: Bob, role: viewer }," +
		" { id: 2, login: eve, name: Eve, role: manager }]"
	first := run(users+", groups: [{ id: 7, title: North }]", ", group_id: 7, tags: [a]",
		queue.ImportStats{Added: 2})
	if got := first.AllUsers(); len(got) != 2 || !auth.VerifyPassword(got[0].Password, "secret") ||
		got[1].Password != "" || got[1].Role != queue.RoleManager {
		t.Fatalf("users %+v", got)
	}
	again := run(users, "", queue.ImportStats{Unchanged: 2})
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the same users again change (-before +after):\n%s", diff)
	}

	// A manager makes a user and a key while the service runs.
	_, err := st.EditDirectory(t.Context(), []queue.Edit{{
		Kind: queue.EditChangeAccount, Account: queue.Account{ID: 1},
		Change: func(a *queue.Account) error {
			a.People = a.People.Clone()
			a.People.Users = append(a.People.Users,
				queue.User{ID: a.People.NextID(), Login: "new", Name: "New"})
			a.Keys = []queue.Key{{Hash: queue.HashKey("k"), Name: "ERP"}}
			return nil
		},
	}})
	apptest.Must(t, err)
	kept := run("", "", queue.ImportStats{Unchanged: 2})
	if len(kept.AllUsers()) != 3 || len(kept.AllGroups()) != 1 || len(kept.Keys) != 1 {
		t.Errorf("after a file that says nothing of them: %+v, %+v", kept, kept.People)
	}
	changed := run(", keys: []"+strings.Replace(users, "secret", "other", 1), ", tags: []",
		queue.ImportStats{Updated: 2})
	if got := changed.AllUsers(); len(got) != 2 || len(changed.Keys) != 0 ||
		!auth.VerifyPassword(got[0].Password, "other") || len(changed.AllGroups()) != 1 {
		t.Errorf("after another password: %+v, %+v", changed, changed.People)
	}
	if _, trackers, err := st.LoadDirectory(t.Context()); err != nil ||
		trackers[0].Sorting != nil {
		t.Errorf("%+v, %v", trackers, err)
	}
}
