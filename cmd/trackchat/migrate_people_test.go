package main

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// namedKey is one of the keys of the account of livedIn.
const namedKey = "5d0f2c4b8e1a47f39c6d7b2e0a813f64"

// authors are who wrote the texts of livedIn; nobody knows who wrote some.
func authors() []*queue.Author {
	return []*queue.Author{
		nil,
		{Kind: queue.AuthorUser, ID: "1", Name: "Ann"},
		{Kind: queue.AuthorKey, ID: "5d0f", Name: "ERP «нов»"},
	}
}

// TestMigratePeople: who wrote a text, who may do what and who has logged in is known in Redis as
// it was before, also from a backup.
func TestMigratePeople(t *testing.T) {
	dir := livedIn(t, 1, 40)
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: dir, Now: time.Now})
	apptest.Must(t, err)
	now := time.Now().UnixMilli()
	session := queue.Session{
		Hash: queue.HashKey("session"), Account: 1, User: 1, Stamp: "0123456789abcdef",
		CreatedMs: now, ExpiresMs: now + time.Hour.Milliseconds(),
	}
	apptest.Must(t, st.PutSession(t.Context(), session))
	sent, err := st.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "to many"}})
	apptest.Must(t, errors.Join(err, sent[0].Err))
	broadcast := queue.Broadcast{ID: 77, Text: "to many", Trackers: 3, Sent: 1, Complete: true}
	targets := []queue.BroadcastTarget{
		{Tracker: 1, Message: sent[0].ID}, {Tracker: 2}, {Tracker: 3, Message: queue.MaxID - 1},
	}
	apptest.Must(t, st.SaveBroadcast(t.Context(), 1, broadcast, 0, targets))
	accounts, trackers, err := st.LoadDirectory(t.Context())
	apptest.Must(t, errors.Join(err, st.Close()))
	key, user := accounts[0].Keys[1], accounts[0].AllUsers()[0]
	if key.Role != queue.RoleViewer || user.Password == "" || len(accounts[0].AllTemplates()) != 1 ||
		trackers[0].GroupID() != 2 {
		t.Fatalf("%+v with %+v, %+v", accounts[0], accounts[0].People, trackers[0])
	}
	backup := filepath.Join(t.TempDir(), "copy.db")
	apptest.Must(t, sqlitestore.Backup(t.Context(), dir, backup))
	for name, from := range map[string]string{"store": dir, "backup": backup} {
		t.Run(name, func(t *testing.T) {
			server := queuetest.StartRedis(t)
			wantMigrated(t, from, toRedis(t, server.Addr), 0, "logins: 1", "checked one by one: ")
			to, err := redisstore.Open(t.Context(), redisstore.Options{
				Addrs: []string{server.Addr},
				Now:   time.Now,
			})
			apptest.Must(t, err)
			defer func() { apptest.Must(t, to.Close()) }()
			gotAccounts, gotTrackers, err := to.LoadDirectory(t.Context())
			apptest.Must(t, err)
			// The stores tell lists that are empty in their own ways.
			equal := cmpopts.EquateEmpty()
			if diff := cmp.Diff(accounts, gotAccounts, equal); diff != "" {
				t.Errorf("accounts (-was +is):\n%s", diff)
			}
			if diff := cmp.Diff(trackers, gotTrackers, equal); diff != "" {
				t.Errorf("trackers (-was +is):\n%s", diff)
			}
			if got, err := to.Sessions(t.Context(), []queue.KeyHash{session.Hash}); err != nil ||
				got[0] != session {
				t.Errorf("session %+v became %+v, %v", session, got, err)
			}
			if got, err := to.Broadcasts(t.Context(), 1, 0, 10); err != nil || len(got) != 1 ||
				got[0] != broadcast {
				t.Errorf("broadcast %+v became %+v, %v", broadcast, got, err)
			}
			got, err := to.BroadcastTargets(t.Context(), 1, broadcast.ID)
			apptest.Must(t, err)
			if len(got) != 3 || got[1] != targets[1] || got[2] != targets[2] {
				t.Fatalf("targets %+v became %+v", targets, got)
			}
			found, err := to.Find(t.Context(), []int64{got[0].Message})
			if err != nil || found[0].Text != "to many" || found[0].Tracker != 1 {
				t.Errorf("its message is %+v, %v", found, err)
			}
			wrote := make(map[queue.Author]int)
			for m, err := range to.History(t.Context(), 1) {
				apptest.Must(t, err)
				if m.Author != nil {
					wrote[*m.Author]++
				}
			}
			for _, a := range authors()[1:] {
				if wrote[*a] == 0 || len(wrote) != 2 {
					t.Errorf("nothing by %+v, but by %+v", a, wrote)
				}
			}
		})
	}
}
