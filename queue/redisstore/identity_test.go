package redisstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// wantLost calls everything that would take or give out something of a tracker's, and expects each
// to say that the store is lost.
func wantLost(t *testing.T, s *redisstore.Store, tracker queue.TrackerID, id int64) {
	t.Helper()
	ctx, ts := t.Context(), []queue.TrackerID{tracker}
	for name, call := range map[string]func() error{
		"send": func() error {
			_, err := s.Send(ctx, []queue.SendReq{{
				Tracker: tracker,
				Text:    "x",
			}})
			return err
		},
		"receive": func() error {
			_, err := s.Receive(ctx, []queue.Incoming{{
				Tracker: tracker,
				Text:    "x",
			}})
			return err
		},
		"ack": func() error {
			_, err := s.Ack(ctx, []queue.AckReq{{
				Tracker: tracker,
				ID:      id,
			}})
			return err
		},
		"acquire": func() error { _, err := s.Acquire(ctx, "n", ts); return err },
		"touch": func() error {
			return s.Touch(ctx, []queue.Lease{{
				Tracker: tracker, Epoch: 1,
				SeenMs: 1,
			}})
		},
		"mark all": func() error { _, err := s.MarkReadAll(ctx, ts); return err },
		"list": func() error {
			_, err := s.List(ctx, queue.ListQuery{Tracker: tracker, ToMs: 1 << 45, Limit: 1})
			return err
		},
		"find":   func() error { _, err := s.Find(ctx, []int64{id}); return err },
		"unread": func() error { _, err := s.Unread(ctx, ts); return err },
		"peek": func() error {
			_, err := s.CheckLeases(ctx, []queue.Lease{{
				Tracker: tracker,
				Epoch:   1,
			}})
			return err
		},
		"claim": func() error {
			_, err := s.Claim(ctx, []queue.ClaimReq{{Lease: queue.Lease{
				Tracker: tracker,
				Epoch:   1,
			}}})
			return err
		},
		"expire": func() error { _, err := s.Expire(ctx); return err },
	} {
		if err := call(); !errors.Is(err, queue.ErrUnavailable) || !errors.Is(err, queue.ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// wantDirectoryLost is wantLost for what lies with the directory.
func wantDirectoryLost(t *testing.T, s *redisstore.Store, since int64) {
	t.Helper()
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"changes":  func() error { _, err := s.DirectoryChanges(ctx, since, 100); return err },
		"accounts": func() error { _, err := s.Accounts(ctx, 0, 100); return err },
		"sessions": func() error { _, err := s.Sessions(ctx, []queue.KeyHash{{1}}); return err },
		"login": func() error {
			return s.PutSession(ctx, queue.Session{
				Hash: queue.KeyHash{1}, Account: 1,
				ExpiresMs: 1 << 45,
			})
		},
		"edit": func() error {
			_, err := s.EditDirectory(ctx,
				[]queue.Edit{someAccount()})
			return err
		},
		"webhooks": func() error { _, err := s.Webhooks(ctx); return err },
		"nodes":    func() error { _, err := s.Nodes(ctx); return err },
	} {
		if err := call(); !errors.Is(err, queue.ErrUnavailable) || !errors.Is(err, queue.ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func check(t *testing.T, s queue.Store) string {
	t.Helper()
	rep, err := s.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(rep.Problems, "\n")
}

func awaitFit(t *testing.T, s queue.Store) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		problems := check(t, s)
		if problems == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(problems)
		}
	}
}

// TestDataIsGone: whatever way a Redis loses its data, nothing that it says then is believed, until
// an operator accepts it.
func TestDataIsGone(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, server *queuetest.RedisServer){
		"flushed": func(t *testing.T, server *queuetest.RedisServer) {
			t.Helper()
			server.Must(t,
				"FLUSHALL")
		},
		"empty volume": func(t *testing.T, server *queuetest.RedisServer) {
			t.Helper()
			server.Kill(t)
			if err := os.RemoveAll(filepath.Join(server.Dir, "appendonlydir")); err != nil {
				t.Fatal(err)
			}
			server.Start(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := queuetest.StartRedis(t)
			core, logged := observer.New(zap.WarnLevel)
			o := redisstore.Options{
				Addrs: []string{server.Addr}, Logger: zap.New(core),
				Registerer: prometheus.NewRegistry(),
			}
			s := open(t, o)
			edit(t, s, someAccount(), someTracker(1))
			d, err := s.DirectoryChanges(t.Context(), 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			id := send(t, s, 1, "before")[0]
			wakes, err := queuetest.Wakes(t.Context(), s, "n")
			if err != nil {
				t.Fatal(err)
			}

			lose(t, server)
			wantLost(t, s, 1, id)
			wantDirectoryLost(t, s, d.Version)
			if got := check(t, s); !strings.Contains(got, "trackchat check --adopt") {
				t.Errorf("problems: %q", got)
			}
			if n := logged.FilterMessage("Redis is not the store that this service knows").Len(); n != 1 {
				t.Errorf("said %d times", n)
			}
			if keys := server.Must(t, "DBSIZE"); keys != "0" {
				t.Errorf("%s keys were written into the empty Redis: %s", keys, server.Must(t,
					"KEYS", "*"))
			}

			// A process that starts has nothing to compare with, so that its store is new; those
			// that run know better.
			fresh := open(t, redisstore.Options{Addrs: []string{server.Addr}})
			send(t, fresh, 1, "of another store")
			wantLost(t, s, 1, id)
			if got := check(t, s); !strings.Contains(got, "another store") {
				t.Errorf("problems: %q", got)
			}
			adoptAndGoOn(t, o, []*redisstore.Store{s, fresh}, id, d.Version)
			for deadline := time.After(patience); ; {
				select {
				case batch := <-wakes:
					if batch[0].Kind == queue.WakeResync {
						return
					}
				case <-deadline:
					t.Fatal("sessions were not told to look")
				}
			}
		})
	}
}

// adoptAndGoOn accepts what is there: everybody who runs takes it, without a start, and no number
// is given twice.
func adoptAndGoOn(t *testing.T, o redisstore.Options, stores []*redisstore.Store, last,
	version int64,
) {
	t.Helper()
	o.Now, o.Registerer = time.Now, nil
	if _, err := redisstore.Adopt(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, s := range stores {
		awaitFit(t, s)
		id := send(t, s, 1, "after")[0]
		if id <= last {
			t.Errorf("id %d after %d", id, last)
		}
		last = id
		if _, err := s.DirectoryChanges(t.Context(), version, 100); !errors.Is(err,
			queue.ErrTooOld) {
			t.Errorf("who knows version %d of the directory: %v", version, err)
		}
	}
	if rep, err := redisstore.Inspect(t.Context(), o); err != nil || len(rep.Problems) > 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestMasterLostItsData: of a Cluster, one master comes back empty. What the others hold goes on;
// what it held is refused, also to who starts anew.
func TestMasterLostItsData(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	o := redisstore.Options{Addrs: cluster.Addrs()}
	s := open(t, o)
	where := place(cluster.Nodes)
	gone, whole := queue.TrackerID(1), queue.TrackerID(1)
	directory := cluster.Nodes[redisstore.TagSlot("chat:dir")*3/16384]
	for where.holder(gone) == directory {
		gone++
	}
	for where.holder(whole) == where.holder(gone) {
		whole++
	}
	id := send(t, s, gone, "before")[0]
	send(t, s, whole, "before")

	where.holder(gone).Must(t, "FLUSHALL")
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: gone, Text: "x"}}); !errors.Is(err,
		queue.ErrLost) {
		t.Errorf("send: %v", err)
	}
	if _, err := s.Find(t.Context(), []int64{id}); !errors.Is(err, queue.ErrLost) {
		t.Errorf("find: %v", err)
	}
	send(t, s, whole, "goes on")
	if n := len(list(t, s, whole)); n != 2 {
		t.Errorf("%d messages where nothing is lost", n)
	}
	if got := check(t, s); !strings.Contains(got, "trackchat check --adopt") {
		t.Errorf("problems: %q", got)
	}
	wantRefused(t, o, "trackchat check --adopt")
	o.Now = time.Now
	if rep, err := redisstore.Inspect(t.Context(), o); err != nil || len(rep.Problems) != 1 ||
		!strings.Contains(rep.Problems[0], "--adopt") {
		t.Errorf("inspect: %+v, %v", rep, err)
	}
	if keys := where.holder(gone).Must(t, "DBSIZE"); keys != "0" {
		t.Errorf("%s keys were written into the empty master", keys)
	}

	if was, err := redisstore.Adopt(t.Context(), o); err != nil || was == "" {
		t.Fatal(was, err)
	}
	awaitFit(t, s)
	if got := send(t, s, gone, "after")[0]; got <= id {
		t.Errorf("id %d after %d", got, id)
	}
	if n := len(list(t, s, whole)); n != 2 {
		t.Errorf("%d messages where nothing was lost", n)
	}
	open(t, o)
}

// TestOlderCopy: ids that were given after a copy was made are not given again once it was adopted.
func TestOlderCopy(t *testing.T) {
	server := queuetest.StartRedis(t)
	o := redisstore.Options{Addrs: []string{server.Addr}}
	s := open(t, o)
	last := send(t, s, 1, "before the copy")[0]
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(server.Dir, "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	last = max(last, send(t, s, 1, "after the copy")[0])
	server.Kill(t)
	kept := filepath.Join(server.Dir, "appendonlydir")
	if err := errors.Join(os.RemoveAll(kept), os.CopyFS(kept, os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
	server.Start(t)
	o.Now = time.Now
	if _, err := redisstore.Adopt(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	awaitFit(t, s)
	if id := send(t, s, 1, "again")[0]; id <= last {
		t.Errorf("id %d after %d", id, last)
	}
	if msgs := list(t, s, 1); len(msgs) != 2 || msgs[0].Text != "before the copy" {
		t.Errorf("%+v", msgs)
	}
}

// TestStoreWithoutIdentity: what an earlier version wrote gets an identity at the next start,
// unless some of it is gone.
func TestStoreWithoutIdentity(t *testing.T) {
	server := queuetest.StartRedis(t)
	o := redisstore.Options{Addrs: []string{server.Addr}, Now: time.Now}
	s := open(t, o)
	edit(t, s, someAccount(), someTracker(1))
	id := send(t, s, 1, "of an earlier version")[0]
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	forget := func() { // what this version has added
		server.Must(t, "HDEL", "chat:meta", "identity", "claim", "adopted")
		for key := range strings.SplitSeq(server.Must(t, "KEYS", "*:id"), "\n") {
			server.Must(t, "DEL", key)
		}
	}
	forget()
	if rep, err := redisstore.Inspect(t.Context(), o); err != nil || len(rep.Problems) > 0 {
		t.Errorf("inspect: %+v, %v", rep, err)
	}
	s = open(t, o)
	if msgs := list(t, s, 1); len(msgs) != 1 || msgs[0].ID != id {
		t.Errorf("%+v", msgs)
	}
	if got := check(t, s); got != "" {
		t.Error(got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	forget()
	tag := "{" + redisstore.Tags()[7] + "}"
	server.Must(t, "DEL", tag+":run")
	wantRefused(t, o, "1 of 257 parts hold nothing")
	server.Must(t, "SET", tag+":run", "x")
	server.Must(t, "DEL", "chat:meta")
	wantRefused(t, o, "gone from chat:meta", "--adopt")
}

// TestFirstStartsAtOnce: several processes begin on an empty Redis, and one of them dies in
// between; all have one store.
func TestFirstStartsAtOnce(t *testing.T) {
	server := queuetest.StartRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := redisstore.Open(ctx, redisstore.Options{
		Addrs: []string{server.Addr},
		Now:   time.Now,
	}); err == nil {
		_ = s.Close()
		t.Fatal("opened")
	}
	server.Must(t, "HSET", "chat:meta", "claim", "begun") // by one that died
	opened := make(chan *redisstore.Store)
	const processes = 8
	for range processes {
		go func() {
			s, err := redisstore.Open(t.Context(), redisstore.Options{
				Addrs: []string{server.Addr},
				Now:   time.Now,
			})
			if err != nil {
				t.Error(err)
			}
			opened <- s
		}()
	}
	for range processes {
		if s := <-opened; s != nil {
			if got := check(t, s); got != "" {
				t.Error(got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if id := server.Must(t, "HGET", "chat:meta", "identity"); id != "begun" {
		t.Errorf("identity %q", id)
	}
}
