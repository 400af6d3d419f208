package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
)

const (
	mostTexts = 900 // that one tracker gets
	// that one driver says: list answers with at most 1,024 of both.
	mostSaid    = 100
	driverPause = 1200 * time.Millisecond // a device may send 60 texts a minute
)

// ledger is what the outside world knows to have happened: the truth that the store is compared
// with.
type ledger struct {
	t       *testing.T
	c       apptest.Client
	pace    time.Duration // between two texts for one tracker
	drivers time.Duration // between two texts of one driver
	ids     []int         // of the trackers under load
	devices map[int]*trackersim.Tracker
	stop    func() // ends the load and waits for that

	mu       sync.Mutex             // guards what follows
	accepted map[int][]int64        // by tracker: ids in the order of their answers
	texts    map[int64]string       // by id
	acked    map[int]map[string]int // by tracker: texts that its device acknowledged
	shown    map[int][]string       // by tracker: texts in the order of their first showing
	// by tracker: texts of the driver that the gateway acknowledged.
	said    map[int]map[string]bool
	copies  map[int]map[string]int // by tracker: how often its device sent a text of the driver
	updated map[int64]string       // by id: when it was delivered
	refused map[int]int            // by code: answers of the API that were no success
	slowest time.Duration          // answer of the API
}

func newLedger(t *testing.T, c apptest.Client, pace time.Duration) *ledger {
	t.Helper()
	return &ledger{
		t: t, c: c, pace: pace, drivers: driverPause, devices: map[int]*trackersim.Tracker{},
		accepted: map[int][]int64{}, texts: map[int64]string{}, acked: map[int]map[string]int{},
		shown: map[int][]string{}, said: map[int]map[string]bool{},
		copies: map[int]map[string]int{}, updated: map[int64]string{}, refused: map[int]int{},
	}
}

// stored is how many texts for a tracker were accepted.
func (l *ledger) stored(id int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted[id])
}

func trackerIDs(first, n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = first + i
	}
	return ids
}

func (l *ledger) with(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.texts)
}

// play brings the devices of trackers to life; addr says where each of them dials.
func (l *ledger) play(ids []int, addr func(id int) string) {
	l.t.Helper()
	for _, id := range ids {
		l.ids = append(l.ids, id)
		l.devices[id] = apptest.PlayDevice(l.t, addr(id), id, func(o *trackersim.Options) {
			l.watch(id,
				o)
		})
	}
	for _, id := range ids {
		l.await(id, "logged in", func(st trackersim.Stats) bool { return st.LoggedIn })
	}
}

// load plays devices and has texts flow both ways until finish.
func (l *ledger) load(ids []int, addr func(id int) string) {
	l.t.Helper()
	l.play(ids, addr)
	ctx, stop := context.WithCancel(l.t.Context())
	var load sync.WaitGroup
	for _, id := range ids {
		load.Go(func() { l.sendAll(ctx, id) })
		load.Go(func() { l.sayAll(ctx, id) })
	}
	l.stop = func() {
		stop()
		load.Wait()
	}
	l.t.Cleanup(l.stop)
}

// await waits for what a device has seen.
func (l *ledger) await(id int, what string, ok func(trackersim.Stats) bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), apptest.Patience)
	defer cancel()
	if err := l.devices[id].Await(ctx, ok); err != nil {
		l.t.Fatalf("tracker %d is not %s: %v", id, what, err)
	}
}

// progress waits until more texts are accepted and more are acknowledged by every device.
func (l *ledger) progress() {
	l.t.Helper()
	const more = 5
	count := l.count()
	acked := map[int]int{}
	for _, id := range l.ids {
		acked[id] = l.devices[id].Stats().Acked
	}
	apptest.Eventually(l.t, "accepting", func() bool { return l.count() >= count+more*len(l.ids) })
	for _, id := range l.ids {
		l.await(id, "getting texts",
			func(st trackersim.Stats) bool { return st.Acked >= acked[id]+more })
	}
}

// finish ends the load, waits until everything is delivered and compares the store with what
// happened.
func (l *ledger) finish() {
	l.t.Helper()
	l.stop()
	for _, id := range l.ids {
		apptest.Eventually(l.t, "all delivered", func() bool { return l.settled(id) })
	}
	for _, id := range l.ids {
		l.check(id)
	}
}

func (l *ledger) watch(id int, o *trackersim.Options) {
	l.with(func() {
		l.acked[id], l.said[id], l.copies[id] = map[string]int{}, map[string]bool{},
			map[string]int{}
	})
	if !numbered(id) {
		// shorter than an outage, longer than an answer takes on a busy machine.
		o.SayTimeout = 2 * time.Second
	}
	o.OnEvent = func(e trackersim.Event) {
		if e.Kind == trackersim.Said {
			l.with(func() { l.copies[id][e.Said] = e.Copy })
		}
	}
	o.OnText = func(e protocol.DeviceEvent) trackersim.Action {
		l.with(func() {
			if !slices.Contains(l.shown[id], e.Body) {
				l.shown[id] = append(l.shown[id], e.Body)
			}
			l.acked[id][e.Body]++ // before it is written: the gateway cannot know of it earlier
		})
		return trackersim.Action{}
	}
}

// numbered reports whether the tracker's protocol numbers the texts of a driver. Where it does not,
// a copy that meets its answer on the way cannot be told from a driver who says the same again.
func numbered(id int) bool { return apptest.ProtocolOf(id) != "wialon" }

// send sends one text; an answer that does not come is neither accepted nor refused.
func (l *ledger) send(id int, text string) {
	begin := time.Now()
	a, err := l.c.Try("send", url.Values{"tracker_id": {strconv.Itoa(id)}, "message": {text}})
	if err != nil {
		return
	}
	took := time.Since(begin)
	l.with(func() {
		l.slowest = max(l.slowest, took)
		if !a.Success {
			l.refused[a.Status.Code]++
			return
		}
		l.accepted[id] = append(l.accepted[id], a.ID)
		l.texts[a.ID] = text
	})
}

func (l *ledger) sendAll(ctx context.Context, id int) {
	for n := 0; l.stored(id) < mostTexts && ctx.Err() == nil; n++ {
		l.send(id, fmt.Sprintf("text %d of tracker %d", n, id))
		pause(ctx, l.pace)
	}
}

func (l *ledger) sayAll(ctx context.Context, id int) {
	for n := 0; ctx.Err() == nil; n++ {
		text := fmt.Sprintf("driver %d says %d", id, n)
		if err := l.devices[id].Say(ctx, text); err == nil {
			l.with(func() { l.said[id][text] = true })
		}
		pause(ctx, l.drivers)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// list reads what is stored for a tracker, and holds the time of each delivery to what was read
// before.
func (l *ledger) list(id int) []apptest.Message {
	l.t.Helper()
	ms := l.c.List(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range ms {
		if m.Type != "OUTGOING" || m.Status != "DELIVERED" || m.UpdateTime == nil {
			continue
		}
		if before, ok := l.updated[m.ID]; ok && before != *m.UpdateTime {
			l.t.Errorf("tracker %d: message %d was delivered at %s and again at %s", id, m.ID,
				before, *m.UpdateTime)
		}
		l.updated[m.ID] = *m.UpdateTime
	}
	return ms
}

// settled reports whether everything stored for the tracker is DELIVERED.
func (l *ledger) settled(id int) bool {
	l.t.Helper()
	return !slices.ContainsFunc(l.list(id), func(m apptest.Message) bool {
		return m.Type == "OUTGOING" &&
			m.Status != "DELIVERED"
	})
}

func (l *ledger) check(id int) {
	l.t.Helper()
	ms := l.list(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	stored := map[int64]string{}
	incoming := map[string]int{}
	var outgoing []string
	for _, m := range ms {
		stored[m.ID] = m.Text
		if m.Type == "INCOMING" {
			incoming[m.Text]++
			continue
		}
		outgoing = append(outgoing, m.Text)
		if l.acked[id][m.Text] == 0 || m.UpdateTime == nil {
			l.t.Errorf("tracker %d: %q is DELIVERED, but its device never acknowledged it", id,
				m.Text)
		}
	}
	for i, sent := range l.accepted[id] {
		if stored[sent] != l.texts[sent] {
			l.t.Errorf("tracker %d: accepted message %d, %q, is lost; stored is %q", id, sent,
				l.texts[sent], stored[sent])
		}
		if i > 0 && sent <= l.accepted[id][i-1] {
			l.t.Errorf("tracker %d: id %d after %d", id, sent, l.accepted[id][i-1])
		}
	}
	for text := range l.said[id] {
		if incoming[text] == 0 {
			l.t.Errorf("tracker %d: the driver's %q was acknowledged and is lost", id, text)
		}
	}
	for text, n := range incoming {
		if n != 1 && (numbered(id) || n > 2 || l.copies[id][text] < 2) {
			l.t.Errorf("tracker %d: the driver's %q was sent %d times and is stored %d times", id,
				text, l.copies[id][text], n)
		}
	}
	if !slices.Equal(l.shown[id], outgoing) {
		l.t.Errorf("tracker %d: shown in another order than stored:\n%q\n%q", id, l.shown[id],
			outgoing)
	}
}
