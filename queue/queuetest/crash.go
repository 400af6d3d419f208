package queuetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/queue"
)

const (
	crashEnv   = "TRACKCHAT_TEST_CRASH_PLACE"
	crashRound = "TRACKCHAT_TEST_CRASH_ROUND"
	crashPoint = "TRACKCHAT_TEST_CRASH_POINT"
)

// CrashOptions say how to open the store that is to be killed. MaxPending must be at least 1000.
type CrashOptions struct {
	Test   string // name of the test that calls Crash: the child process runs it alone
	Place  string // where the store is, for Open in the child; a directory or an address
	Open   func(ctx context.Context, place string) (queue.Store, error)
	Rounds int // kills for each point
}

// Crash kills a process at random moments in the middle of each kind of work and looks at what it
// left: everything it had been told is there, everything it had not been told is there wholly or
// not at all, counters agree with the messages, no id is given twice, and repeated requests are
// stored once. The calling test's binary is started again as the child; there Crash does the work
// until it is killed.
func Crash(t *testing.T, o CrashOptions) {
	t.Helper()
	if place := os.Getenv(crashEnv); place != "" {
		crashChild(t, o, place)
		return
	}
	seen := &ledger{
		ids: make(map[int64]intent), acked: make(map[int64]bool),
		maybeAcked: make(map[int64]bool), marked: make(map[int64]bool),
	}
	round := 0
	for _, p := range crashPoints() {
		t.Run(p.name, func(t *testing.T) {
			for range o.Rounds {
				round++
				entries := o.kill(t, p.name, round)
				seen.add(t, entries)
				s, err := o.Open(t.Context(), o.Place)
				if err != nil {
					t.Fatalf("opening after the kill: %v", err)
				}
				c := &check{T: t, Fixture: Fixture{Store: s}}
				seen.verify(c, entries)
				c.directoryWhole()
				c.must(s.Close())
			}
		})
	}
}

// entry is one line of the child's journal: what it is about to do, then what it was told.
type entry struct {
	Op   string
	Done bool
	Seq  int // pairs both lines
	Send []intent
	IDs  []int64
}

// intent is a text that the child wants stored. Its text says who it is.
type intent struct {
	Tracker  queue.TrackerID
	Key      uint64 // not 0: incoming
	Text     string
	Incoming bool
}

// kill runs a child until a random moment after it began to work, and returns its journal.
func (o CrashOptions) kill(t *testing.T, point string, round int) []entry {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := DieWithParent(exec.CommandContext(t.Context(), exe, "-test.run=^"+o.Test+"$",
		"-test.count=1"))
	cmd.Env = append(os.Environ(), crashEnv+"="+o.Place, fmt.Sprintf("%s=%d", crashRound, round),
		crashPoint+"="+point)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	defer func() { _ = r.Close() }()
	var entries []entry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	done := 0
	// The child is killed after some answers, and then after some microseconds more, so that the
	// kill falls anywhere within an operation.
	after, delay := rand.IntN(30)+3, time.Duration(rand.IntN(3000))*time.Microsecond
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			break // the last line may be torn
		}
		entries = append(entries, e)
		if e.Done {
			done++
		}
		if done == after {
			time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
			after = -1
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the child ended by itself: %v\n%s", err, stderr.String())
	}
	return entries
}

// ledger is what all children were told.
type ledger struct {
	ids        map[int64]intent // every id that was ever told
	acked      map[int64]bool
	maybeAcked map[int64]bool // asked for, perhaps done
	marked     map[int64]bool
	trimmed    bool // from some point on
}

// add takes over what a journal says is done.
func (l *ledger) add(t *testing.T, entries []entry) {
	t.Helper()
	begun := make(map[int]entry)
	for _, e := range entries {
		if !e.Done {
			begun[e.Seq] = e
			l.trimmed = l.trimmed || e.Op == opTrim
			for _, id := range e.IDs {
				l.maybeAcked[id] = true
			}
			continue
		}
		switch e.Op {
		case opSend, opReceive:
			for i, id := range e.IDs {
				in := begun[e.Seq].Send[i]
				if was, ok := l.ids[id]; ok && was != in {
					t.Fatalf("id %d was given to %+v and to %+v", id, was, in)
				}
				l.ids[id] = in
			}
		case opAck:
			for _, id := range e.IDs {
				l.acked[id] = true
			}
		case opMark:
			for _, id := range e.IDs {
				l.marked[id] = true
			}
		}
	}
}

// verify reads everything back.
func (l *ledger) verify(c *check, entries []entry) {
	c.Helper()
	found := make(map[int64]queue.Message)
	wantTexts := make(map[string]bool)
	for _, e := range entries {
		for _, in := range e.Send {
			wantTexts[in.Text] = true
		}
	}
	texts := make(map[string]int64)
	for t := range queue.TrackerID(crashTrackers) {
		msgs := c.listAll(t + 1)
		c.countersAgree(t+1, msgs)
		for _, m := range msgs {
			found[m.ID] = m
			if other, ok := texts[m.Text]; ok {
				c.Fatalf("%q is stored as %d and %d", m.Text, other, m.ID)
			}
			texts[m.Text] = m.ID
			if was, ok := l.ids[m.ID]; ok && (was.Text != m.Text || was.Tracker != m.Tracker) {
				c.Fatalf("id %d was %+v and is %+v now", m.ID, was, m)
			} else if !ok && !wantTexts[m.Text] {
				c.Fatalf("a message that nobody stored: %+v", m)
			}
			l.wholly(c, m)
		}
	}
	l.told(c, found)
	l.repeat(c, entries, texts)
}

// wholly checks that a message is in one state, not between two.
func (l *ledger) wholly(c *check, m queue.Message) {
	c.Helper()
	switch m.Status {
	case queue.StatusPending, queue.StatusUnread:
		if m.UpdateMs != 0 || l.acked[m.ID] || l.marked[m.ID] {
			c.Fatalf("acked %v, marked %v: %+v", l.acked[m.ID], l.marked[m.ID], m)
		}
	case queue.StatusDelivered, queue.StatusRead:
		if m.UpdateMs < m.SubmitMs {
			c.Fatalf("without a time: %+v", m)
		}
	default:
		c.Fatalf("state %q: %+v", m.Status, m)
	}
	if len(m.Text) < len(crashFiller) || !strings.HasSuffix(m.Text, crashFiller) {
		c.Fatalf("torn text of message %d: %q", m.ID, m.Text)
	}
}

// told checks that what a child was told is there. Only a trim may have taken something, and never
// what is still to be delivered.
func (l *ledger) told(c *check, found map[int64]queue.Message) {
	c.Helper()
	for id, in := range l.ids {
		m, ok := found[id]
		switch {
		case ok && m.Status.Incoming() != in.Incoming:
			c.Fatalf("message %d changed its direction", id)
		case !ok && (!l.trimmed || !in.Incoming && !l.maybeAcked[id]):
			c.Fatalf("message %d (%+v) is lost", id, in)
		}
	}
}

// knownKeys is among how many of a tracker's newest incoming texts a repetition is known.
const knownKeys = 32

// repetitions counts what a tracker has stored since, for each of its messages.
type repetitions map[queue.TrackerID][]queue.Message

// known reports whether the store must know the message with that id when its text is sent again. A
// child that was slow to write down its answer may have been overtaken by more texts of the same
// tracker than that.
func (r repetitions) known(in intent, id int64) bool {
	newer := 0
	for _, m := range r[in.Tracker] {
		if m.ID > id && m.Status.Incoming() {
			newer++
		}
	}
	return !in.Incoming || newer < knownKeys
}

// repeat sends what the child had not been told about again, as a caller would: nothing may be
// there twice, and no id of the past may come again.
func (l *ledger) repeat(c *check, entries []entry, texts map[string]int64) {
	c.Helper()
	open := make(map[int]entry)
	for _, e := range entries {
		if e.Done {
			delete(open, e.Seq)
		} else if len(e.Send) > 0 {
			open[e.Seq] = e
		}
	}
	for _, e := range open {
		now := make(repetitions)
		for _, in := range e.Send {
			now[in.Tracker] = c.listAll(in.Tracker)
		}
		again := slices.DeleteFunc(slices.Clone(e.Send), func(in intent) bool {
			was, stored := texts[in.Text]
			if !stored || now.known(in, was) {
				return false
			}
			l.ids[was] = in
			return true
		})
		if len(again) == 0 {
			continue
		}
		for i, id := range store(c, again) {
			in := again[i]
			if was, ok := texts[in.Text]; ok && was != id {
				c.Fatalf("the repetition of %d was stored as %d", was, id)
			}
			if was, ok := l.ids[id]; ok && was != in {
				c.Fatalf("id %d was %+v and is given to %+v", id, was, in)
			}
			l.ids[id] = in
		}
	}
	// A new message gets a new id.
	fresh := intent{Tracker: 1, Text: fmt.Sprint("fresh ", len(l.ids), crashFiller)}
	id := store(c, []intent{fresh})[0]
	if was, ok := l.ids[id]; ok {
		c.Fatalf("id %d of %+v was used again", id, was)
	}
	l.ids[id] = fresh
}

// store sends or receives all of one direction.
func store(c *check, ins []intent) []int64 {
	c.Helper()
	list, err := storeIntents(c.Context(), c.Store, ins)
	c.must(err)
	return list
}

// listAll reads a tracker's messages in pages.
func (c *check) listAll(t queue.TrackerID) []queue.Message {
	c.Helper()
	var all []queue.Message
	for from := int64(0); ; from = all[len(all)-1].SubmitMs {
		page := c.query(queue.ListQuery{Tracker: t, FromMs: from, ToMs: forever, Limit: 1024})
		fresh := page
		for len(all) > 0 && len(fresh) > 0 && fresh[0].ID <= all[len(all)-1].ID {
			fresh = fresh[1:]
		}
		all = append(all, fresh...)
		if len(fresh) == 0 || len(page) < 1024 {
			return all
		}
	}
}

// countersAgree holds a tracker's counters against its messages.
func (c *check) countersAgree(t queue.TrackerID, msgs []queue.Message) {
	c.Helper()
	pending, unread := 0, 0
	for _, m := range msgs {
		switch m.Status {
		case queue.StatusPending:
			pending++
		case queue.StatusUnread:
			unread++
		default:
		}
	}
	if l := c.acquire("crash", t); l.Pending != pending {
		c.Fatalf("tracker %d counts %d pending, has %d", t, l.Pending, pending)
	}
	if n := c.unread(t); n != unread {
		c.Fatalf("tracker %d counts %d unread, has %d", t, n, unread)
	}
}

// directoryWhole checks that all rows are of one import.
func (c *check) directoryWhole() {
	c.Helper()
	accounts, trackers := c.load()
	if len(accounts) == 0 && len(trackers) == 0 {
		return
	}
	if len(accounts) != 1 || len(trackers) != crashDevices {
		c.Fatalf("%d accounts, %d trackers", len(accounts), len(trackers))
	}
	for _, t := range trackers {
		if t.Label != accounts[0].Title {
			c.Fatalf("tracker %d is of import %q, the account of %q", t.ID, t.Label,
				accounts[0].Title)
		}
	}
}
