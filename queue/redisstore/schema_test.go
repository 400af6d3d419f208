package redisstore_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// TestTags: the table is part of what is stored, so it never changes; and however many masters
// share the slots evenly, they share the partitions evenly.
func TestTags(t *testing.T) {
	table := redisstore.Tags()
	sum := sha256.Sum256([]byte(strings.Join(table[:], " ")))
	if got, want := hex.EncodeToString(sum[:8]), "12ae1f7b98291a57"; got != want {
		t.Errorf("table of tags is %s, want %s: %v", got, want, table)
	}
	if slot := redisstore.TagSlot("123456789"); slot != 0x31c3 {
		// check value of the Redis Cluster specification
		t.Fatalf("slot %#x", slot)
	}
	for masters := 1; masters <= 64; masters++ {
		count := make([]int, masters)
		for _, tag := range table {
			count[redisstore.TagSlot(tag)*masters/16384]++
		}
		for i, n := range count {
			if n < 256/masters-1 || n > 256/masters+2 {
				t.Errorf("master %d of %d has %d partitions", i, masters, n)
			}
		}
	}
}

// TestPartitions: trackers keep their partition for ever, and ids that follow each other spread
// evenly.
func TestPartitions(t *testing.T) {
	for tracker, want := range map[queue.TrackerID]queue.Partition{
		0: 0, 1: 229, 2: 138, 999199: 42,
		-5: 78, 1 << 62: 197,
	} {
		if got := redisstore.PartitionOf(tracker); got != want {
			t.Errorf("tracker %d lies in partition %d, want %d", tracker, got, want)
		}
	}
	var count [256]int
	for tracker := range queue.TrackerID(256_000) {
		count[redisstore.PartitionOf(tracker)]++
	}
	for p, n := range count {
		if n < 850 || n > 1150 {
			t.Errorf("partition %d has %d of 256,000 trackers", p, n)
		}
	}
}

// TestEveryWrongHint acks with each offset of a block, right check and all: only the message that
// is meant changes, and of it nothing but state and time.
func TestEveryWrongHint(t *testing.T) {
	server := queuetest.StartRedis(t, "--appendfsync", "no")
	s := open(t, redisstore.Options{
		Addrs: []string{server.Addr}, MaxPending: 1 << 20,
		AllowVolatile: true,
	})
	other := send(t, s, 1<<20, "x")[0]
	const messages = 3000
	for i := range messages / 100 {
		texts := make([]string, 100)
		for k := range texts {
			texts[k] = fmt.Sprint("P D U ", i*100+k)
		}
		send(t, s, 1, texts...)
	}
	before := everything(t, s, 1)
	length := 9 + 64*(33+len("P D U 1234"))
	for first := 0; first < messages; first += 50 {
		var acks []queue.AckReq
		for i := first; i < first+50; i++ {
			m := before[i]
			acks = append(acks, queue.AckReq{
				Tracker: 1, ID: m.ID,
				Hint: int64(i)<<32 | m.Hint&0xffffffff,
			})
		}
		res, err := s.Ack(t.Context(), acks)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range res {
			if r != queue.AckDelivered {
				t.Fatalf("offset %d: %v", first+i, r)
			}
		}
	}
	if length > messages {
		t.Fatalf("only %d of %d offsets were tried", messages, length)
	}
	for i, m := range everything(t, s, 1) {
		want := before[i]
		want.Status, want.UpdateMs, want.ChangeMs = queue.StatusDelivered, m.UpdateMs, m.UpdateMs
		if d := cmp.Diff(want, m); d != "" || m.UpdateMs < m.SubmitMs {
			t.Fatalf("message %d (-want +got):\n%s", i, d)
		}
	}
	// A hint of one tracker's message does not ack another's by it.
	for range 1000 {
		m := before[rand.IntN(messages)]
		if r, err := s.Ack(t.Context(), []queue.AckReq{
			{Tracker: 1 << 20, ID: m.ID, Hint: m.Hint},
			{Tracker: 1, ID: other, Hint: m.Hint},
		}); err != nil || r[0] != 0 || r[1] != 0 {
			t.Fatal(r, err)
		}
	}
}

// TestCorrupt: damaged data is an error, never left out.
func TestCorrupt(t *testing.T) {
	server := queuetest.StartRedis(t)
	reg := prometheus.NewRegistry()
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}, Registerer: reg})
	id := send(t, s, 1, "whole", "also whole")[0]
	tag := "{" + redisstore.Tags()[redisstore.PartitionOf(1)] + "}"
	chunk := tag + ":c:1"
	whole := server.Must(t, "GET", chunk)
	for name, damaged := range map[string]string{
		"cut": whole[:len(whole)-3], "cut in a header": whole[:len(whole)-30], "no header": "x",
		"unknown state": whole[:9] + "?" + whole[10:],
	} {
		server.Must(t, "SET", chunk, damaged)
		if _, err := s.List(t.Context(), queue.ListQuery{
			Tracker: 1, ToMs: 1 << 45,
			Limit: 10,
		}); !isCorrupt(err) {
			t.Errorf("%s: list: %v", name, err)
		}
		if _, err := s.Find(t.Context(), []int64{id + 1<<8}); !isCorrupt(err) {
			t.Errorf("%s: find: %v", name, err)
		}
	}
	claimsGoOn(t, s, func(damaged string) { server.Must(t, "SET", chunk, damaged) }, whole)
	server.Must(t, "SET", chunk, whole)
	if n := len(list(t, s, 1)); n != 2 {
		t.Fatalf("%d messages", n)
	}
	server.Must(t, "SET", tag+":t:1", "short")
	if peeked, err := s.CheckLeases(t.Context(), []queue.Lease{
		{Tracker: 1, Epoch: 1},
		{Tracker: 2, Epoch: 1},
	}); err != nil || len(peeked) != 2 || peeked[0].Fenced {
		t.Errorf("peek: %+v, %v", peeked, err)
	}
	if _, err := s.Unread(t.Context(), []queue.TrackerID{1}); !isCorrupt(err) {
		t.Errorf("unread: %v", err)
	}
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x"}}); !isCorrupt(err) {
		t.Errorf("send: %v", err)
	}
	for op, n := range map[string]int{"list": 4, "find": 4, "claim": 3, "unread": 1, "send": 1} {
		if got := corruptions(t, reg)[op]; got != n {
			t.Errorf("%s: %d times counted, want %d", op, got, n)
		}
	}
}

// TestUrgentIsAFlagAlone: the text of an urgent message lies where that of another one does, so a
// program that does not know the flag reads it as a text that is not urgent.
func TestUrgentIsAFlagAlone(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	res, err := s.Send(t.Context(), []queue.SendReq{
		{Tracker: 1, Text: "text"},
		{Tracker: 1, Text: "text", Urgent: true},
	})
	if err != nil || res[0].Err != nil || res[1].Err != nil {
		t.Fatal(res, err)
	}
	chunk := server.Must(t, "GET", firstChunk())
	const record = 33 + len("text")
	for i, want := range []string{"\x00\x00\x00\x04text", "\x20\x00\x00\x04text"} {
		if got := chunk[9+i*record+29 : 9+(i+1)*record]; got != want {
			t.Errorf("record %d ends with %q, want %q", i, got, want)
		}
	}
}

// firstChunk is the key of the first block of tracker 1.
func firstChunk() string {
	return "{" + redisstore.Tags()[redisstore.PartitionOf(1)] + "}:c:1"
}

// TestFlagsOfANewerProgram: a text that stands behind something unknown is not read at all, neither
// from the store nor from a wake, and no other tracker waits for it.
func TestFlagsOfANewerProgram(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	wakes := make(chan queue.Wake, 16)
	if err := s.Listen(t.Context(), "node", func(list []queue.Wake) {
		for _, w := range list {
			if w.Kind == queue.WakeMessage {
				wakes <- w
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	leases, err := s.Acquire(t.Context(), "node", []queue.TrackerID{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, 1, "text")
	next := func() queue.Wake {
		t.Helper()
		select {
		case w := <-wakes:
			return w
		case <-time.After(20 * time.Second):
			t.Fatal("no wake")
			return queue.Wake{}
		}
	}
	entry := next()
	chunk := server.Must(t, "GET", firstChunk())
	for _, flag := range []byte{64, 128} {
		server.Must(t, "SET", firstChunk(), chunk[:9+29]+string([]byte{flag})+chunk[9+30:])
		if _, err := s.Find(t.Context(), []int64{entry.Msg.ID}); !isCorrupt(err) {
			t.Errorf("flag %d: find: %v", flag, err)
		}
		res, err := s.Claim(t.Context(), []queue.ClaimReq{{Lease: leases[0], MaxBytes: 1000}})
		if err != nil || len(res[0].Msgs) != 0 || !isCorrupt(res[0].Err) {
			t.Errorf("flag %d: claim: %+v, %v", flag, res, err)
		}
	}
	// A wake as send.lua makes it, of the message before with another flag, then one of tracker 2.
	wake := binary.BigEndian.AppendUint64([]byte("M"), 1)
	wake = append(append(wake, 0, 0, 0, 0, 0, byte(leases[0].Epoch)), make([]byte, 27)...)
	wake = append(wake, 64, 0, 0, 8)
	wake = append(wake, "Ada text"...)
	channel := strings.TrimSuffix(firstChunk(), ":c:1") + ":n:node"
	server.Must(t, "PUBLISH", channel, string(wake))
	if w := next(); w.Tracker != 1 || !w.Hint || w.Msg.Text != "" {
		t.Errorf("wake %+v", w)
	}
	send(t, s, 2, "next")
	if w := next(); w.Tracker != 2 || w.Hint || w.Msg.Text != "next" {
		t.Errorf("wake %+v", w)
	}
}

// TestAuthorsBesideAnEarlierVersion: a node that would take an author for a part of the text is
// sent none, as long as it lives.
func TestAuthorsBesideAnEarlierVersion(t *testing.T) {
	server := queuetest.StartRedis(t)
	var clock atomic.Int64
	clock.Store(1_780_000_000_000)
	now := func() time.Time { return time.UnixMilli(clock.Load()) }
	o := redisstore.Options{Addrs: []string{server.Addr}}.WithClock(now)

	s := open(t, o)
	author := &queue.Author{Kind: queue.AuthorUser, ID: "1", Name: "Ann"}
	authored := func() bool {
		t.Helper()
		if _, err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		res, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "x", Author: author}})
		if err != nil || res[0].Err != nil {
			t.Fatal(err, res)
		}
		found, err := s.Find(t.Context(), []int64{res[0].ID})
		if err != nil || found[0].Text != "x" {
			t.Fatal(err, found)
		}
		return found[0].Author != nil
	}
	if !authored() {
		t.Error("no author alone")
	}
	report := fmt.Sprintf(`%d {"started":1,"sessions":5}`, clock.Load())
	server.Must(t, "HSET", "{chat:nodes}", "old", report)
	if authored() {
		t.Error("an author beside a node of an earlier version")
	}
	put := func(a queue.Account) error {
		t.Helper()
		res, err := s.EditDirectory(t.Context(), []queue.Edit{{
			Kind: queue.EditPutAccount, Account: a,
		}})
		return errors.Join(err, append(res, queue.EditResult{})[0].Err)
	}
	keys := func(k queue.Key) queue.Account {
		return queue.Account{ID: 1, Keys: []queue.Key{{Hash: queue.HashKey("plain")}, k}}
	}
	users := queue.Account{ID: 1, People: &queue.People{Users: []queue.User{{ID: 1, Login: "a"}}}}
	viewer := keys(queue.Key{Hash: queue.HashKey("b"), Role: queue.RoleViewer})
	for _, a := range []queue.Account{users, viewer} {
		if err := put(a); !errors.Is(err, queue.ErrOverloaded) {
			t.Errorf("%+v beside a node that does not know it: %v", a, err)
		}
	}
	if err := put(keys(queue.Key{Hash: queue.HashKey("b")})); err != nil {
		t.Error(err)
	}
	clock.Add(queue.NodeLife.Milliseconds())
	if err := s.Heartbeat(t.Context(), queue.Node{ID: "new"}); err != nil {
		t.Fatal(err)
	}
	if !authored() {
		t.Error("no author once that node is gone")
	}
	if err := put(viewer); err != nil {
		t.Error(err)
	}
	// Such a node that comes again does not know the key at all.
	row := server.Must(t, "HGET", "{chat:dir}:a:0", "1")
	hash := func(key string) string {
		h := queue.HashKey(key)
		return hex.EncodeToString(h[:])
	}
	if want := `"keys":["` + hash("plain") + `"],`; !strings.Contains(row, want) ||
		!strings.Contains(row, hash("b")) {
		t.Errorf("%s, want %s", row, want)
	}
	// Beside it a key can be taken away, and none be given.
	report = fmt.Sprintf(`%d {"started":1,"sessions":5}`, clock.Load())
	server.Must(t, "HSET", "{chat:nodes}", "old", report)
	authored()
	less := queue.Account{ID: 1, Keys: viewer.Keys[1:]}
	if err := put(less); err != nil {
		t.Error(err)
	}
	if err := put(viewer); !errors.Is(err, queue.ErrOverloaded) {
		t.Error(err)
	}
}

// corruptions are how often data could not be read, by operation.
func corruptions(t *testing.T, reg *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "trackchat_store_corrupt_total" {
				counts[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	return counts
}

// claimsGoOn claims tracker 1, whose second message is damaged, together with another tracker.
func claimsGoOn(t *testing.T, s *redisstore.Store, set func(chunk string), whole string) {
	t.Helper()
	send(t, s, 2, "of another tracker")
	leases, err := s.Acquire(t.Context(), "node", []queue.TrackerID{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	claim := func(from queue.Cursor) []queue.ClaimResult {
		res, err := s.Claim(t.Context(), []queue.ClaimReq{{
			Lease: leases[0], Cursor: from,
			MaxBytes: 1000,
		}, {Lease: leases[1], MaxBytes: 1000}})
		if err != nil || len(res[1].Msgs) != 1 || res[1].Err != nil {
			t.Fatalf("%+v, %v", res, err)
		}
		return res
	}
	set(whole[:len(whole)-3])
	first := claim(0)[0]
	if len(first.Msgs) != 1 || first.Msgs[0].Text != "whole" || !first.More || first.Err != nil {
		t.Fatalf("%+v", first)
	}
	for range 2 {
		if next := claim(first.Next)[0]; len(next.Msgs) != 0 || !isCorrupt(next.Err) {
			t.Fatalf("%+v", next)
		}
	}
	set("x")
	if first := claim(0)[0]; !isCorrupt(first.Err) {
		t.Fatalf("%+v", first)
	}
	if peeked, err := s.CheckLeases(t.Context(), leases); err != nil || len(peeked) != 2 {
		t.Fatalf("%+v, %v", peeked, err)
	}
}

func isCorrupt(err error) bool { return errors.Is(err, queue.ErrCorrupt) }
