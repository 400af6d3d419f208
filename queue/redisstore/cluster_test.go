package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

// TestMasterIsSilent: while one of three masters does not answer, the partitions of the others go
// on: no call to them waits until one to the silent master is given up.
func TestMasterIsSilent(t *testing.T) {
	const silence = 2 * time.Minute
	cluster := queuetest.StartCluster(t, 3)
	s := open(t, redisstore.Options{
		Addrs: cluster.Addrs(), ReadTimeout: silence,
		RetryFor: 2 * silence,
	})
	here := make([]queue.TrackerID, 0, 2) // trackers of the first and of the last master
	for tracker := queue.TrackerID(1); len(here) < 2; tracker++ {
		if p := redisstore.PartitionOf(tracker); len(here) == 0 && p < 80 ||
			len(here) == 1 && p > 180 {
			here = append(here, tracker)
		}
	}
	send(t, s, here[0], "before")
	send(t, s, here[1], "before")
	cluster.Nodes[0].Pause(t)
	stuck := make(chan int64, 1)
	go func() { stuck <- persist(t, s, queue.SendReq{Tracker: here[0], Text: "stuck"}) }()
	start := time.Now()
	for range 100 {
		send(t, s, here[1], "goes on")
	}
	if d := time.Since(start); d >= silence {
		t.Errorf("100 sends to a healthy master took %v", d)
	}
	cluster.Nodes[0].Resume(t)
	id := <-stuck
	if msgs := list(t, s, here[0]); len(msgs) != 2 || msgs[1].ID != id {
		t.Fatalf("%+v", msgs)
	}
	if n := len(list(t, s, here[1])); n != 101 {
		t.Fatalf("%d messages", n)
	}
}

// TestSlotMoves moves a partition's slot to another master while it is written and listened to:
// nothing is lost or doubled, and wakes arrive again after a resync.
func TestSlotMoves(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	s := open(t, redisstore.Options{Addrs: cluster.Addrs(), RetryFor: 15 * time.Second})
	tracker := queue.TrackerID(1)
	for redisstore.PartitionOf(tracker) > 80 {
		tracker++
	}
	wakes, err := queuetest.Wakes(t.Context(), s, "node")
	if err != nil {
		t.Fatal(err)
	}
	leases, err := s.Acquire(t.Context(), "node", []queue.TrackerID{tracker})
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var sent []int64
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; !stop.Load() && !t.Failed(); i++ {
			sent = append(sent, persist(t, s, queue.SendReq{
				Tracker: tracker,
				Text:    fmt.Sprint("text ", i),
			}))
		}
	})
	moveSlot(t, cluster, redisstore.SlotOf(tracker), 0, 2)
	stop.Store(true)
	writing.Wait()
	// After each resync, of which there may be several, the next message is announced.
	for last, heard := int64(0), false; !heard; {
		select {
		case batch := <-wakes:
			for _, w := range batch {
				if w.Kind == queue.WakeResync {
					last = send(t, s, tracker, "after the move")[0]
					sent = append(sent, last)
				}
				heard = heard || w.Msg.ID == last && last != 0
			}
		case <-time.After(patience):
			t.Fatalf("no wake; last sent %d", last)
		}
	}
	peeked, err := s.CheckLeases(t.Context(), leases)
	if err != nil || len(peeked) != 1 || peeked[0].Pending != len(sent) || peeked[0].Fenced {
		t.Fatalf("%+v, %v; %d sent", peeked, err, len(sent))
	}
	msgs := everything(t, s, tracker)
	if len(msgs) != len(sent) {
		t.Fatalf("%d messages, %d sent", len(msgs), len(sent))
	}
	for i, m := range msgs {
		if m.ID != sent[i] {
			t.Fatalf("message %d is %d, want %d", i, m.ID, sent[i])
		}
	}
}

// moveSlot does what redis-cli --cluster reshard does for one slot.
func moveSlot(t *testing.T, c *queuetest.RedisCluster, slot, from, to int) {
	t.Helper()
	source, target := c.Nodes[from], c.Nodes[to]
	sourceID, targetID := source.Must(t, "CLUSTER", "MYID"), target.Must(t, "CLUSTER", "MYID")
	number := fmt.Sprint(slot)
	target.Must(t, "CLUSTER", "SETSLOT", number, "IMPORTING", sourceID)
	source.Must(t, "CLUSTER", "SETSLOT", number, "MIGRATING", targetID)
	host, port, err := net.SplitHostPort(target.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for {
		keys := source.Must(t, "CLUSTER", "GETKEYSINSLOT", number, "2")
		if keys == "" {
			break
		}
		source.Must(t, append([]string{"MIGRATE", host, port, "", "0", "5000", "KEYS"},
			strings.Split(keys, "\n")...)...)
	}
	for _, n := range []*queuetest.RedisServer{target, source, c.Nodes[3-from-to]} {
		n.Must(t, "CLUSTER", "SETSLOT", number, "NODE", targetID)
	}
}

// TestSentinel follows a failover to a replica. What the replica has received goes on with new ids.
func TestSentinel(t *testing.T) {
	master := queuetest.StartRedis(t)
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	replica := queuetest.StartRedis(t, "--replicaof", host+" "+port)
	sentinel := queuetest.StartSentinel(t, "chat", master.Addr)
	o := redisstore.Options{
		Addrs: []string{sentinel.Addr}, Master: "chat",
		ReadTimeout: time.Second, RetryFor: 10 * time.Second,
	}
	s := open(t, o)
	before := send(t, s, 1, "a", "b")
	within(t, "the replica follows", func() bool {
		return strings.Contains(replica.Must(t, "INFO", "replication"), "master_link_status:up") &&
			strings.Contains(sentinel.Must(t, "SENTINEL", "REPLICAS", "chat"), replica.Addr)
	})
	if n := master.Must(t, "WAIT", "1", "5000"); n != "1" {
		t.Fatalf("%s replicas have everything", n)
	}
	master.Kill(t)
	within(t, "the failover", func() bool {
		_, _ = sentinel.Do(t.Context(), "SENTINEL", "FAILOVER", "chat")
		// Sentinel ends all connections to the one that it promotes.
		info, _ := replica.Do(t.Context(), "INFO", "replication")
		return strings.Contains(info, "role:master")
	})
	after := persist(t, s, queue.SendReq{Tracker: 1, Text: "c"})
	if after>>14 <= before[1]>>14 {
		t.Fatalf("message %d after the failover lies in the block of %d", after, before[1])
	}
	if msgs := list(t, s, 1); len(msgs) != 3 || msgs[0].ID != before[0] ||
		msgs[1].ID != before[1] || msgs[2].ID != after {
		t.Fatalf("%+v", msgs)
	}
}

// TestClusterFailover kills a master of a Cluster and lets its replica take over. All that the
// replica had received is there and goes on to DELIVERED. What the master accepted after it had
// lost its replica is lost whole, as the README says, and its ids are not given again; with
// min-replicas-to-write it would have been refused.
func TestClusterFailover(t *testing.T) {
	const trackers, each = 5, 20
	cluster := queuetest.StartCluster(t, 3)
	master := cluster.Nodes[0]
	master.Must(t, "ACL", "SETUSER", "replica", "on", ">secret", "+psync", "+replconf", "+ping")
	replica := cluster.Replica(t, master, "--masteruser", "replica", "--masterauth", "secret")
	s := open(t, redisstore.Options{Addrs: cluster.Addrs(), RetryFor: time.Second})
	var here []queue.TrackerID // on the master that dies
	for id := queue.TrackerID(1); len(here) < trackers; id++ {
		if redisstore.PartitionOf(id) < 80 {
			here = append(here, id)
		}
	}
	sent := map[queue.TrackerID][]int64{}
	for n := range each {
		for _, id := range here {
			sent[id] = append(sent[id], send(t, s, id, fmt.Sprint("text ", n))...)
		}
	}
	early := deliver(t, s, "before", here[:1])
	if n := master.Must(t, "WAIT", "1", "20000"); n != "1" {
		t.Fatalf("%s replicas have everything", n)
	}

	master.Must(t, "ACL", "DELUSER", "replica")
	master.Must(t, "CLIENT", "KILL", "TYPE", "REPLICA")
	late := send(t, s, here[1], "accepted without a replica")[0]
	master.Must(t, "CONFIG", "SET", "min-replicas-to-write", "1")
	res, err := s.Send(t.Context(), []queue.SendReq{{Tracker: here[2], Text: "refused"}})
	if err == nil {
		err = res[0].Err
	}
	if !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("a master that has lost its replica answers %v", err)
	}

	master.Kill(t)
	replica.Must(t, "CLUSTER", "FAILOVER", "TAKEOVER")
	for _, id := range here {
		after := persist(t, s, queue.SendReq{Tracker: id, Text: "after"})
		if after == late || after>>14 <= sent[id][each-1]>>14 {
			t.Errorf("message %d after the failover, %d before and %d lost", after,
				sent[id][each-1], late)
		}
		sent[id] = append(sent[id], after)
	}
	if n := deliver(t, s, "after", here); early+n != trackers*(each+1) {
		t.Errorf("%d and %d texts went to devices, %d were accepted", early, n, trackers*(each+1))
	}
	for _, id := range here {
		msgs := everything(t, s, id)
		if len(msgs) != len(sent[id]) {
			t.Fatalf("%d messages of tracker %d, %d accepted", len(msgs), id, len(sent[id]))
		}
		for i, m := range msgs {
			if m.ID != sent[id][i] || m.Status != queue.StatusDelivered {
				t.Errorf("message %d of tracker %d is %d in state %q, want %d", i, id, m.ID,
					m.Status, sent[id][i])
			}
		}
	}
}

// deliver claims all that is pending for trackers as a gateway does, acknowledges it and says how
// many texts that were.
func deliver(t *testing.T, s *redisstore.Store, node queue.NodeID, ts []queue.TrackerID) int {
	t.Helper()
	leases, err := s.Acquire(t.Context(), node, ts)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range leases {
		for more, at := true, queue.Cursor(0); more; {
			res, err := s.Claim(t.Context(), []queue.ClaimReq{{Lease: l, Cursor: at, MaxBytes: 64}})
			if err != nil || res[0].Err != nil {
				t.Fatal(err, res)
			}
			for _, m := range res[0].Msgs {
				persistAck(t, s, queue.AckReq{Tracker: l.Tracker, ID: m.ID})
			}
			n, more, at = n+len(res[0].Msgs), res[0].More, res[0].Next
		}
	}
	return n
}

// within waits for a condition.
func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting in vain: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
