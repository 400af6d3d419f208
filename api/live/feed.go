package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Bounds of the feed.
const (
	maxSubscribers  = 20_000 // of one process
	maxAccountFeeds = 1000   // of them of one account
	maxReplays      = 16     // subscribers that read what they have missed, at a time

	// clocks differ, and a change is dated a little before it is told.
	feedSlack = 2 * time.Second
	// without subscribers until nothing is listened to any more.
	feedIdle    = time.Minute
	feedLook    = 500 * time.Millisecond // how often keys and nodes are looked at
	feedPause   = 100 * time.Millisecond // until what failed is tried again
	feedPatient = 2 * time.Second        // the longest such pause
	askedAtOnce = 1024                   // trackers, or sessions, that the store is asked about
)

// Store is what the live feed and the webhooks need of a store.
type Store interface {
	queue.Feed
	// List is queue.Messages.List.
	List(ctx context.Context, q queue.ListQuery) ([]queue.Message, error)
	// Find is queue.Messages.Find.
	Find(ctx context.Context, ids []int64) ([]queue.Message, error)
	// Presence is queue.Messages.Presence.
	Presence(ctx context.Context, ts []queue.TrackerID) (map[queue.TrackerID]queue.Presence, error)
	// Nodes is queue.Roster.Nodes.
	Nodes(ctx context.Context) ([]queue.Node, error)
}

// Feed hands what the store tells to those who listen to an account. It listens itself only while
// somebody does.
//
// Its position is a time: everything that happened before it has been handed out. Who has seen all
// up to a position goes on there with replay, on any node and after any restart, because replay
// reads the store and nothing else.
type Feed struct {
	// Heartbeat is how often an idle client hears that the feed lives, PerAccount how many clients
	// one account may have. Neither is changed once there is a client.
	Heartbeat  time.Duration
	PerAccount int

	store     Store
	directory *queue.Directory
	sessions  queue.SessionStore
	now       func() time.Time
	log       *zap.Logger
	metrics   *feedMetrics
	buffer    int           // events that wait for one subscriber
	timeout   time.Duration // of one call of the store
	replays   chan struct{}
	running   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	topics   map[queue.AccountID]map[*subscriber]struct{}
	count    int
	run      *feedRun // nil: nothing is listened to
	closed   bool
	position int64
	quiet    int  // looks since the store was heard of
	down     bool // it has been quiet for too long
}

// feedRun is the time between the first subscriber and the last.
type feedRun struct {
	ready chan struct{} // closed when the store is listened to
	stop  context.CancelFunc
}

// defaultBuffer is how many events one slow client may lag behind where nothing else is said.
const defaultBuffer = 1024

// Options configure a feed. All but Registerer and Buffer are required.
type Options struct {
	Store      Store
	Directory  *queue.Directory
	Sessions   queue.SessionStore
	Now        func() time.Time
	Logger     *zap.Logger
	Registerer prometheus.Registerer // nil: figures are kept but not registered
	Timeout    time.Duration         // of one call of the store
	Buffer     int                   // events that one slow client may lag behind; 0: 1024
}

// NewFeed returns a feed that listens to nothing yet.
func NewFeed(o Options) *Feed {
	if o.Buffer <= 0 {
		o.Buffer = defaultBuffer
	}
	return &Feed{
		store: o.Store, directory: o.Directory, sessions: o.Sessions, now: o.Now, log: o.Logger,
		metrics: newFeedMetrics(o.Registerer),
		buffer:  o.Buffer, timeout: o.Timeout, replays: make(chan struct{}, maxReplays),
		Heartbeat: heartbeatEvery, PerAccount: maxAccountFeeds,
		topics: make(map[queue.AccountID]map[*subscriber]struct{}),
	}
}

// ErrFull refuses a client that is one too many.
var ErrFull = errors.New("the feed has no room for another client")

// errClosed ends subscriptions when the service stops.
var errClosed = fmt.Errorf("%w: the feed is closed", queue.ErrUnavailable)

// subscribe registers s and returns the feed's position: s is told what happens from then on, and
// possibly some of what happened shortly before.
func (f *Feed) subscribe(ctx context.Context, s *subscriber) (position int64, err error) {
	run, err := f.enter(s) //nolint:contextcheck // what it starts outlives this subscriber
	if err != nil {
		return 0, err
	}
	select {
	case <-run.ready:
		return f.at(), nil
	case <-ctx.Done():
		f.leave(s)
		return 0, fmt.Errorf("%w: changes cannot be listened to: %w", queue.ErrUnavailable,
			ctx.Err())
	}
}

func (f *Feed) enter(s *subscriber) (*feedRun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, errClosed
	case !s.internal && (f.count >= maxSubscribers || len(f.topics[s.account]) >= f.PerAccount):
		return nil, ErrFull
	}
	if f.topics[s.account] == nil {
		f.topics[s.account] = make(map[*subscriber]struct{})
	}
	f.topics[s.account][s] = struct{}{}
	f.count++
	f.metrics.subscribers.Set(float64(f.count))
	if f.run == nil {
		ctx, stop := context.WithCancel(context.Background())
		f.run = &feedRun{ready: make(chan struct{}), stop: stop}
		f.position, f.quiet, f.down = f.now().UnixMilli(), 0, false
		run := f.run
		f.running.Go(func() { f.listen(ctx, run) })
		f.running.Go(func() { f.watchStore(ctx) })
	}
	return f.run, nil
}

// leave takes a subscriber off.
func (f *Feed) leave(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.topics[s.account][s]; !ok {
		return
	}
	delete(f.topics[s.account], s)
	if len(f.topics[s.account]) == 0 {
		delete(f.topics, s.account)
	}
	f.count--
	f.metrics.subscribers.Set(float64(f.count))
}

// at is the feed's position.
func (f *Feed) at() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.position
}

// Close ends every subscription and waits until nothing is listened to any more.
func (f *Feed) Close() {
	f.mu.Lock()
	f.closed = true
	for _, subs := range f.topics {
		for s := range subs {
			s.end(endStopping)
		}
	}
	if f.run != nil {
		f.run.stop()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// listen hands out what the store tells until nobody has listened for a while.
func (f *Feed) listen(ctx context.Context, run *feedRun) {
	defer run.stop()
	l := &listener{feed: f, run: run, told: make(map[queue.TrackerID]queue.Presence)}
	filled := make(chan struct{}, 1)
	changes := queue.NewChangeBuffer(changesWaiting, func() {
		select {
		case filled <- struct{}{}:
		default:
		}
	})
	tell := func(list []queue.Change) {
		if !changes.Add(list...) {
			f.metrics.overflowed.Inc()
		}
	}
	for pause := feedPause; ; pause = min(2*pause, feedPatient) {
		err := f.store.Watch(ctx, tell)
		if err == nil {
			l.follow(ctx, changes, filled)
			return
		}
		if ctx.Err() == nil {
			f.log.Warn("changes are not listened to", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// stopIdle ends the run if nobody is left.
func (f *Feed) stopIdle(run *feedRun) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count > 0 || f.run != run {
		return false
	}
	f.run = nil
	return true
}

// publish hands events to the subscribers of an account. It never waits for one of them.
func (f *Feed) publish(account queue.AccountID, events []*event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		e.position = f.position
	}
	for s := range f.topics[account] {
		if !s.add(f.buffer, events) {
			f.metrics.dropped.Inc()
		}
	}
}

// advance moves the position: back where the clock was set back, because what happens from then on
// is dated so.
func (f *Feed) advance(ms int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position = ms
}

// accounts are those that somebody listens to.
func (f *Feed) accounts() []queue.AccountID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.topics))
}

// listened returns those of the conversations whose account somebody listens to, with that account.
func (f *Feed) listened(changes []queue.Change) map[queue.TrackerID]queue.AccountID {
	snap := f.directory.Current()
	owners := make(map[queue.TrackerID]queue.AccountID)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range changes {
		key := changes[i].Tracker
		if _, account, _, ok := snap.Conversation(key); ok && len(f.topics[account]) > 0 {
			owners[key] = account
		}
	}
	return owners
}

// recheck ends the subscriptions of keys that are not the account's any more, or have ended.
// Sessions, which only the store knows, are looked at if asked to.
func (f *Feed) recheck(ctx context.Context, sessions bool) {
	snap, now := f.directory.Current(), f.now().UnixMilli()
	var asked []*subscriber
	f.mu.Lock()
	for account, subs := range f.topics {
		for s := range subs {
			switch owner, key, ok := snap.Key(s.key); {
			case s.internal:
			case s.session:
				asked = append(asked, s)
			case !ok || owner.ID != account || key.Ended(now):
				s.end(endRevoked)
			}
		}
	}
	f.mu.Unlock()
	if !sessions {
		return
	}
	for part := range slices.Chunk(asked, askedAtOnce) {
		hashes := make([]queue.KeyHash, len(part))
		for i, s := range part {
			hashes[i] = s.key
		}
		bounded, cancel := context.WithTimeout(ctx, f.timeout)
		found, err := f.sessions.Sessions(bounded, hashes)
		cancel()
		if err != nil {
			return // asked again soon; until the store answers there is nothing to be told either
		}
		for i, s := range part {
			if owner, _, ok := snap.Session(&found[i]); !ok || owner.ID != s.account {
				s.end(endRevoked)
			}
		}
	}
}

// storeSilence is after how long without a sign of life the store counts as down; while it is
// listened to it gives one a second, of all its partitions.
const storeSilence = 4 * time.Second

// States of the store, as heartbeats name them.
const (
	storeOK   = "ok"
	storeDown = "down"
)

// watchStore notices that the store has gone quiet, whatever the listener waits for meanwhile.
func (f *Feed) watchStore(ctx context.Context) {
	look := time.NewTicker(feedLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		f.mu.Lock()
		f.quiet++
		f.setDown(time.Duration(f.quiet)*feedLook >= storeSilence)
		f.mu.Unlock()
	}
}

// heard notes a sign of life of the store.
func (f *Feed) heard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quiet = 0
	f.setDown(false)
}

// setDown has every reader told when the state has changed; mu is held.
func (f *Feed) setDown(down bool) {
	if f.down == down {
		return
	}
	f.down = down
	for _, subs := range f.topics {
		for s := range subs {
			s.signal()
		}
	}
}

// pulse is the feed's position and the store's state.
func (f *Feed) pulse() (position int64, store string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return f.position, storeDown
	}
	return f.position, storeOK
}
