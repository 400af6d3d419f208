package redisstore_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// scriptCalls is how many script calls a Redis has executed since its statistics were reset.
func scriptCalls(t *testing.T, server *queuetest.RedisServer) int {
	t.Helper()
	for line := range strings.Lines(server.Must(t, "INFO", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			text, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(line)
			}
			return n
		}
	}
	return 0
}

// sends makes a text for each of n trackers.
func sends(n int, text string) []queue.SendReq {
	reqs := make([]queue.SendReq, n)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: queue.TrackerID(i + 1), Text: text}
	}
	return reqs
}

// TestMergedCalls: where one Redis holds everything, requests for any partitions go into one script
// call, up to its bounds.
func TestMergedCalls(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	for _, c := range []struct {
		requests, size, calls int
	}{
		{64, 10, 1},
		{65, 10, 2},
		{200, 10, 4},
		{26, 20_000, 2}, // 256 KiB hold 13 of them
		{27, 20_000, 3},
	} {
		server.Must(t, "CONFIG", "RESETSTAT")
		res, err := s.Send(t.Context(), sends(c.requests, strings.Repeat("x", c.size)))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range res {
			if want := redisstore.PartitionOf(queue.TrackerID(i + 1)); r.Err != nil ||
				queue.Partition(r.ID%256) != want {
				t.Fatalf("result %d of %d: %+v, want partition %d", i, c.requests, r, want)
			}
		}
		if n := scriptCalls(t, server); n != c.calls {
			t.Errorf("%d texts of %d bytes took %d calls, want %d", c.requests, c.size, n, c.calls)
		}
	}
	if rep, err := s.Check(t.Context()); err != nil || rep.Pending != 64+65+200+26+27 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestMergedCallOfDamagedData: what cannot be read fails its own requests, all others of the same
// call are executed.
func TestMergedCallOfDamagedData(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	const n = 60
	neighbour := queue.TrackerID(n + 1) // of the damaged tracker's partition
	for redisstore.PartitionOf(neighbour) != redisstore.PartitionOf(1) {
		neighbour++
	}
	reqs := append(sends(n, "whole"), queue.SendReq{Tracker: neighbour, Text: "whole"})
	first, err := s.Send(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	key := func(tracker queue.TrackerID) string {
		return fmt.Sprintf("{%s}:t:%d", redisstore.Tags()[redisstore.PartitionOf(tracker)], tracker)
	}
	damaged := map[queue.TrackerID]bool{1: true, 2: true}
	server.Must(t, "SET", key(1), "short")
	server.Must(t, "DEL", key(2))
	server.Must(t, "LPUSH", key(2), "of another type")
	// a counter that only Check needs.
	server.Must(t, "SET", fmt.Sprintf("{%s}:p", redisstore.Tags()[redisstore.PartitionOf(3)]),
		"no number")
	server.Must(t, "CONFIG", "RESETSTAT")
	second, err := s.Send(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	if n := scriptCalls(t, server); n != 1 {
		t.Errorf("%d calls", n)
	}
	acks := make([]queue.AckReq, len(reqs))
	for i, r := range second {
		tracker := reqs[i].Tracker
		acks[i] = queue.AckReq{Tracker: tracker, ID: first[i].ID}
		if damaged[tracker] != (r.ID == 0) || damaged[tracker] != isCorrupt(r.Err) {
			t.Fatalf("tracker %d: %+v", tracker, r)
		}
	}
	if _, err := s.Ack(t.Context(), acks); !isCorrupt(err) {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), "node", []queue.TrackerID{2, 3}); !isCorrupt(err) {
		t.Fatal(err)
	}
	for i, r := range reqs {
		if damaged[r.Tracker] {
			continue
		}
		msgs := list(t, s, r.Tracker)
		if len(msgs) != 2 || msgs[0].ID != first[i].ID || msgs[0].Status != queue.StatusDelivered ||
			msgs[1].ID != second[i].ID || msgs[1].Status != queue.StatusPending {
			t.Fatalf("tracker %d: %+v", r.Tracker, msgs)
		}
	}
	if ps, err := s.Presence(t.Context(), []queue.TrackerID{3}); err != nil || ps[3].SinceMs == 0 {
		t.Errorf("%+v, %v", ps, err)
	}
}

// TestExpiryOfDamagedData: a message whose time has run out and that cannot be read keeps no other
// one alive, not in its partition either.
func TestExpiryOfDamagedData(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	neighbour := queue.TrackerID(2) // of the damaged tracker's partition
	for redisstore.PartitionOf(neighbour) != redisstore.PartitionOf(1) {
		neighbour++
	}
	ends := time.Now().UnixMilli() + 50
	var ids []int64
	for _, tracker := range []queue.TrackerID{1, neighbour, neighbour + 1} {
		res, err := s.Send(t.Context(), []queue.SendReq{{
			Tracker: tracker, Text: "short-lived",
			ExpiresMs: ends,
		}})
		if err != nil || res[0].Err != nil {
			t.Fatal(res, err)
		}
		ids = append(ids, res[0].ID)
	}
	server.Must(t, "SET", fmt.Sprintf("{%s}:t:1", redisstore.Tags()[redisstore.PartitionOf(1)]),
		"short")
	within(t, "the damage is told", func() bool {
		_, err := s.Expire(t.Context())
		return isCorrupt(err)
	})
	msgs, err := s.Find(t.Context(), ids[1:])
	if err != nil || msgs[0].Status != queue.StatusExpired ||
		msgs[1].Status != queue.StatusExpired {
		t.Errorf("%+v, %v", msgs, err)
	}
}

// TestMergedCallsAreExecutedOnce: whatever is lost of a call for many partitions, the call, its
// answer or the script, each of its requests is executed once.
func TestMergedCallsAreExecutedOnce(t *testing.T) {
	where := place{queuetest.StartRedis(t)}
	s, proxies := where.proxied(t)
	const n = 60
	var ids [][]int64
	round := func(fault func(text string)) {
		t.Helper()
		fault(":m:send:")
		res, err := s.Send(t.Context(), sends(n, fmt.Sprint("round ", len(ids))))
		if err != nil {
			t.Fatal(err)
		}
		sent, acks := make([]int64, n), make([]queue.AckReq, n)
		for i, r := range res {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			sent[i], acks[i] = r.ID, queue.AckReq{Tracker: queue.TrackerID(i + 1), ID: r.ID}
		}
		ids = append(ids, sent)
		fault(":m:ack:")
		acked, err := s.Ack(t.Context(), acks)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range acked {
			if r != queue.AckDelivered {
				t.Fatalf("ack of tracker %d: %v", i+1, r)
			}
		}
	}
	for range 3 {
		for _, arm := range []func(string) <-chan struct{}{
			proxies[0].CutRequest,
			proxies[0].CutReply,
		} {
			var faults []<-chan struct{}
			round(func(text string) { faults = append(faults, arm(text)) })
			for _, f := range faults {
				await(t, f)
			}
		}
		round(func(string) { where.all(t, "SCRIPT", "FLUSH") })
	}
	for i := range n {
		msgs := list(t, s, queue.TrackerID(i+1))
		if len(msgs) != len(ids) {
			t.Fatalf("tracker %d has %d messages, %d were sent", i+1, len(msgs), len(ids))
		}
		for k, m := range msgs {
			if m.ID != ids[k][i] || m.Text != fmt.Sprint("round ", k) ||
				m.Status != queue.StatusDelivered {
				t.Fatalf("%+v, want id %d of round %d", m, ids[k][i], k)
			}
		}
	}
	if rep, err := s.Check(t.Context()); err != nil || rep.Pending != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestCorruptKeys: where what a tracker has received cannot be read, its text is not answered as
// stored; texts of others in the same call are stored.
func TestCorruptKeys(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	neighbour := queue.TrackerID(2) // of the damaged tracker's partition
	for redisstore.PartitionOf(neighbour) != redisstore.PartitionOf(1) {
		neighbour++
	}
	receive := func(key uint64) []queue.ReceiveResult {
		t.Helper()
		in := make([]queue.Incoming, 3)
		for i, tracker := range []queue.TrackerID{neighbour + 1, 1, neighbour} {
			in[i] = queue.Incoming{Tracker: tracker, Text: "in", Key: key, Window: time.Hour}
		}
		res, err := s.Receive(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := receive(7)
	ring := fmt.Sprintf("{%s}:d:1", redisstore.Tags()[redisstore.PartitionOf(1)])
	whole := server.Must(t, "GET", ring)
	for n := range 13 { // nothing of the time of the entry is there
		server.Must(t, "SET", ring, whole[:8+n])
		if res := receive(7); !isCorrupt(res[1].Err) || res[1].ID != 0 ||
			!res[0].Dup || !res[2].Dup || res[0].ID != first[0].ID || res[2].ID != first[2].ID {
			t.Fatalf("%d bytes: %+v", 8+n, res)
		}
	}
	server.Must(t, "DEL", ring)
	if res := receive(7); res[1].Dup || res[1].Err != nil || len(list(t, s, 1)) != 2 {
		t.Errorf("%+v", res)
	}
}

// TestOneTrackerInACall: each item of a call sees what those before it have done to its tracker.
func TestOneTrackerInACall(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}, MaxPending: 1000})
	wakes, err := queuetest.Wakes(t.Context(), s, "node")
	if err != nil {
		t.Fatal(err)
	}
	leases, err := s.Acquire(t.Context(), "node", []queue.TrackerID{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	// The next call crosses the border of a block.
	last := map[queue.TrackerID]int64{1: send(t, s, 1, make([]string, 40)...)[39]}
	heard := 0
	for heard < 40 {
		heard += len(<-wakes)
	}
	reqs := make([]queue.SendReq, 64)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 1, Text: strconv.Itoa(i)}
		if i%3 == 1 {
			reqs[i].Tracker = 2
		}
	}
	server.Must(t, "CONFIG", "RESETSTAT")
	sent, err := s.Send(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	var got []queue.Wake
	for len(got) < len(reqs) {
		got = append(got, <-wakes...)
	}
	acks := make([]queue.AckReq, 0, 2*len(reqs))
	for i, w := range got {
		tracker := reqs[i].Tracker
		if w.Tracker != tracker || w.Msg.ID != sent[i].ID || w.Msg.Text != reqs[i].Text ||
			w.Prev != last[tracker] || sent[i].ID <= last[tracker] {
			t.Fatalf("wake %d: %+v of %+v after %d", i, w, sent[i], last[tracker])
		}
		last[tracker] = sent[i].ID
		if i%2 == 0 { // every other message is acknowledged, twice in the same call
			ack := queue.AckReq{Tracker: tracker, ID: w.Msg.ID, Hint: w.Msg.Hint}
			acks = append(acks, ack, ack)
		}
	}
	results, err := s.Ack(t.Context(), acks)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if want := []queue.AckResult{queue.AckDelivered, queue.AckAlready}[i%2]; r != want {
			t.Errorf("ack %d: %v, want %v", i, r, want)
		}
	}
	if n := scriptCalls(t, server); n != 2 {
		t.Errorf("%d calls", n)
	}
	due, err := s.CheckLeases(t.Context(), leases)
	if err != nil {
		t.Fatal(err)
	}
	pending := map[queue.TrackerID]int{1: 40}
	for i, r := range reqs {
		pending[r.Tracker] += i % 2
	}
	for _, d := range due {
		if d.Pending != pending[d.Tracker] || d.LastOut != last[d.Tracker] {
			t.Errorf("%+v, want %d pending after %d", d, pending[d.Tracker], last[d.Tracker])
		}
	}
	if rep, err := s.Check(t.Context()); err != nil || rep.Pending != 40+32 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestRoomFromExpiredMessages: a call that ends what is due, because one of its trackers has no
// room, counts it for the trackers of its later items as well.
func TestRoomFromExpiredMessages(t *testing.T) {
	server := queuetest.StartRedis(t)
	clock := queuetest.NewClock()
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}, MaxPending: 2}.
		WithClock(clock.Now))
	first, second := queue.TrackerID(1), queue.TrackerID(2)
	for redisstore.PartitionOf(second) != redisstore.PartitionOf(first) {
		second++
	}
	expires := clock.Now().Add(time.Minute).UnixMilli()
	var reqs []queue.SendReq
	for _, tracker := range []queue.TrackerID{first, second} {
		for range 2 {
			reqs = append(reqs, queue.SendReq{Tracker: tracker, Text: "due", ExpiresMs: expires})
		}
	}
	for range 2 { // the second time there is no room before the first ones are ended
		results, err := s.Send(t.Context(), reqs)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil {
				t.Errorf("item %d: %v", i, r.Err)
			}
		}
		clock.Advance(2 * time.Minute)
		for i := range reqs {
			reqs[i].ExpiresMs = 0
		}
	}
	if rep, err := s.Check(t.Context()); err != nil || rep.Pending != 4 {
		t.Errorf("%+v, %v", rep, err)
	}
	server.Must(t, "CONFIG", "RESETSTAT")
	results, err := s.Send(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if !errors.Is(r.Err, queue.ErrQueueFull) {
			t.Errorf("item %d: %+v", i, r)
		}
	}
}
