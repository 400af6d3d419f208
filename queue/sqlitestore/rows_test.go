package sqlitestore_test

import (
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/sqlitestore"
)

// killedCopy is what a running store in dir leaves if its process is killed now.
func killedCopy(t *testing.T, dir string) string {
	t.Helper()
	to := copyOf(t, dir)
	must(t, os.Remove(filepath.Join(to, "chat.db-shm"))) // is made anew
	return to
}

// TestMachineKilled has the process killed where TestMachine closes the store.
func TestMachineKilled(t *testing.T) {
	clock := queuetest.NewClock()
	o := sqlitestore.Options{Path: t.TempDir(), Now: clock.Now, MaxPending: 700}
	s := open(t, o)
	queuetest.Machine(t, queuetest.Fixture{
		Store: s, Clock: clock, MaxPending: o.MaxPending,
		Reopen: func(t *testing.T) queue.Store {
			t.Helper()
			o.Path = killedCopy(t, o.Path)
			must(t, s.Close())
			s = open(t, o)
			return s
		},
	})
}

// wantCounted holds everything that a store says of a tracker beside its messages against them.
// lastOut is the newest outgoing one ever.
func wantCounted(t *testing.T, s *sqlitestore.Store, id queue.TrackerID, lastOut int64) {
	t.Helper()
	var pending, unread int
	var last, changed int64
	for _, m := range history(t, s, id) {
		switch m.Status {
		case queue.StatusPending:
			pending++
		case queue.StatusUnread:
			unread++
		default:
		}
		last, changed = max(last, m.SubmitMs), max(changed, m.ChangeMs)
	}
	ids := []queue.TrackerID{id}
	counts, err := s.Unread(t.Context(), ids)
	if err != nil || counts[id] != unread {
		t.Errorf("tracker %d counts %d unread, has %d: %v", id, counts[id], unread, err)
	}
	times, err := s.LastTimes(t.Context(), ids)
	if err != nil || times[id] != last {
		t.Errorf("tracker %d: last time %d, want %d: %v", id, times[id], last, err)
	}
	for _, since := range []int64{last, changed, changed + 1} {
		list, err := s.Changed(t.Context(), ids, since)
		if want := last > 0 && since <= changed; err != nil || (len(list) == 1) != want {
			t.Errorf("tracker %d changed at %d, since %d: %v, %v", id, changed, since, list, err)
		}
		ms, err := s.Changes(t.Context(), id, since, 1)
		if want := last > 0 && since <= changed; err != nil || (len(ms) > 0) != want {
			t.Errorf("tracker %d changed at %d, since %d: %+v, %v", id, changed, since, ms, err)
		}
	}
	wantLeased(t, s, id, pending, lastOut)
}

// wantLeased is wantCounted for what a session hears.
func wantLeased(t *testing.T, s *sqlitestore.Store, id queue.TrackerID, pending int,
	lastOut int64,
) {
	t.Helper()
	for _, l := range []queue.Lease{{Tracker: id}, {Tracker: id, Epoch: -1}} {
		found, err := s.CheckLeases(t.Context(), []queue.Lease{l})
		if must(t, err); len(found) == 0 && (l.Epoch < 0 || pending > 0) ||
			len(found) == 1 && (found[0].Pending != pending || found[0].LastOut != lastOut) {
			t.Errorf("%+v, want %d pending, last %d", found, pending, lastOut)
		}
	}
	ls, err := s.Acquire(t.Context(), "node", []queue.TrackerID{id})
	must(t, err)
	if ls[0].Pending != pending || ls[0].LastOut != lastOut {
		t.Errorf("lease %+v, want %d pending, last %d", ls[0], pending, lastOut)
	}
	claimed, err := s.Claim(t.Context(), []queue.ClaimReq{{Lease: ls[0], MaxBytes: 1 << 20}})
	if must(t, err); claimed[0].Err != nil || len(claimed[0].Msgs) != pending {
		t.Errorf("claimed %+v, want %d", claimed[0], pending)
	}
}

// TestStateOfTrackers: what a store says of its trackers agrees with their messages, however the
// process ended, in a backup, and after a transaction that failed.
func TestStateOfTrackers(t *testing.T) {
	const minute = time.Minute
	for name, then := range map[string]func(t *testing.T, o sqlitestore.Options,
		s *sqlitestore.Store) *sqlitestore.Store{
		"as it is": func(_ *testing.T, _ sqlitestore.Options,
			s *sqlitestore.Store,
		) *sqlitestore.Store {
			return s
		},
		"closed": func(t *testing.T, o sqlitestore.Options,
			s *sqlitestore.Store,
		) *sqlitestore.Store {
			t.Helper()
			must(t, s.Close())
			return open(t, o)
		},
		"killed": func(t *testing.T, o sqlitestore.Options,
			_ *sqlitestore.Store,
		) *sqlitestore.Store {
			t.Helper()
			o.Path = killedCopy(t, o.Path)
			return open(t, o)
		},
		"restored": func(t *testing.T, o sqlitestore.Options,
			_ *sqlitestore.Store,
		) *sqlitestore.Store {
			t.Helper()
			file := filepath.Join(t.TempDir(), "copy")
			must(t, sqlitestore.Backup(t.Context(), o.Path, file))
			return restore(t, file)
		},
		"failed transaction": func(t *testing.T, _ sqlitestore.Options,
			s *sqlitestore.Store,
		) *sqlitestore.Store {
			t.Helper()
			failCommit(t, s)
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := queuetest.NewClock()
			o := sqlitestore.Options{Path: t.TempDir(), Now: clock.Now}
			s := open(t, o)
			ctx := t.Context()
			ack := func(id queue.TrackerID, ids ...int64) {
				t.Helper()
				for _, n := range ids {
					_, err := s.Ack(ctx, []queue.AckReq{{Tracker: id, ID: n}})
					must(t, err)
				}
			}
			receive := func(id queue.TrackerID) int64 {
				t.Helper()
				in, err := s.Receive(ctx, []queue.Incoming{{Tracker: id, Text: "in"}})
				must(t, err)
				return in[0].ID
			}
			// 1 was never connected, 2 has answered, 3 has nothing left to be delivered, 4 nothing
			// else, and of 5 nothing is left.
			gone := mustSend(t, s, 5, "old")
			four := mustSend(t, s, 4, "old", "waits")
			clock.Advance(minute)
			four = append(four, mustSend(t, s, 4, "old as well")...)
			ack(4, four[0], four[2])
			ack(5, gone...)
			receive(5)
			clock.Advance(48 * time.Hour)
			for {
				st, err := s.Trim(ctx, 0, queue.Retention{
					CutoffMs: clock.Now().UnixMilli() - minute.Milliseconds(), Max: 100,
				})
				if must(t, err); !st.More {
					break
				}
			}
			one := mustSend(t, s, 1, "a", "b", "c")
			clock.Advance(minute)
			ack(1, one[1])
			two := mustSend(t, s, 2, "a")
			read := receive(2)
			clock.Advance(minute)
			receive(2)
			two = append(two, mustSend(t, s, 2, "b")...)
			receive(2)
			ack(2, two[0])
			_, err := s.MarkRead(ctx, []queue.Ref{{Tracker: 2, ID: read}})
			must(t, err)
			three := mustSend(t, s, 3, "a", "b")
			clock.Advance(3 * time.Hour)
			ack(3, three...)
			s = then(t, o, s)
			for id, lastOut := range map[queue.TrackerID]int64{
				1: one[2], 2: two[1], 3: three[1], 4: four[2], 5: gone[0], 6: 0,
			} {
				wantCounted(t, s, id, lastOut)
			}
		})
	}
}

// failCommit has a transaction fail once its operations have run.
func failCommit(t *testing.T, s *sqlitestore.Store) {
	t.Helper()
	between := &faultyDriver{err: fullError(t)}
	must(t, s.Interpose(t.Context(), func(c driver.Conn) driver.Conn {
		return &faultyConn{c, between}
	}))
	between.arm("exec COMMIT", 1)
	_, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x"}, {Tracker: 2, Text: "x"}})
	if _, met := between.disarm(); !met || !errors.Is(err, queue.ErrOverloaded) {
		t.Fatalf("a transaction that cannot be committed: %v", err)
	}
}

// TestTimesGoOnAfterAKill: a clock that was set back while the process was down dates nothing
// before what it had dated, whatever that was.
func TestTimesGoOnAfterAKill(t *testing.T) {
	type place struct {
		s     *sqlitestore.Store
		clock *queuetest.Clock
		ids   []int64 // messages of tracker 1
	}
	ack := func(t *testing.T, p *place, n int) {
		t.Helper()
		_, err := p.s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: p.ids[n]}})
		must(t, err)
	}
	for name, do := range map[string]func(t *testing.T, p *place){
		"stored": func(*testing.T, *place) {},
		"acknowledged": func(t *testing.T, p *place) {
			t.Helper()
			p.clock.Advance(59 * time.Minute)
			ack(t, p, 1)
		},
		"an older one was acknowledged": func(t *testing.T, p *place) {
			t.Helper()
			p.clock.Advance(time.Minute)
			p.ids = append(p.ids, mustSend(t, p.s, 1, "newer")...)
			p.clock.Advance(58 * time.Minute)
			ack(t, p, 0)
		},
		"acknowledged late": func(t *testing.T, p *place) {
			t.Helper()
			p.clock.Advance(3 * time.Hour)
			p.ids = append(p.ids, mustSend(t, p.s, 1, "newer")...)
			p.clock.Advance(time.Minute)
			ack(t, p, 0)
		},
		"acknowledged and removed": func(t *testing.T, p *place) {
			t.Helper()
			p.clock.Advance(time.Minute)
			ack(t, p, 0)
			ack(t, p, 1)
			_, err := p.s.Trim(t.Context(), 0, queue.Retention{
				CutoffMs: p.clock.Now().UnixMilli(), Max: 100,
			})
			must(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := sqlitestore.Options{Path: t.TempDir()}
			p := &place{clock: queuetest.NewClock()}
			o.Now = p.clock.Now
			p.s = open(t, o)
			p.ids = mustSend(t, p.s, 1, "a", "b")
			do(t, p)
			newest := p.clock.Now().UnixMilli()
			o.Path = killedCopy(t, o.Path)
			p.clock.Advance(-24 * time.Hour)
			s := open(t, o)
			id := mustSend(t, s, 1, "after")[0]
			_, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: id}})
			must(t, err)
			ms, err := s.Find(t.Context(), []int64{id})
			must(t, err)
			if ms[0].SubmitMs != newest || ms[0].UpdateMs != newest {
				t.Errorf("stored at %d and delivered at %d, the newest change was at %d",
					ms[0].SubmitMs, ms[0].UpdateMs, newest)
			}
		})
	}
}

// TestRowsOfAnEarlierVersion: an earlier version kept a tracker's state in its row, which says what
// removed messages had, and refuses the file from now on.
func TestRowsOfAnEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	ofSchema(t, dir, 14, "UPDATE meta SET value = 9 WHERE name = 'reserved'",
		"INSERT INTO message (id, tracker, status, submit_ms, change_ms, employee, reply_to, text) VALUES (3, 1, 80, 30, 30, 0, 0, 'a'), (4, 1, 85, 40, 40, 0, 0, 'b'), (5, 2, 80, 50, 50, 0, 0, 'c')",
		"INSERT INTO tracker (id, last_ms, change_ms, pending, unread, last_out, epoch, owner) VALUES (1, 40, 90, 1, 1, 7, 6, 'node'), (2, 50, 50, 1, 0, 5, 0, '')",
	)
	s := open(t, sqlitestore.Options{Path: dir, Now: func() time.Time { return time.UnixMilli(1) }})
	wantCounted(t, s, 1, 7)
	wantCounted(t, s, 2, 5)
	ls, err := s.Acquire(t.Context(), "node", []queue.TrackerID{1})
	if must(t, err); ls[0].Epoch != 8 { // wantCounted took one
		t.Errorf("%+v", ls)
	}
	ms, err := s.Find(t.Context(), mustSend(t, s, 1, "d"))
	if must(t, err); ms[0].SubmitMs != 90 {
		t.Errorf("%+v", ms)
	}
	version := 0
	must(t, other(t, dir).QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version))
	if version <= 14 {
		t.Errorf("schema %d", version)
	}
}

// TestSendsWriteNoRows: the hot path writes messages alone.
func TestSendsWriteNoRows(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlitestore.Options{Path: dir})
	ids := mustSend(t, s, 1, "a", "b")
	_, err := s.Ack(t.Context(), []queue.AckReq{{Tracker: 1, ID: ids[0]}})
	must(t, err)
	_, err = s.End(t.Context(), []queue.EndReq{{
		Tracker: 1, ID: ids[1], Status: queue.StatusFailed,
	}})
	must(t, err)
	rows := -1
	must(t, other(t, dir).QueryRowContext(t.Context(), "SELECT count(*) FROM tracker").Scan(&rows))
	if rows != 0 {
		t.Errorf("%d rows", rows)
	}
}
