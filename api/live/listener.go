package live

import (
	"context"
	"errors"
	"time"

	"trackchat/queue"

	"go.uber.org/zap"
)

const (
	feedAtOnce     = 256    // messages read at once
	changesWaiting = 16_384 // that the store has told and that are still to be handed out
)

// listener is the one goroutine that turns what a store tells into events.
type listener struct {
	feed *Feed
	run  *feedRun

	snap  *queue.Snapshot                    // that keys were checked with
	looks int                                // at keys and nodes
	idle  int                                // looks without a subscriber
	nodes []queue.Node                       // living at the last look
	told  map[queue.TrackerID]queue.Presence // last told of each tracker
}

// follow hands out changes until ctx ends or nobody has listened for a while.
func (l *listener) follow(ctx context.Context, changes *queue.Buffer[queue.Change],
	filled <-chan struct{},
) {
	close(l.run.ready)
	look := time.NewTicker(feedLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-filled:
			l.take(ctx, changes.Take())
		case <-look.C:
			if l.look(ctx) {
				return
			}
		}
	}
}

// take hands out a batch in its order.
func (l *listener) take(ctx context.Context, batch []queue.Change) {
	from := 0
	for i := range batch {
		switch batch[i].Kind {
		case queue.ChangeWatermark:
			l.tell(ctx, batch[from:i])
			l.feed.advance(batch[i].Ms)
			l.feed.heard()
		case queue.ChangeResync:
			l.tell(ctx, batch[from:i])
			l.resync(ctx)
		default:
			continue
		}
		from = i + 1
	}
	l.tell(ctx, batch[from:])
}

// tell hands out changes of messages and sessions. Where the store fails, everything since the
// feed's position is read once it works again.
func (l *listener) tell(ctx context.Context, changes []queue.Change) {
	for len(changes) > 0 && ctx.Err() == nil {
		n := min(len(changes), feedAtOnce)
		if err := l.tellSome(ctx, changes[:n]); err != nil {
			l.feed.log.Warn("reading what has changed failed", zap.Error(err))
			l.resync(ctx)
			return // it has told all of them
		}
		changes = changes[n:]
	}
}

func (l *listener) tellSome(ctx context.Context, changes []queue.Change) error {
	f := l.feed
	owners := f.listened(changes)
	if len(owners) == 0 {
		return nil
	}
	ids, present := make([]int64, 0, len(changes)), make([]queue.TrackerID, 0, len(changes))
	for i := range changes {
		c := &changes[i]
		switch _, ok := owners[c.Tracker]; {
		case !ok:
		case c.Kind == queue.ChangePresence:
			present = append(present, c.Tracker)
		default:
			ids = append(ids, c.ID)
		}
	}
	messages, presence, err := f.read(ctx, ids, present)
	if err != nil {
		return err
	}
	now := f.now().UnixMilli()
	events := make(map[queue.AccountID][]*event)
	next := 0
	for i := range changes {
		c := &changes[i]
		account, ok := owners[c.Tracker]
		if !ok {
			continue
		}
		if c.Kind == queue.ChangePresence {
			if p := presence[c.Tracker]; l.news(c.Tracker, p, c.ID == queue.PresenceOwned) {
				events[account] = append(events[account], presenceEvent(c.Tracker, p, now))
			}
			continue
		}
		m := &messages[next]
		next++
		if name := eventName(c.Kind); m.Tracker == c.Tracker && name != "" {
			events[account] = append(events[account], messageEvent(name, m, c.Ms, now))
		}
	}
	for account, list := range events {
		f.publish(account, list)
	}
	return nil
}

// maxTold bounds what is remembered of trackers; who is forgotten may be told the same twice.
const maxTold = 1 << 20

// news reports whether p is to be told, and remembers that it was. A newer session that took over
// is no news.
func (l *listener) news(t queue.TrackerID, p queue.Presence, owned bool) bool {
	before, known := l.told[t]
	if !known {
		before = queue.Presence{Online: owned && p.Online}
	}
	if len(l.told) >= maxTold {
		clear(l.told)
	}
	l.told[t] = queue.Presence{Online: p.Online, SinceMs: p.SinceMs}
	return p.Online != before.Online || !p.Online && p.SinceMs != before.SinceMs
}

// read reads messages and presences.
func (f *Feed) read(ctx context.Context, ids []int64,
	ts []queue.TrackerID,
) (ms []queue.Message, ps map[queue.TrackerID]queue.Presence, err error) {
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if len(ids) > 0 {
		if ms, err = f.store.Find(bounded, ids); err != nil {
			return nil, nil, err
		}
	}
	if len(ts) > 0 {
		ps, err = f.store.Presence(bounded, ts)
	}
	return ms, ps, err
}

// resync hands out everything that happened since the feed's position to everybody. It goes on
// until the store has answered; the position stays meanwhile.
func (l *listener) resync(ctx context.Context) {
	f := l.feed
	f.metrics.resyncs.Inc()
	since := f.at() - feedSlack.Milliseconds()
	for _, account := range f.accounts() {
		for pause := feedPause; ctx.Err() == nil; pause = min(2*pause, feedPatient) {
			err := f.replay(ctx, account, since, func(events []*event) error {
				f.publish(account, events)
				return nil
			}, noReset)
			if errors.Is(err, queue.ErrTooOld) {
				f.publish(account, []*event{resetEvent(f.now().UnixMilli())})
				break
			}
			if err == nil {
				f.heard()
				break
			}
			f.log.Warn("reading what was missed failed", zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// Every how many looks something is looked at.
const (
	looksNodes    = 4
	looksSessions = 2 // within a second
)

// look looks after what nobody tells: keys that were revoked, nodes that died. It reports whether
// nobody has listened for a while.
func (l *listener) look(ctx context.Context) (done bool) {
	f := l.feed
	l.looks++
	snap := f.directory.Current()
	f.recheck(ctx, snap != l.snap || l.looks%looksSessions == 0)
	l.snap = snap
	if l.looks%looksNodes == 0 {
		l.lookNodes(ctx)
	}
	if len(f.accounts()) > 0 {
		l.idle = 0
		return false
	}
	l.idle++
	return time.Duration(l.idle)*feedLook >= feedIdle && f.stopIdle(l.run)
}

// lookNodes tells that the trackers of nodes which have died are offline.
func (l *listener) lookNodes(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, l.feed.timeout)
	defer cancel()
	nodes, err := l.feed.store.Nodes(bounded)
	if err != nil {
		return // looked at again soon
	}
	living := make(map[queue.NodeID]bool, len(nodes))
	for i := range nodes {
		living[nodes[i].ID] = true
	}
	died := int64(0) // when the first of them was heard of last
	for i := range l.nodes {
		if n := &l.nodes[i]; !living[n.ID] && (died == 0 || n.BeatMs < died) {
			died = n.BeatMs
		}
	}
	if died != 0 && !l.tellDead(ctx, died) {
		return // with the old list again
	}
	l.nodes = nodes
}

// tellDead tells which trackers have been offline since ms without anybody noting it.
func (l *listener) tellDead(ctx context.Context, ms int64) bool {
	f := l.feed
	for _, account := range f.accounts() {
		err := f.eachPresence(ctx, account, func(t queue.TrackerID, p queue.Presence) {
			if !p.Online && p.SinceMs >= ms && l.news(t, p, true) {
				f.publish(account, []*event{presenceEvent(t, p, f.now().UnixMilli())})
			}
		})
		if err != nil {
			return false
		}
	}
	return true
}
