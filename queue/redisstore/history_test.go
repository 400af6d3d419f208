package redisstore_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"

	gocmp "github.com/google/go-cmp/cmp"
)

const begun = 1_700_000_000_000 // ms of the first message

// pastOf makes up what another store may hold: n messages of each tracker in every state,
// interleaved, with rising ids.
func pastOf(n int, trackers ...queue.TrackerID) []queue.Message {
	r := rand.New(rand.NewPCG(1, 2))
	var ms []queue.Message
	submit := int64(begun)
	for i := range n {
		for _, t := range trackers {
			submit += r.Int64N(3) * 400
			m := queue.Message{
				ID: int64(len(ms)+1) << 8, Tracker: t, SubmitMs: submit,
				ChangeMs: submit, Text: fmt.Sprintf("%d/%d %s", t, i, strings.Repeat("ё",
					r.IntN(300))),
			}
			m.Status = []queue.Status{
				'P', 'D', 'V', 'F', 'E', 'X', 'S', 'U', 'R', 'D',
				'D',
			}[r.IntN(11)]
			later := submit + 1 + r.Int64N(5_000_000)
			switch m.Status {
			case queue.StatusDelivered, queue.StatusRead:
				m.UpdateMs, m.ChangeMs = later, later
				if m.Status == queue.StatusDelivered {
					m.Replaced = i % 2 * 300
				}
			case queue.StatusOpened:
				m.UpdateMs, m.ReadMs, m.ChangeMs = later, later+7, later+7
			case queue.StatusFailed:
				m.Reason, m.ChangeMs = queue.ReasonNotConfirmed, later
			case queue.StatusExpired:
				m.ExpiresMs, m.ChangeMs = later, later
			case queue.StatusCancelled, queue.StatusSent:
				m.ChangeMs = later
			case queue.StatusPending:
				if r.IntN(2) == 0 {
					m.Parts, m.Acked, m.ChangeMs = 5, 2, later
					m.Tries = i % 2 * 7
					m.TriedMs = int64(i%2) * submit
				}
				m.Choices = []string{"yes", "no, " + fmt.Sprint(i)}
				m.Urgent = i%2 == 0
			default:
				m.ReplyTo = int64(i)
			}
			if i%3 == 0 {
				m.Employee = 7
			}
			ms = append(ms, m)
		}
	}
	return ms
}

// held reads a tracker's history, without what belongs to the store: ids and hints.
func held(t *testing.T, s *redisstore.Store, tracker queue.TrackerID) (ms []queue.Message,
	ids []int64,
) {
	t.Helper()
	for m, err := range s.History(t.Context(), tracker) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.ID)
		m.ID, m.Hint = 0, 0
		ms = append(ms, m)
	}
	return ms, ids
}

func pastOfOne(past []queue.Message, tracker queue.TrackerID) []queue.Message {
	var ms []queue.Message
	for _, m := range past {
		if m.Tracker == tracker {
			m.ID = 0
			ms = append(ms, m)
		}
	}
	return ms
}

func importAll(t *testing.T, s *redisstore.Store, past []queue.Message) []int64 {
	t.Helper()
	ids, err := s.ImportMessages(t.Context(), past)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestImportKeepsEverythingButIds on one Redis and on a Cluster: an import in pieces, some of them
// twice.
func TestImportKeepsEverythingButIds(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		importKeepsEverything(t, redisstore.Options{Addrs: []string{queuetest.StartRedis(t).Addr}})
	})
	t.Run("cluster", func(t *testing.T) {
		importKeepsEverything(t, redisstore.Options{Addrs: queuetest.StartCluster(t, 3).Addrs()})
	})
}

func importKeepsEverything(t *testing.T, o redisstore.Options) {
	t.Helper()
	s := open(t, o)
	trackers := []queue.TrackerID{1, 2, 3, 999_199}
	past := pastOf(2500, trackers...)
	last := past[len(past)-1].ID
	if err := s.SkipIDs(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	given := make(map[queue.TrackerID][]int64)
	for from := 0; from < len(past); from += 3000 {
		piece := past[from:min(from+3000, len(past))]
		for i, id := range importAll(t, s, piece) {
			if id <= last {
				t.Fatalf("id %d, the other store had gone up to %d", id, last)
			}
			given[piece[i].Tracker] = append(given[piece[i].Tracker], id)
		}
		for i, id := range importAll(t, s, past[max(0, from-100):min(from+3000, len(past))]) {
			if id != 0 {
				t.Fatalf("message %d is imported twice", i)
			}
		}
	}
	states, err := s.Imported(t.Context(), trackers)
	if err != nil {
		t.Fatal(err)
	}
	pending := int64(0)
	for i := range past {
		if past[i].Status == queue.StatusPending {
			pending++
		}
	}
	if rep, err := s.Check(t.Context()); err != nil || len(rep.Problems) > 0 ||
		rep.Pending != pending {
		t.Errorf("%+v %v, %d messages are pending", rep, err, pending)
	}
	for i, tracker := range trackers {
		want := pastOfOne(past, tracker)
		got, ids := held(t, s, tracker)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("tracker %d (-other +here):\n%s", tracker, diff)
		}
		if !slices.Equal(ids, given[tracker]) || !slices.IsSorted(ids) {
			t.Errorf("tracker %d: ids differ from those that were told, or fall", tracker)
		}
		st := queue.Imported{
			ID:       past[len(past)-len(trackers)+i].ID,
			SubmitMs: want[len(want)-1].SubmitMs, NewestMs: want[len(want)-1].SubmitMs,
		}
		for _, m := range want {
			switch m.Status {
			case queue.StatusPending:
				st.Pending++
			case queue.StatusUnread:
				st.Unread++
			default:
			}
		}
		if states[i] != st {
			t.Errorf("tracker %d: %+v, want %+v", tracker, states[i], st)
		}
		checkWindows(t, s, tracker, want)
		checkDelivery(t, s, tracker, want)
		checkChanges(t, s, tracker, want)
	}
}

// checkWindows compares lists of some windows with what they should hold.
func checkWindows(t *testing.T, s *redisstore.Store, tracker queue.TrackerID, all []queue.Message) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, uint64(tracker)))
	for range 50 {
		a, b := all[r.IntN(len(all))].SubmitMs, all[r.IntN(len(all))].SubmitMs
		q := queue.ListQuery{Tracker: tracker, FromMs: min(a, b), ToMs: max(a, b), Limit: 1 +
			r.IntN(1024), Desc: r.IntN(2) == 0}
		var want []string
		for _, m := range all {
			if m.SubmitMs >= q.FromMs && m.SubmitMs <= q.ToMs {
				want = append(want, m.Text)
			}
		}
		if q.Desc {
			slices.Reverse(want)
		}
		want = want[:min(len(want), q.Limit)]
		ms, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range ms {
			got = append(got, m.Text)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("%+v (-want +got):\n%s", q, diff)
		}
	}
}

// checkDelivery claims what is pending, acknowledges it and sends more.
func checkDelivery(t *testing.T, s *redisstore.Store, tracker queue.TrackerID,
	all []queue.Message,
) {
	t.Helper()
	leases, err := s.Acquire(t.Context(), "node", []queue.TrackerID{tracker})
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := s.Send(t.Context(), []queue.SendReq{{Tracker: tracker, Text: "new"}})
	if err != nil || fresh[0].Err != nil {
		t.Fatal(err, fresh)
	}
	var want, got []string
	for _, m := range all {
		if m.Status == queue.StatusPending {
			want = append(want, m.Text)
		}
	}
	if leases[0].Pending != len(want) {
		t.Errorf("%d messages pending, want %d", leases[0].Pending, len(want))
	}
	want = append(want, "new")
	var acks []queue.AckReq
	for req, more := (queue.ClaimReq{Lease: leases[0], MaxBytes: 64 << 10}), true; more; {
		res, err := s.Claim(t.Context(), []queue.ClaimReq{req})
		if err != nil || res[0].Err != nil {
			t.Fatal(err, res)
		}
		for _, m := range res[0].Msgs {
			got = append(got, m.Text)
			acks = append(acks, queue.AckReq{Tracker: tracker, ID: m.ID, Hint: m.Hint})
		}
		req.Cursor, more = res[0].Next, res[0].More
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("claimed (-want +got):\n%s", diff)
	}
	if acks[len(acks)-1].ID != fresh[0].ID || leases[0].LastOut >= fresh[0].ID {
		t.Errorf("new message %d after %d, claimed last %d", fresh[0].ID, leases[0].LastOut,
			acks[len(acks)-1].ID)
	}
	for res := range slices.Chunk(acks, 64) {
		results, err := s.Ack(t.Context(), res)
		if err != nil || slices.ContainsFunc(results,
			func(r queue.AckResult) bool { return r != queue.AckDelivered }) {
			t.Fatal(results, err)
		}
	}
	peeks, err := s.CheckLeases(t.Context(), leases)
	if err != nil || len(peeks) > 0 {
		t.Errorf("after all acks: %+v %v", peeks, err)
	}
}

// checkChanges: who follows a tracker is either told of everything since a moment or that it cannot
// be told.
func checkChanges(t *testing.T, s *redisstore.Store, tracker queue.TrackerID,
	before []queue.Message,
) {
	t.Helper()
	now, _ := held(t, s, tracker)
	since := slices.MaxFunc(before, func(a, b queue.Message) int {
		return cmp.Compare(a.ChangeMs,
			b.ChangeMs)
	}).ChangeMs + 1
	want := 0
	for _, m := range now {
		if m.ChangeMs >= since {
			want++
		}
	}
	got, err := s.Changes(t.Context(), tracker, since, 1<<20)
	if !errors.Is(err, queue.ErrTooOld) && (err != nil || len(got) != want) {
		t.Errorf("%d changes, want %d, %v", len(got), want, err)
	}
}

func TestImportRefusesForeignMessages(t *testing.T) {
	s := open(t, redisstore.Options{Addrs: []string{queuetest.StartRedis(t).Addr}})
	past := pastOf(10, 1, 2)
	if res, err := s.Send(t.Context(), []queue.SendReq{{
		Tracker: 2,
		Text:    "was here before",
	}}); err != nil || res[0].Err != nil {
		t.Fatal(res, err)
	}
	if _, err := s.ImportMessages(t.Context(), past); !errors.Is(err, queue.ErrConflict) ||
		!strings.Contains(err.Error(), "tracker 2 has messages that are not imported") {
		t.Errorf("over a message: %v", err)
	}
	if got, _ := held(t, s, 2); len(got) != 1 {
		t.Errorf("tracker 2 has %d messages", len(got))
	}
	if got, _ := held(t, s, 1); len(got) != 10 {
		t.Errorf("tracker 1 has %d messages", len(got))
	}
	// A service that sends while the import is under way.
	if res, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "in between"}}); err !=
		nil || res[0].Err != nil {
		t.Fatal(res, err)
	}
	next := past[len(past)-1]
	next.ID, next.Tracker = next.ID+256, 1
	if _, err := s.ImportMessages(t.Context(), []queue.Message{next}); !errors.Is(err,
		queue.ErrConflict) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("after a newer message: %v", err)
	}
	// What is finished takes nothing more.
	if err := s.FinishImport(t.Context(), []queue.TrackerID{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ImportMessages(t.Context(), past[:1]); !errors.Is(err, queue.ErrConflict) {
		t.Errorf("after the end: %v", err)
	}
	if states, err := s.Imported(t.Context(), []queue.TrackerID{1, 7}); err != nil ||
		states[0].ID != 0 || states[0].NewestMs == 0 || states[1] != (queue.Imported{}) {
		t.Errorf("%+v %v", states, err)
	}
	for _, id := range []int64{0, -1, queue.MaxID} {
		if err := s.SkipIDs(t.Context(), id); err == nil {
			t.Errorf("id %d was accepted", id)
		}
		if _, err := s.ImportMessages(t.Context(), []queue.Message{{
			ID: id, Tracker: 5,
			Status: queue.StatusUnread, SubmitMs: 1, Text: "x",
		}}); err == nil {
			t.Errorf("message %d was accepted", id)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.ImportMessages(ctx, past); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestImportedMessagesAge: retention takes imported messages away as it does others, in the order
// of their age.
func TestImportedMessagesAge(t *testing.T) {
	s := open(t, redisstore.Options{Addrs: []string{queuetest.StartRedis(t).Addr}})
	past := pastOf(400, 1, 2)
	past = slices.DeleteFunc(past,
		func(m queue.Message) bool { return m.Status == queue.StatusPending })
	importAll(t, s, past)
	cutoff := past[len(past)/2].SubmitMs
	for _, tracker := range []queue.TrackerID{1, 2} {
		for more := true; more; {
			st, err := s.Trim(t.Context(), redisstore.PartitionOf(tracker),
				queue.Retention{CutoffMs: cutoff, Max: 1000})
			if err != nil {
				t.Fatal(err)
			}
			more = st.More
		}
		want := pastOfOne(past, tracker)
		got, _ := held(t, s, tracker)
		old := 0
		for _, m := range got {
			if m.SubmitMs < cutoff {
				old++
			}
		}
		if gone := len(want) - len(got); gone < 64 || old >= 64 {
			t.Errorf("tracker %d: %d of %d messages are gone, %d old ones stay", tracker, gone,
				len(want), old)
		}
		if diff := gocmp.Diff(want[len(want)-len(got):], got); diff != "" {
			t.Errorf("tracker %d (-want +got):\n%s", tracker, diff)
		}
	}
}

// TestImportedMessagesExpire: what was imported is ended at the end of its time like anything else.
func TestImportedMessagesExpire(t *testing.T) {
	s := open(t, redisstore.Options{Addrs: []string{queuetest.StartRedis(t).Addr}})
	past := []queue.Message{
		{
			ID: 1 << 8, Tracker: 1, SubmitMs: begun, ChangeMs: begun, Status: queue.StatusPending,
			ExpiresMs: begun + 1, Employee: 7, Text: "due",
		},
		{
			ID: 2 << 8, Tracker: 1, SubmitMs: begun, ChangeMs: begun, Status: queue.StatusPending,
			Text: "for ever",
		},
		{
			ID: 3 << 8, Tracker: 1, SubmitMs: begun, ChangeMs: begun, Status: queue.StatusCancelled,
			ExpiresMs: begun + 1, Text: "cancelled",
		},
	}
	ids := importAll(t, s, past)
	st, err := s.Expire(t.Context())
	if err != nil || st.Ended != 1 {
		t.Fatalf("%+v, %v", st, err)
	}
	got, err := s.Find(t.Context(), ids[:3])
	if err != nil || got[0].Status != queue.StatusExpired || got[1].Status != queue.StatusPending ||
		got[2].Status != queue.StatusCancelled {
		t.Errorf("%+v, %v", got, err)
	}
}
