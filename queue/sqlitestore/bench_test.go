package sqlitestore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// benchTrackers is how many trackers the benchmarks spread over.
const benchTrackers = 10_000

// benchText is a text of 100 characters.
func benchText() string { return strings.Repeat("ten chars ", 10) }

func benchStore(b *testing.B) *sqlitestore.Store {
	b.Helper()
	return open(b, sqlitestore.Options{Path: b.TempDir(), MaxPending: 1 << 30})
}

func sendBatch(tb testing.TB, s *sqlitestore.Store, from, n int) []queue.AckReq {
	tb.Helper()
	reqs := make([]queue.SendReq, n)
	for i := range reqs {
		reqs[i] = queue.SendReq{
			Tracker: queue.TrackerID((from+i)%benchTrackers + 1),
			Text:    benchText(),
		}
	}
	res, err := s.Send(tb.Context(), reqs)
	if err != nil {
		tb.Fatal(err)
	}
	acks := make([]queue.AckReq, n)
	for i, r := range res {
		if r.Err != nil {
			tb.Fatal(r.Err)
		}
		acks[i] = queue.AckReq{Tracker: reqs[i].Tracker, ID: r.ID}
	}
	return acks
}

// Every ns/op below is one message's share, also where a call carries many.

func BenchmarkSend(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := benchStore(b)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%size == 0 {
					sendBatch(b, s, n, size)
				}
			}
		})
	}
}

func BenchmarkAck(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := benchStore(b)
			acks := make([]queue.AckReq, 0, b.N+1024)
			for len(acks) < b.N {
				acks = append(acks, sendBatch(b, s, len(acks), 1024)...)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				res, err := s.Ack(b.Context(), acks[n:min(n+size, len(acks))])
				if err != nil || res[0] != queue.AckDelivered {
					b.Fatal(res, err)
				}
			}
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	s := benchStore(b)
	in := make([]queue.Incoming, 64)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%len(in) != 0 {
			continue
		}
		for i := range in {
			in[i] = queue.Incoming{
				Tracker: queue.TrackerID((n+i)%benchTrackers + 1),
				Text:    benchText(), Key: uint64(n + i + 1), Window: time.Hour,
			}
		}
		if _, err := s.Receive(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClaim(b *testing.B) {
	s := benchStore(b)
	for from := 0; from < benchTrackers; from += 1000 {
		sendBatch(b, s, from, 1000)
	}
	leases, err := s.Acquire(b.Context(), "n", []queue.TrackerID{7, 77, 777})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		res, err := s.Claim(b.Context(), []queue.ClaimReq{{Lease: leases[n%3], MaxBytes: 64 << 10}})
		if err != nil || len(res[0].Msgs) != 1 {
			b.Fatal(res, err)
		}
	}
}

func BenchmarkPeek(b *testing.B) {
	s := benchStore(b)
	ts := make([]queue.TrackerID, 1024)
	for i := range ts {
		ts[i] = queue.TrackerID(i + 1)
	}
	leases, err := s.Acquire(b.Context(), "n", ts)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%len(leases) != 0 {
			continue
		}
		if res, err := s.CheckLeases(b.Context(), leases); err != nil || len(res) != 0 {
			b.Fatal(res, err)
		}
	}
}

// BenchmarkList reads 1,024 of a tracker's 10,000 messages a call.
func BenchmarkList(b *testing.B) {
	s := benchStore(b)
	reqs := make([]queue.SendReq, 1000)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: 1, Text: benchText()}
	}
	for range 10 {
		if _, err := s.Send(b.Context(), reqs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		msgs, err := s.List(b.Context(), queue.ListQuery{
			Tracker: 1, ToMs: 1 << 52, Limit: 1024,
			Desc: true,
		})
		if err != nil || len(msgs) != 1024 {
			b.Fatal(len(msgs), err)
		}
	}
}

// BenchmarkImport is an import of 100,000 new trackers, and one that changes nothing.
func BenchmarkImport(b *testing.B) {
	trackers := make([]queue.Tracker, 100_000)
	for i := range trackers {
		trackers[i] = queue.Tracker{
			ID: queue.TrackerID(i + 1), Account: 1, Protocol: "jt808",
			DeviceID: fmt.Sprint(13_800_000_000 + i), Chat: true, Features: []string{"chat"},
		}
	}
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("again=%v", again), func(b *testing.B) {
			s := benchStore(b)
			for b.Loop() {
				if !again {
					if _, err := s.ImportDirectory(b.Context(), nil, nil, true); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := s.ImportDirectory(b.Context(), []queue.Account{{ID: 1}}, trackers,
					true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
