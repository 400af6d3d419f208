package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	pingEvery     = 10 * time.Second
	silence       = 3 * pingEvery // after which a connection counts as dead
	firstRelisten = 50 * time.Millisecond
	lastRelisten  = time.Second
)

// wakes are the subscriptions of this process.
type wakes struct {
	client  *client
	running sync.WaitGroup

	mu            sync.Mutex // guards what follows
	closed        bool
	subscriptions map[*subscription]struct{}
}

func newWakes(c *client) *wakes {
	return &wakes{client: c, subscriptions: make(map[*subscription]struct{})}
}

// close waits until every subscription has ended, with the client.
func (ws *wakes) close() {
	ws.mu.Lock()
	ws.closed = true
	ws.mu.Unlock()
	ws.running.Wait()
}

// remap has the subscriptions follow a changed map of the cluster.
func (ws *wakes) remap() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for e := range ws.subscriptions {
		select {
		case e.remap <- struct{}{}:
		default:
		}
	}
}

// resync has every listener look at everything again.
func (ws *wakes) resync() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for e := range ws.subscriptions {
		e.onGap()
	}
}

// subscription listens to one channel in each partition.
type subscription struct {
	client    *client
	channel   string                     // what follows the partition's key
	onMessage func(payload string) error // takes what was published
	onGap     func()                     // something may not have been heard
	// everything published before ms was heard; nil: nobody asks.
	through func(ps []queue.Partition, ms int64)
	every   time.Duration // between two pings
	remap   chan struct{}
	ready   chan struct{} // closed when every partition was subscribed to once

	mu    sync.Mutex // guards what follows
	heard [partitions]bool
	left  int
}

// Listen: It returns when every partition is subscribed to.
func (s *Store) Listen(ctx context.Context, node queue.NodeID, tell func([]queue.Wake)) error {
	if node == "" || len(node) > maxNode {
		return fmt.Errorf("node id %q must have 1 to %d bytes", node, maxNode)
	}
	return s.wakes.listen(ctx, &subscription{
		channel: ":n:" + string(node), every: pingEvery,
		onMessage: decoded(decodeWakes, tell),
		onGap:     func() { tell([]queue.Wake{{Kind: queue.WakeResync}}) },
	})
}

// decoded returns what tells the entries of a payload, those before a damaged one as well.
func decoded[T any](decode func(string) ([]T, error), tell func([]T)) func(string) error {
	return func(payload string) error {
		list, err := decode(payload)
		if len(list) > 0 {
			tell(list)
		}
		return err
	}
}

// listen opens a subscription, which ends with ctx or the store, and returns when every partition
// is subscribed to.
func (ws *wakes) listen(ctx context.Context, e *subscription) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.client, e.remap, e.ready = ws.client, make(chan struct{}, 1), make(chan struct{})
	e.left = partitions
	ws.mu.Lock()
	if ws.closed {
		ws.mu.Unlock()
		return errClosed
	}
	ws.subscriptions[e] = struct{}{}
	ws.running.Add(2)
	ws.mu.Unlock()
	life, stop := context.WithCancel(ctx)
	go func() {
		defer ws.running.Done()
		select {
		case <-ws.client.over:
			stop()
		case <-life.Done():
		}
	}()
	go func() {
		defer ws.running.Done()
		e.listen(life)
		ws.mu.Lock()
		delete(ws.subscriptions, e)
		ws.mu.Unlock()
	}()
	retryFor := ws.client.opts.RetryFor
	patience := time.NewTimer(retryFor)
	defer patience.Stop()
	select {
	case <-e.ready:
		return nil
	case <-life.Done():
		if err := ctx.Err(); err != nil {
			return err
		}
		return errClosed
	case <-patience.C:
		stop()
		return fmt.Errorf("%w: no subscription within %v", queue.ErrUnavailable, retryFor)
	}
}

// link is the subscription's connection to one master.
type link struct {
	parts []queue.Partition
	stop  context.CancelFunc
	done  chan struct{}
}

// listen keeps one link to each master for the partitions that it serves.
func (e *subscription) listen(ctx context.Context) {
	links := make(map[*master]*link)
	for ctx.Err() == nil {
		want := e.client.cluster.assignment()
		for m, l := range links {
			if !slices.Equal(l.parts, want[m]) {
				l.stop()
				<-l.done
				delete(links, m)
			}
		}
		for m, parts := range want {
			if links[m] != nil {
				continue
			}
			life, stop := context.WithCancel(ctx)
			l := &link{parts: parts, stop: stop, done: make(chan struct{})}
			links[m] = l
			go func() {
				defer close(l.done)
				e.keep(life, m, parts)
			}()
		}
		select {
		case <-ctx.Done():
		case <-e.remap:
		}
	}
	for _, l := range links {
		l.stop()
		<-l.done
	}
}

// keep listens to one master, again and again, until ctx ends.
func (e *subscription) keep(ctx context.Context, m *master, parts []queue.Partition) {
	pause := firstRelisten
	for {
		heard, err := e.hear(ctx, m, parts)
		if ctx.Err() != nil {
			return
		}
		e.client.log.Warn("listening was interrupted", zap.String("addr", m.addr), zap.Error(err))
		e.client.cluster.stale()
		if heard {
			pause = firstRelisten
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastRelisten)
	}
}

// hear subscribes and reads until something goes wrong; heard says that all channels were
// subscribed to.
func (e *subscription) hear(ctx context.Context, m *master, parts []queue.Partition) (heard bool,
	err error,
) {
	ps := m.redis.Subscribe(ctx)
	defer func() { _ = ps.Close() }()
	defer context.AfterFunc(ctx, func() { _ = ps.Close() })()
	if err := e.subscribe(ctx, ps, parts); err != nil {
		return false, err
	}
	var alive atomic.Int64
	over := make(chan struct{})
	defer close(over)
	go e.probe(ctx, ps, &alive, over)
	missing := len(parts)
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			return missing == 0, fmt.Errorf("reading what is published: %w", err)
		}
		alive.Add(1)
		switch got := got.(type) {
		case *redis.Message:
			if err := e.onMessage(got.Payload); err != nil {
				return true, err
			}
		case *redis.Pong:
			if err := e.pong(parts, got.Payload, missing == 0); err != nil {
				return true, err
			}
		case *redis.Subscription:
			if got.Kind != "subscribe" && got.Kind != "ssubscribe" {
				return true, fmt.Errorf("%s of %s", got.Kind, got.Channel)
			}
			if missing--; missing == 0 {
				e.subscribed(parts)
			}
		}
	}
}

func (e *subscription) subscribe(ctx context.Context, ps *redis.PubSub,
	parts []queue.Partition,
) error {
	channels := make([]string, len(parts))
	for i, p := range parts {
		channels[i] = e.client.keys[p] + e.channel
	}
	if !e.client.cluster.many {
		if err := ps.Subscribe(ctx, channels...); err != nil {
			return fmt.Errorf("subscribing: %w", err)
		}
		return nil
	}
	for _, c := range channels { // one by one, because their slots differ
		if err := ps.SSubscribe(ctx, c); err != nil {
			return fmt.Errorf("subscribing: %w", err)
		}
	}
	return nil
}

// subscribed notes that partitions are listened to; those that were before have a gap behind them.
func (e *subscription) subscribed(parts []queue.Partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	again := false
	for _, p := range parts {
		if e.heard[p] {
			again = true
			continue
		}
		e.heard[p] = true
		if e.left--; e.left == 0 {
			close(e.ready)
		}
	}
	if again {
		e.onGap()
	}
}

// pong says how late the partitions of a connection are known: an answer comes after everything
// that was published before its ping.
func (e *subscription) pong(parts []queue.Partition, payload string, subscribed bool) error {
	if e.through == nil || !subscribed {
		return nil
	}
	ms, err := strconv.ParseInt(payload, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: pong %q", queue.ErrCorrupt, payload)
	}
	e.through(parts, ms)
	return nil
}

// probe pings a connection and closes it when nothing comes back: a peer that vanished sends no
// end.
func (e *subscription) probe(ctx context.Context, ps *redis.PubSub, alive *atomic.Int64,
	over <-chan struct{},
) {
	tick := time.NewTicker(e.every)
	defer tick.Stop()
	seen, quiet := alive.Load(), time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-tick.C:
		}
		if n := alive.Load(); n != seen {
			seen, quiet = n, 0
		} else if quiet += e.every; quiet >= silence {
			_ = ps.Close()
			return
		}
		// the reader sees what goes wrong.
		_ = ps.Ping(ctx, strconv.FormatInt(e.client.now().UnixMilli(), 10))
	}
}
