package queuetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/queue"
)

// A child works on crashTrackers trackers with crashWorkers goroutines; its directories have
// crashDevices trackers.
const (
	crashTrackers = 4
	crashWorkers  = 8
	crashDevices  = 50
)

// crashFiller makes texts span pages, so that a torn one shows.
var crashFiller = strings.Repeat(" and so on", 60) //nolint:gochecknoglobals // a constant that Go cannot write as one

// Names of operations in the journal.
const (
	opSend    = "send"
	opReceive = "receive"
	opAck     = "ack"
	opMark    = "mark"
	opTrim    = "trim"
	opImport  = "import"
)

// point is a kind of work to be killed in.
type point struct {
	name string
	work func(k *worker, n int)
}

func crashPoints() []point {
	return []point{
		{"48 49 send", func(k *worker, _ int) { k.send(3) }},
		{"50 ack", func(k *worker, _ int) { k.ack(k.send(4)) }},
		{"51 receive", func(k *worker, _ int) { k.receive(3) }},
		{"53 trim", func(k *worker, n int) {
			k.ack(k.send(4))
			k.receive(2)
			k.markAll()
			if n%3 == 2 {
				k.trim()
			}
		}},
		{"54 mark all read", func(k *worker, _ int) {
			k.receive(4)
			k.markAll()
		}},
		{"import", func(k *worker, n int) {
			k.send(1)
			k.importSome(n)
		}},
	}
}

// journal is the pipe to the parent. A line is in the pipe before the next step begins, whatever
// happens to the process then.
type journal struct {
	mu  sync.Mutex
	out *os.File
	seq int
}

func (j *journal) begin(e entry) entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq = j.seq
	j.write(e)
	return e
}

func (j *journal) done(e entry, ids []int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.write(entry{Op: e.Op, Seq: e.Seq, Done: true, IDs: ids})
}

func (j *journal) write(e entry) {
	b, err := json.Marshal(e)
	if err == nil {
		_, err = j.out.Write(append(b, '\n'))
	}
	if err != nil {
		os.Exit(3) // the parent is gone: this process was to be killed anyway
	}
}

// worker is one goroutine of the child.
type worker struct {
	t       *testing.T
	s       queue.Store
	j       *journal
	tracker queue.TrackerID
	prefix  string
	round   uint32
	count   uint32
}

// crashChild works until it is killed.
func crashChild(t *testing.T, o CrashOptions, place string) {
	t.Helper()
	round, err := strconv.ParseUint(os.Getenv(crashRound), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	var p point
	for _, candidate := range crashPoints() {
		if candidate.name == os.Getenv(crashPoint) {
			p = candidate
		}
	}
	s, err := o.Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{out: os.NewFile(3, "journal")}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for w := range crashWorkers {
		k := &worker{
			t: t, s: s, j: j, tracker: queue.TrackerID(w%crashTrackers + 1),
			prefix: fmt.Sprintf("round %d worker %d ", round, w),
			round:  uint32(round)*crashWorkers + uint32(w),
		}
		wg.Go(func() {
			for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
				p.work(k, n)
			}
		})
	}
	wg.Wait()
	t.Fatal("nobody killed the child within a minute")
}

func (k *worker) check(err error) {
	if err != nil {
		k.t.Errorf("child: %v", err)
	}
}

func (k *worker) intents(n int, incoming bool) []intent {
	list := make([]intent, n)
	for i := range list {
		k.count++
		list[i] = intent{
			Tracker: k.tracker, Text: fmt.Sprint(k.prefix, k.count, crashFiller),
			Incoming: incoming,
		}
		if incoming {
			list[i].Key = uint64(k.round)<<32 | uint64(k.count)
		}
	}
	return list
}

// sendKey is what a repetition of an outgoing text is known by.
func (in intent) sendKey() string { return strings.TrimSuffix(in.Text, crashFiller) }

// storeIntents sends or receives texts of one direction.
func storeIntents(ctx context.Context, s queue.Store, ins []intent) ([]int64, error) {
	list := make([]int64, len(ins))
	if ins[0].Incoming {
		reqs := make([]queue.Incoming, len(ins))
		for i, in := range ins {
			reqs[i] = queue.Incoming{
				Tracker: in.Tracker, Text: in.Text, Key: in.Key,
				Window: time.Hour,
			}
		}
		res, err := s.Receive(ctx, reqs)
		for i, r := range res {
			list[i] = r.ID
		}
		return list, err
	}
	reqs := make([]queue.SendReq, len(ins))
	for i, in := range ins {
		reqs[i] = queue.SendReq{Tracker: in.Tracker, Text: in.Text, Key: in.sendKey()}
	}
	res, err := s.Send(ctx, reqs)
	for i, r := range res {
		if r.Err != nil {
			return nil, r.Err
		}
		list[i] = r.ID
	}
	return list, err
}

func (k *worker) store(op string, ins []intent) []int64 {
	e := k.j.begin(entry{Op: op, Send: ins})
	list, err := storeIntents(k.t.Context(), k.s, ins)
	k.check(err)
	k.j.done(e, list)
	return list
}

func (k *worker) send(n int) []int64 { return k.store(opSend, k.intents(n, false)) }

func (k *worker) receive(n int) { k.store(opReceive, k.intents(n, true)) }

func (k *worker) ack(list []int64) {
	e := k.j.begin(entry{Op: opAck, IDs: list})
	reqs := make([]queue.AckReq, len(list))
	for i, id := range list {
		reqs[i] = queue.AckReq{Tracker: k.tracker, ID: id}
	}
	_, err := k.s.Ack(k.t.Context(), reqs)
	k.check(err)
	k.j.done(e, list)
}

// markAll says which messages it must have marked: those that were unread before.
func (k *worker) markAll() {
	msgs, err := k.s.List(k.t.Context(), queue.ListQuery{
		Tracker: k.tracker, ToMs: forever,
		Limit: 1024, Desc: true,
	})
	k.check(err)
	var unread []int64
	for _, m := range msgs {
		if m.Status == queue.StatusUnread {
			unread = append(unread, m.ID)
		}
	}
	e := k.j.begin(entry{Op: opMark})
	_, err = k.s.MarkReadAll(k.t.Context(), []queue.TrackerID{k.tracker})
	k.check(err)
	k.j.done(e, unread)
}

func (k *worker) trim() {
	e := k.j.begin(entry{Op: opTrim})
	for p := range 256 {
		if _, err := k.s.Trim(k.t.Context(), queue.Partition(p), queue.Retention{
			CutoffMs: forever,
			Max:      20,
		}); err != nil {
			break // the backend has fewer partitions
		}
	}
	k.j.done(e, nil)
}

// importSome imports one generation of a directory whose rows all name it.
func (k *worker) importSome(n int) {
	e := k.j.begin(entry{Op: opImport})
	title := fmt.Sprint(k.prefix, n)
	trackers := make([]queue.Tracker, crashDevices)
	for i := range trackers {
		trackers[i] = queue.Tracker{
			ID: queue.TrackerID(i + 1), Account: 1, Protocol: "p",
			DeviceID: fmt.Sprint("d", i), Label: title,
		}
	}
	_, err := k.s.ImportDirectory(k.t.Context(), []queue.Account{{ID: 1, Title: title}}, trackers,
		true)
	k.check(err)
	k.j.done(e, nil)
}
