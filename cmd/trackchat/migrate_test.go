package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"
)

// livedIn is a stopped embedded store with messages of trackers 1 to n in every state, and a
// directory that has them.
func livedIn(t *testing.T, n, texts int) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "directory.yaml")
	directory := strings.NewReplacer(
		"{id: 1, account: 1, label",
		"{id: 1, account: 1, upstream: \"a.example:1\", group_id: 2, tags: [frigo], label",
		"keys: ["+apptest.Key+"]",
		"keys: ["+apptest.Key+", {key: "+namedKey+", name: ERP, role: viewer,"+
			" end: 2099-01-01T00:00:00Z}], "+
			"users: [{id: 1, login: ann, password: secret, name: Ann, role: dispatcher}], "+
			"groups: [{id: 2, title: North}], "+
			"templates: [{id: 3, name: Call, text: \"Call {label}\", choices: [\"yes\"], ttl: 60}]",
	).Replace(apptest.DirectoryYAML(n))
	apptest.Must(t, os.WriteFile(file, []byte(directory), 0o600))
	var now atomic.Int64 // Unix ms; the store reads it from goroutines of its own
	now.Store(time.Now().Add(-24 * time.Hour).UnixMilli())
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
		Path: dir,
		Now:  func() time.Time { return time.UnixMilli(now.Load()) }, MaxPending: 1 << 20,
	})
	apptest.Must(t, err)
	_, err = app.ImportDirectory(t.Context(), st, file, false)
	apptest.Must(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range texts {
		now.Add(int64(r.IntN(200)))
		for id := 1; id <= n; id++ {
			liveOn(t, st, r, queue.TrackerID(id), fmt.Sprintf("%d/%d", id, i))
		}
	}
	apptest.Must(t, st.Close())
	return dir
}

// liveOn sends one text and lets it meet one of the fates of a text.
func liveOn(t *testing.T, st queue.Store, r *rand.Rand, tracker queue.TrackerID, text string) {
	t.Helper()
	res, err := st.Send(t.Context(), []queue.SendReq{{
		Tracker: tracker, Employee: 7, Text: text,
		Choices: []string{"yes", "no"}, ExpiresMs: int64(r.IntN(2)) * 2e12, Urgent: r.IntN(2) == 0,
		Author: authors()[r.IntN(len(authors()))],
	}})
	apptest.Must(t, errors.Join(err, res[0].Err))
	id := res[0].ID
	switch fate := r.IntN(8); fate {
	case 0, 1:
		_, err = st.Ack(t.Context(), []queue.AckReq{{
			Tracker: tracker, ID: id, Opened: fate == 1,
			Replaced: r.IntN(2) * 300,
		}})
	case 2, 3, 4:
		status := []queue.Status{
			queue.StatusFailed, queue.StatusCancelled,
			queue.StatusSent,
		}[fate-2]
		_, err = st.End(t.Context(), []queue.EndReq{{
			Tracker: tracker, ID: id, Status: status,
			Reason: queue.Reason(r.IntN(2)), Replaced: r.IntN(2) * 4,
		}})
	case 5:
		err = st.Progress(t.Context(), []queue.ProgressReq{{
			Tracker: tracker, ID: id, Parts: 3,
			Acked: 1, Tries: 2, TriedMs: 1e12,
		}})
	case 6:
		var in []queue.ReceiveResult
		in, err = st.Receive(t.Context(), []queue.Incoming{{
			Tracker: tracker, Text: "yes",
			ReplyTo: id,
		}, {Tracker: tracker, Text: "on my way"}})
		if err == nil && r.IntN(2) == 0 {
			_, err = st.MarkRead(t.Context(), []queue.Ref{{Tracker: tracker, ID: in[0].ID}})
		}
	default: // it stays pending
	}
	apptest.Must(t, err)
}

// toRedis writes the configuration of a service on a Redis.
func toRedis(t *testing.T, addrs ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "redis.yaml")
	apptest.Must(t, os.WriteFile(file, []byte(`store: {backend: redis, redis: {addrs: ["`+strings.Join(
		addrs, `","`)+`"]}}`+"\n"), 0o600))
	return file
}

func wantMigrated(t *testing.T, from, to string, code int, want ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	got := run(t.Context(), []string{"migrate", "--from", from, "--to", to}, &stdout, &stderr)
	text := stdout.String() + stderr.String()
	if got != code {
		t.Fatalf("exit code %d, want %d:\n%s", got, code, text)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("nothing of %q in:\n%s", w, text)
		}
	}
}

// TestMigrateToARunningFleet takes a store over and starts a service on what came of it: the
// conversation is the same, what was pending is delivered.
func TestMigrateToARunningFleet(t *testing.T) {
	cfg := apptest.Config(t, 2)
	s := startService(t, cfg)
	s.Device(1, nil)
	s.API.Delivered(1, s.API.Send(1, "delivered before"))
	waits := s.API.Send(2, "waits for its device")
	before := append(s.API.List(1), s.API.List(2)...)
	hash := s.Login()
	ctx, cancel := context.WithTimeout(t.Context(), app.StopWithin)
	defer cancel()
	server := queuetest.StartRedis(t)
	file := toRedis(t, server.Addr)
	wantMigrated(t, cfg.Store.Path, file, 1, "stop the service first")
	apptest.Must(t, s.App.Stop(ctx))
	wantMigrated(t, cfg.Store.Path, file, 0, "1 accounts and 2 trackers: 3 added",
		"2 copied, 0 were there already", "logins: 1",
		"checked one by one: 2 messages (1 acknowledged, 1 pending")

	on := apptest.Config(t, 2)
	on.Store.Backend, on.Store.Redis.Addrs = config.BackendRedis, []string{server.Addr}
	on.Directory.File = ""
	f := startService(t, on)
	after := append(f.API.List(1), f.API.List(2)...)
	if len(after) != len(before) {
		t.Fatalf("%+v became %+v", before, after)
	}
	for i := range before {
		if after[i].ID <= waits {
			t.Errorf("id %d, the embedded store had gone up to %d", after[i].ID, waits)
		}
		id := after[i].ID
		if after[i].ID = before[i].ID; fmt.Sprint(after[i].UpdateTime == nil) != fmt.Sprint(
			before[i].UpdateTime == nil) || after[i].Text != before[i].Text ||
			after[i].Status != before[i].Status || after[i].SubmitTime != before[i].SubmitTime {
			t.Errorf("%+v became %+v", before[i], after[i])
		}
		after[i].ID = id
	}
	f.Device(2, nil)
	f.API.Delivered(2, after[1].ID)
	if a := f.API.Call("list", "hash", hash, "tracker_id", "2"); !a.Success {
		t.Errorf("with a login from before: %+v", a)
	}
}

// interrupter ends a migration's context before the n-th piece, or has something else happen there.
type interrupter struct {
	*redisstore.Store
	left int
	then func()
}

func (i *interrupter) ImportMessages(ctx context.Context, ms []queue.Message) ([]int64, error) {
	if i.left--; i.left == 0 {
		i.then()
	}
	return i.Store.ImportMessages(ctx, ms)
}

// migrateUntil runs a migration in which something happens before the n-th piece.
func migrateUntil(t *testing.T, from, addr string, n int, happens func(cancel func())) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source, err := sqlitestore.OpenArchive(from)
	apptest.Must(t, err)
	defer func() { apptest.Must(t, source.Close()) }()
	name, err := source.Fingerprint(ctx)
	apptest.Must(t, err)
	target, _, err := redisstore.OpenMigration(ctx, redisstore.Options{
		Addrs: []string{addr},
		Now:   time.Now,
	}, name)
	apptest.Must(t, err)
	defer func() { apptest.Must(t, target.Close()) }()
	return newMigration(source, &interrupter{target, n, func() { happens(cancel) }},
		new(bytes.Buffer)).run(ctx)
}

// TestMigrateGoesOn: interrupted twice, with Redis killed in the third run, and complete and right
// in the end, on which the same command finds nothing to do.
func TestMigrateGoesOn(t *testing.T) {
	from := livedIn(t, 3, 400)
	server := queuetest.StartRedis(t)
	for _, n := range []int{2, 5} {
		if err := migrateUntil(t, from, server.Addr, n,
			func(cancel func()) { cancel() }); !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted at %d: %v", n, err)
		}
	}
	options := redisstore.Options{Addrs: []string{server.Addr}, Now: time.Now}
	if _, err := redisstore.Open(t.Context(), options); err == nil ||
		!strings.Contains(err.Error(), "a migration into it is not finished") {
		t.Errorf("a service on half a migration: %v", err)
	}
	source, err := sqlitestore.OpenArchive(from)
	apptest.Must(t, err)
	name, err := source.Fingerprint(t.Context())
	apptest.Must(t, errors.Join(err, source.Close()))
	target, done, err := redisstore.OpenMigration(t.Context(), options, name)
	apptest.Must(t, err)
	if done {
		t.Error("an interrupted migration counts as done")
	}
	states, err := target.Imported(t.Context(), []queue.TrackerID{1, 2, 3})
	apptest.Must(t, errors.Join(err, target.Close()))
	if states[0].ID == 0 {
		t.Fatalf("nothing was imported before the interruption: %+v", states)
	}
	apptest.Must(t, migrateUntil(t, from, server.Addr, 3, func(func()) { server.Restart(t) }))
	before := everyKey(t, server)
	wantMigrated(t, from, toRedis(t, server.Addr), 0, "nothing is written", "checked one by one: ")
	if after := everyKey(t, server); after != before {
		t.Errorf("a repeated migration wrote:\n%s\nbefore:\n%s", after, before)
	}
}

// TestMigrateToACluster from a backup.
func TestMigrateToACluster(t *testing.T) {
	dir := livedIn(t, 12, 30)
	backup := filepath.Join(t.TempDir(), "copy.db")
	apptest.Must(t, sqlitestore.Backup(t.Context(), dir, backup))
	wantMigrated(t, backup, toRedis(t, queuetest.StartCluster(t, 3).Addrs()...), 0,
		"1 accounts and 12 trackers: 13 added", "0 were there already", "checked one by one: ")
}

// TestMigrateMovedTracker: each account's conversation with a tracker stays its own.
func TestMigrateMovedTracker(t *testing.T) {
	from := livedIn(t, 2, 10)
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: from, Now: time.Now})
	apptest.Must(t, err)
	trackers, err := st.Trackers(t.Context(), 0, 1)
	apptest.Must(t, err)
	moved := trackers[0]
	moved.Account, moved.Sorting = 2, nil
	_, err = st.EditDirectory(t.Context(), []queue.Edit{
		{Kind: queue.EditPutAccount, Account: queue.Account{ID: 2}}, {
			Kind:    queue.EditPutTracker,
			Tracker: moved,
		},
	})
	apptest.Must(t, err)
	trackers, err = st.Trackers(t.Context(), 0, 1)
	apptest.Must(t, err)
	key := trackers[0].Key()
	_, err = st.Send(t.Context(), []queue.SendReq{{Tracker: key, Text: "of the second account"}})
	apptest.Must(t, errors.Join(err, st.Close()))

	server := queuetest.StartRedis(t)
	wantMigrated(t, from, toRedis(t, server.Addr), 0, "2 accounts and 2 trackers: 4 added",
		"checked one by one: ")
	to, err := redisstore.Open(t.Context(), redisstore.Options{
		Addrs: []string{server.Addr},
		Now:   time.Now,
	})
	apptest.Must(t, err)
	defer func() { apptest.Must(t, to.Close()) }()
	got, err := to.Trackers(t.Context(), 0, 1)
	apptest.Must(t, err)
	if !queue.SameTracker(&got[0], &trackers[0]) || len(got[0].FormerKeys(1)) != 1 {
		t.Errorf("%+v became %+v", trackers[0], got[0])
	}
	list, err := to.List(t.Context(), queue.ListQuery{Tracker: key, ToMs: math.MaxInt64, Limit: 10})
	if err != nil || len(list) != 1 || list[0].Text != "of the second account" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestMigrateRefuses(t *testing.T) {
	from := livedIn(t, 2, 20)
	server := queuetest.StartRedis(t)
	file := toRedis(t, server.Addr)
	empty := t.TempDir()
	wantMigrated(t, empty, file, 1, empty+" holds no embedded store")
	wantMigrated(t, from, apptest.Shipped("trackchat.yaml"), 1,
		"store.backend of the configuration is not redis")
	wantMigrated(t, from, filepath.Join(empty, "missing.yaml"), 1, "reading the configuration")
	wantMigrated(t, from, toRedis(t, "127.0.0.1:1"), 1, "opening Redis")
	for _, args := range [][]string{{"migrate"}, {"migrate", "--from", from}, {
		"migrate", "--to",
		file,
	}, {"migrate", "--from", from, "--to", file, "more"}, {"migrate", "--colour"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: exit code %d, errors %q", args, code, stderr.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"migrate", "--from", from, "--to", file}, &stdout,
		&stderr); code != 1 ||
		!strings.Contains(stderr.String(), "the same command goes on from here") {
		t.Errorf("interrupted: exit code %d, errors %q", code, stderr.String())
	}

	// What another store began is not gone on with.
	if err := migrateUntil(t, livedIn(t, 2, 30), server.Addr, 4,
		func(cancel func()) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	wantMigrated(t, from, file, 1, "nothing was written", "a migration of another store")
}

// everyKey is all that a Redis holds.
func everyKey(t *testing.T, server *queuetest.RedisServer) string {
	t.Helper()
	keys := strings.Split(server.Must(t, "KEYS", "*"), "\n")
	slices.Sort(keys)
	for i, key := range keys {
		keys[i] += " " + fmt.Sprintf("%x", server.Must(t, "DUMP", key))
	}
	return strings.Join(keys, "\n")
}

// TestMigrateWritesNothingWhereAServiceHasBeen: a fleet's accounts are not overwritten by a command
// that is refused in the end, whatever is left of the service there.
func TestMigrateWritesNothingWhereAServiceHasBeen(t *testing.T) {
	from := livedIn(t, 2, 5)
	server := queuetest.StartRedis(t)
	file := toRedis(t, server.Addr)
	refused := func(what string) {
		t.Helper()
		before := everyKey(t, server)
		wantMigrated(t, from, file, 1, "nothing was written", "a service uses it, or has used it")
		if after := everyKey(t, server); after != before {
			t.Errorf("%s: it wrote\n%s\nbefore:\n%s", what, after, before)
		}
	}
	st, err := redisstore.Open(t.Context(), redisstore.Options{
		Addrs: []string{server.Addr},
		Now:   time.Now,
	})
	apptest.Must(t, err)
	refused("a service that has only started")
	_, err = st.ImportDirectory(t.Context(), []queue.Account{{
		ID: 1, Login: "live",
		Title: "live fleet",
	}}, nil, false)
	apptest.Must(t, err)
	refused("a fleet that runs")
	apptest.Must(t, st.Close())
	refused("a fleet that has run")
	server.Must(t, "DEL", "chat:meta")
	refused("a fleet that has lost the mark of its schema")

	// What is not a service's is no reason.
	server.Must(t, "FLUSHALL")
	server.Must(t, "SET", "something", "else")
	wantMigrated(t, from, file, 0, "checked one by one: ")
	st, err = redisstore.Open(t.Context(), redisstore.Options{
		Addrs: []string{server.Addr},
		Now:   time.Now,
	})
	apptest.Must(t, err)
	_, err = st.Receive(t.Context(), []queue.Incoming{{Tracker: 2, Text: "hello"}})
	apptest.Must(t, errors.Join(err, st.Close()))
	before := everyKey(t, server)
	wantMigrated(t, from, file, 1, "services have used this Redis since")
	if after := everyKey(t, server); after != before {
		t.Errorf("after the migration: it wrote\n%s\nbefore:\n%s", after, before)
	}
}

// TestMigrateSeesEveryDifference: what is not as it was in the embedded store is found at the end.
func TestMigrateSeesEveryDifference(t *testing.T) {
	from := livedIn(t, 2, 60)
	server := queuetest.StartRedis(t)
	for name, spoil := range map[string]func(st *redisstore.Store){
		"a text that was acknowledged meanwhile": func(st *redisstore.Store) {
			for m, err := range st.History(t.Context(), 1) {
				apptest.Must(t, err)
				if m.Status == queue.StatusPending {
					_, err := st.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: m.ID}})
					apptest.Must(t, err)
					return
				}
			}
		},
		"one message too many": func(st *redisstore.Store) {
			_, err := st.Receive(t.Context(), []queue.Incoming{{Tracker: 2, Text: "hello"}})
			apptest.Must(t, err)
		},
		"an account that changed": func(st *redisstore.Store) {
			_, err := st.ImportDirectory(t.Context(), []queue.Account{{ID: 1, Login: "other"}}, nil,
				false)
			apptest.Must(t, err)
		},
		"a damaged text": func(*redisstore.Store) {
			key, _, _ := strings.Cut(server.Must(t, "KEYS", "*:c:*"), "\n")
			size, err := strconv.Atoi(server.Must(t, "STRLEN", key))
			apptest.Must(t, err)
			// of the newest record, what comes last is its text
			server.Must(t, "SETRANGE", key, strconv.Itoa(size-1), "#")
		},
	} {
		t.Run(name, func(t *testing.T) {
			server.Must(t, "FLUSHALL")
			source, err := sqlitestore.OpenArchive(from)
			apptest.Must(t, err)
			defer func() { apptest.Must(t, source.Close()) }()
			target, err := redisstore.Open(t.Context(),
				redisstore.Options{Addrs: []string{server.Addr}, Now: time.Now})
			apptest.Must(t, err)
			defer func() { apptest.Must(t, target.Close()) }()
			m := newMigration(source, target, new(bytes.Buffer))
			apptest.Must(t, errors.Join(m.count(t.Context()), m.directory(t.Context()),
				m.survey(t.Context()), m.copy(t.Context()), m.check(t.Context())))
			spoil(target)
			if err := m.check(t.Context()); !errors.Is(err, errDiffers) {
				t.Errorf("found: %v", err)
			}
		})
	}
}
