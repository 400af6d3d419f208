package redisstore_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"

	"github.com/redis/go-redis/v9"
)

// hundred is a text of 100 characters.
var hundred = strings.Repeat("0123456789", 10)

// meter reads what Redis itself says about its work.
type meter struct {
	b      *testing.B
	server *queuetest.RedisServer
	cpu    float64
	aof    int64
	mem    int64
	calls  int64 // of scripts
}

func newMeter(b *testing.B, server *queuetest.RedisServer) *meter {
	b.Helper()
	m := &meter{b: b, server: server}
	m.cpu, m.aof, m.mem, m.calls = m.read()
	b.ReportAllocs()
	b.ResetTimer()
	return m
}

func (m *meter) read() (cpu float64, aof, mem, calls int64) {
	m.b.Helper()
	fields := make(map[string]float64)
	for line := range strings.Lines(m.server.Must(m.b, "INFO", "everything")) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		if k == "cmdstat_evalsha" {
			v, _, _ = strings.Cut(strings.TrimPrefix(v, "calls="), ",")
		}
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			fields[k] = f
		}
	}
	return fields["used_cpu_user_main_thread"] + fields["used_cpu_sys_main_thread"],
		int64(fields["aof_current_size"]), int64(fields["used_memory"]),
		int64(fields["cmdstat_evalsha"])
}

// report gives figures for n lifecycles or messages.
func (m *meter) report(n int64) {
	m.b.Helper()
	m.b.StopTimer()
	cpu, aof, mem, calls := m.read()
	m.b.ReportMetric(float64(n)/m.b.Elapsed().Seconds(), "lives/s")
	m.b.ReportMetric((cpu-m.cpu)*1e6/float64(n), "redis-us/life")
	m.b.ReportMetric(float64(calls-m.calls)/float64(n), "calls/life")
	m.b.ReportMetric(float64(aof-m.aof)/float64(n), "aof-B/life")
	m.b.ReportMetric(float64(mem-m.mem)/float64(n), "mem-B/life")
	m.b.ReportMetric(0, "ns/op")
}

func benchServer(b *testing.B, fsync string) (*queuetest.RedisServer, redisstore.Options) {
	b.Helper()
	server := queuetest.StartRedis(b, "--appendfsync", fsync)
	durability := redisstore.EverySecond
	if fsync == "always" {
		durability = redisstore.Always
	}
	return server, redisstore.Options{
		Addrs: []string{server.Addr}, Durability: durability,
		MaxPending: 1 << 20,
	}
}

// BenchmarkBatches: whole lives of messages (send, wake, ack with its hint) in calls of 64 to
// trackers of one partition, 8 calls at once.
func BenchmarkBatches(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		for _, keyed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/key=%v", fsync, keyed), func(b *testing.B) {
				server, o := benchServer(b, fsync)
				s := open(b, o)
				groups := trackersOf(8, 100)
				wakes, err := queuetest.Wakes(b.Context(), s, "node")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Acquire(b.Context(), "node", slices.Concat(groups...)); err != nil {
					b.Fatal(err)
				}
				m := newMeter(b, server)
				calls := int64(b.N)/64 + 1
				var turn atomic.Int64
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						for n := turn.Add(1); n <= calls; n = turn.Add(1) {
							sendBatch(b, s, groups[n%8], n, keyed)
						}
					})
				}
				acking := make(chan struct{}, 8)
				var acks [256][]queue.AckReq
				for seen := int64(0); seen < calls*64; {
					for _, w := range <-wakes {
						seen++
						p := redisstore.PartitionOf(w.Tracker)
						acks[p] = append(acks[p], queue.AckReq{
							Tracker: w.Tracker, ID: w.Msg.ID,
							Hint: w.Msg.Hint,
						})
						if len(acks[p]) < 64 {
							continue
						}
						list := acks[p]
						acks[p] = nil
						acking <- struct{}{}
						wg.Go(func() {
							if res, err := s.Ack(b.Context(), list); err != nil ||
								slices.Contains(res, queue.AckUnknown) {
								b.Error(res, err)
							}
							<-acking
						})
					}
				}
				wg.Wait()
				m.report(calls * 64)
			})
		}
	}
}

// trackersOf returns n trackers of each of the first partitions.
func trackersOf(partitions, n int) [][]queue.TrackerID {
	table := make([][]queue.TrackerID, partitions)
	for t, missing := queue.TrackerID(1), partitions*n; missing > 0; t++ {
		if p := int(redisstore.PartitionOf(t)); p < partitions && len(table[p]) < n {
			table[p] = append(table[p], t)
			missing--
		}
	}
	return table
}

func sendBatch(b *testing.B, s *redisstore.Store, trackers []queue.TrackerID, turn int64,
	keyed bool,
) {
	b.Helper()
	reqs := make([]queue.SendReq, 64)
	for i := range reqs {
		reqs[i] = queue.SendReq{Tracker: trackers[(int(turn)*64+i)%len(trackers)], Text: hundred}
		if keyed {
			reqs[i].Key = strconv.FormatInt(turn*64+int64(i), 10)
		}
	}
	if _, err := s.Send(b.Context(), reqs); err != nil {
		b.Error(err)
	}
}

// BenchmarkSingles: whole lives of single messages (send, wake, ack with its hint) by many senders
// at once, to 10,000 trackers.
func BenchmarkSingles(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		for _, senders := range []int{16, 128, 512} {
			b.Run(fmt.Sprintf("%s/senders=%d", fsync, senders), func(b *testing.B) {
				server, o := benchServer(b, fsync)
				s := open(b, o)
				const trackers = 10_000
				ts := make([]queue.TrackerID, trackers)
				for i := range ts {
					ts[i] = queue.TrackerID(i + 1)
				}
				wakes, err := queuetest.Wakes(b.Context(), s, "node")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Acquire(b.Context(), "node", ts); err != nil {
					b.Fatal(err)
				}
				m := newMeter(b, server)
				singles(b, s, ts, wakes, senders)
				m.report(int64(b.N))
			})
		}
	}
}

// singles sends b.N messages and acks each one as its wake comes.
func singles(b *testing.B, s *redisstore.Store, ts []queue.TrackerID, wakes <-chan []queue.Wake,
	senders int,
) {
	b.Helper()
	var turn atomic.Int64
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for {
				n := turn.Add(1)
				if n > int64(b.N) {
					return
				}
				res, err := s.Send(b.Context(), []queue.SendReq{{
					Tracker: ts[n*7919%int64(len(ts))],
					Text:    hundred,
				}})
				if err != nil || res[0].Err != nil {
					b.Error(res, err)
				}
			}
		})
	}
	acking := make(chan struct{}, senders) // as many acks on their way as there are senders
	for seen := 0; seen < b.N; {
		for _, w := range <-wakes {
			if w.Kind != queue.WakeMessage {
				b.Errorf("wake %+v", w)
				continue
			}
			seen++
			acking <- struct{}{}
			wg.Go(func() {
				if res, err := s.Ack(b.Context(), []queue.AckReq{{
					Tracker: w.Tracker, ID: w.Msg.ID,
					Hint: w.Msg.Hint,
				}}); err != nil || res[0] != queue.AckDelivered {
					b.Error(res, err)
				}
				<-acking
			})
		}
	}
	wg.Wait()
}

// BenchmarkHashes is what the chunks are compared with: a HASH for each message, for each tracker a
// sorted set of all its messages, one of the pending ones and a HASH with counters and owner; the
// same transitions in scripts over 64 messages.
func BenchmarkHashes(b *testing.B) {
	send := redis.NewScript(`local t = redis.call('TIME')
		local now = t[1] * 1000 + math.floor(t[2] / 1000)
		local ids, out = {}, {}
		for i = 1, #ARGV, 2 do
			local T = '{h}:t:' .. ARGV[i]
			local s = redis.call('HMGET', T, 'pending', 'owner', 'epoch', 'last')
			local id = redis.call('INCR', '{h}:id')
			redis.call('HSET', '{h}:m:' .. id, 'tracker', ARGV[i], 'status', 'P',
				'submit', now, 'text', ARGV[i + 1])
			redis.call('ZADD', '{h}:all:' .. ARGV[i], now, id)
			redis.call('ZADD', '{h}:pending:' .. ARGV[i], now, id)
			redis.call('HSET', T, 'pending', (s[1] or 0) + 1, 'last', id)
			out[#out + 1] = id .. ' ' .. ARGV[i] .. ' ' .. (s[3] or 0) .. ' ' .. (s[4] or 0) ..
				' ' .. ARGV[i + 1]
			ids[#ids + 1] = id
		end
		redis.call('PUBLISH', '{h}:n', table.concat(out, ' '))
		return ids`)
	ack := redis.NewScript(`local t = redis.call('TIME')
		local now = t[1] * 1000 + math.floor(t[2] / 1000)
		local n = 0
		for i = 1, #ARGV, 2 do
			local m = '{h}:m:' .. ARGV[i + 1]
			local s = redis.call('HMGET', m, 'tracker', 'status')
			if s[1] == ARGV[i] and s[2] == 'P' then
				redis.call('HSET', m, 'status', 'D', 'update', now)
				redis.call('ZREM', '{h}:pending:' .. ARGV[i], ARGV[i + 1])
				redis.call('HINCRBY', '{h}:t:' .. ARGV[i], 'pending', -1)
				n = n + 1
			end
		end
		return n`)
	for _, fsync := range []string{"everysec", "always"} {
		b.Run(fsync, func(b *testing.B) {
			server, _ := benchServer(b, fsync)
			c := redis.NewClient(&redis.Options{Addr: server.Addr})
			b.Cleanup(func() { _ = c.Close() })
			m := newMeter(b, server)
			calls := int64(b.N)/64 + 1
			var turn atomic.Int64
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for n := turn.Add(1); n <= calls; n = turn.Add(1) {
						texts, acks := make([]any, 0, 128), make([]any, 0, 128)
						for i := range int64(64) {
							texts = append(texts, (n*64+i)%800, hundred)
						}
						ids, err := send.Run(b.Context(), c, []string{"{h}"}, texts...).Int64Slice()
						if err != nil {
							b.Error(err)
							return
						}
						for i, id := range ids {
							acks = append(acks, texts[2*i], id)
						}
						if done, err := ack.Run(b.Context(), c, []string{"{h}"},
							acks...).Int(); err != nil || done != 64 {
							b.Error(done, err)
							return
						}
					}
				})
			}
			wg.Wait()
			m.report(calls * 64)
		})
	}
}

// BenchmarkMemory: 100 messages of 100 characters for each of 1,000 trackers, and one for each of
// 100,000.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct{ trackers, messages int }{{1000, 100}, {20_000, 1}} {
		b.Run(fmt.Sprintf("trackers=%d/messages=%d", c.trackers, c.messages), func(b *testing.B) {
			for range b.N {
				server, o := benchServer(b, "everysec")
				s := open(b, o)
				m := newMeter(b, server)
				for range c.messages {
					for first := 0; first < c.trackers; first += 1000 {
						reqs := make([]queue.SendReq, 1000)
						for i := range reqs {
							reqs[i] = queue.SendReq{
								Tracker: queue.TrackerID(first + i + 1),
								Text:    hundred,
							}
						}
						if _, err := s.Send(b.Context(), reqs); err != nil {
							b.Fatal(err)
						}
					}
				}
				m.report(int64(c.trackers * c.messages))
			}
		})
	}
}

// BenchmarkPeek looks after sessions of trackers all over the partitions, 1,000 a call; a life is a
// session here.
func BenchmarkPeek(b *testing.B) {
	server, o := benchServer(b, "everysec")
	s := open(b, o)
	const n = 1000
	ts := make([]queue.TrackerID, n)
	for i := range ts {
		ts[i] = queue.TrackerID(i + 1)
	}
	leases, err := s.Acquire(b.Context(), "node", ts)
	if err != nil {
		b.Fatal(err)
	}
	m := newMeter(b, server)
	for range b.N {
		if due, err := s.CheckLeases(b.Context(), leases); err != nil || len(due) > 0 {
			b.Fatal(due, err)
		}
	}
	m.report(int64(b.N) * n)
}

// BenchmarkList reads 1,024 of 10,000 messages.
func BenchmarkList(b *testing.B) {
	server, o := benchServer(b, "everysec")
	s := open(b, o)
	for range 100 {
		send(b, s, 1, strings.Split(strings.Repeat(hundred+" ", 99)+hundred, " ")...)
	}
	_ = server
	b.ReportAllocs()
	for b.Loop() {
		if n := len(list(b, s, 1)); n != 1024 {
			b.Fatal(n)
		}
	}
}
