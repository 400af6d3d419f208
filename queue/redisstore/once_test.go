package redisstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// TestLateBatches: a batch that arrives a second time is answered as the first time, one that
// arrives after its successor is refused; neither is executed.
func TestLateBatches(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	ids := send(t, s, 1, "first")
	ids = append(ids, send(t, s, 1, "second")...)
	memo := server.Must(t, "KEYS", "*:m:send:*")
	value := server.Must(t, "GET", memo)
	number := binary.BigEndian.Uint64(append([]byte{0}, value[:7]...))
	if number != 2 {
		t.Fatalf("batch %d", number)
	}
	tag := "{" + redisstore.Tags()[redisstore.PartitionOf(1)] + "}"
	identity := server.Must(t, "HGET", "chat:meta", "identity")
	late := func(number uint64) (string, error) {
		meta := "\x00\x00\x00\x00\x00\x00\x00\x01" + "abcd"
		return server.Do(t.Context(), "EVALSHA", s.ScriptSHA("send"), "2", memo, tag,
			fmt.Sprint(number), "0", string([]byte{byte(redisstore.PartitionOf(1))}), "PUBLISH",
			"1000", "1000",
			tag+":t:1", meta, "\x00\x00\x00\x04late", identity)
	}
	if got, err := late(2); err != nil || got != value[7:] ||
		int64(binary.BigEndian.Uint64(append([]byte{0}, got[2:]...))) != ids[1] {
		t.Fatalf("%q, %v; the memo is %q", got, err, value)
	}
	if got, err := late(1); err == nil || !strings.HasPrefix(err.Error(), "STALE") {
		t.Fatalf("%q, %v", got, err)
	}
	if msgs := list(t, s, 1); len(msgs) != 2 {
		t.Fatalf("%+v", msgs)
	}
	if _, err := late(3); err != nil {
		t.Fatal(err)
	}
	// The store's own batch 3 is answered with the results of the stranger's, which shows what the
	// number decides.
	if got := send(t, s, 1, "taken for late")[0]; list(t, s, 1)[2].ID != got ||
		list(t, s, 1)[2].Text != "late" {
		t.Fatalf("id %d of %+v", got, list(t, s, 1))
	}
}

// TestImportInterrupted ends imports at any moment: whoever loads the directory then sees all of an
// import or nothing of it.
func TestImportInterrupted(t *testing.T) {
	server := queuetest.StartRedis(t)
	const rows = 2000
	importOne := func(ctx context.Context, s *redisstore.Store, generation int) error {
		trackers := make([]queue.Tracker, rows)
		for i := range trackers {
			trackers[i] = queue.Tracker{
				ID: queue.TrackerID(i + 1), Account: 1, Protocol: "p",
				DeviceID: fmt.Sprint(i + 1), Label: fmt.Sprint(generation),
			}
		}
		_, err := s.ImportDirectory(ctx, []queue.Account{{ID: 1, Title: fmt.Sprint(generation)}},
			trackers, true)
		return err
	}
	reader := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	start := time.Now()
	if err := importOne(t.Context(), reader, 0); err != nil {
		t.Fatal(err)
	}
	limit := 2 * time.Since(start) // follows what this machine needs
	interrupted, whole, last := 0, 0, 0
	for generation := 1; generation <= 200 && (interrupted < 10 || whole < 10); generation++ {
		writer, err := redisstore.Open(t.Context(), redisstore.Options{
			Addrs: []string{server.Addr},
			Now:   time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(limit))
		err = importOne(ctx, writer, generation)
		cancel()
		_ = writer.Close()
		accounts, trackers, loadErr := reader.LoadDirectory(t.Context())
		if loadErr != nil {
			t.Fatal(loadErr)
		}
		title := accounts[0].Title
		for _, tr := range trackers {
			if tr.Label != title {
				t.Fatalf("tracker %d is of import %s, the account of %s", tr.ID, tr.Label, title)
			}
		}
		switch {
		case len(trackers) != rows, err == nil && title != fmt.Sprint(generation),
			title != fmt.Sprint(generation) && title != fmt.Sprint(last):
			t.Fatalf("%d trackers of import %s after %d and %d (%v)", len(trackers), title, last,
				generation, err)
		case title == fmt.Sprint(generation):
			whole++
			last = generation
			limit -= limit / 20
		default:
			interrupted++
			limit += limit / 10
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	if interrupted == 0 || whole == 0 {
		t.Fatalf("%d imports interrupted, %d whole", interrupted, whole)
	}
	if v := server.Must(t, "HGET", "{chat:dir}", "version"); v == "0" {
		t.Fatal("the version did not rise")
	}
}

// TestKeysAreKeptForADay: a client's key and the answer to it are known for 24 hours, and Redis
// forgets them then.
func TestKeysAreKeptForADay(t *testing.T) {
	server := queuetest.StartRedis(t)
	s := open(t, redisstore.Options{Addrs: []string{server.Addr}})
	if _, err := s.Send(t.Context(), []queue.SendReq{{Tracker: 1, Text: "once", Key: "k"}}); err !=
		nil {
		t.Fatal(err)
	}
	if _, err := s.SaveAnswer(t.Context(), 1, "k", []byte("answer")); err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for pattern, at := range map[string]int{"*:i:*": 7, "*:a:*": 0} {
		// where the end is in the value
		key := server.Must(t, "KEYS", pattern)
		left, err := time.ParseDuration(server.Must(t, "PTTL", key) + "ms")
		if err != nil || left > day || left < day-time.Minute {
			t.Errorf("%q expires in %s: %v", key, left, err)
		}
		value := server.Must(t, "GET", key)
		end := time.UnixMilli(int64(binary.BigEndian.Uint64(append([]byte{0, 0},
			value[at:at+6]...))))
		if left := time.Until(end); left > day+time.Minute || left < day-time.Minute {
			t.Errorf("%q counts for %s", key, left)
		}
	}
}
