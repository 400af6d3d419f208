package gateway

import (
	"context"
	"sync"
	"time"

	"trackchat/protocol"
	"trackchat/queue"
)

type itemKind uint8

const (
	itemOpened     itemKind = iota + 1
	itemPacket              // data *packet
	itemClosed              // data error or nil
	itemTakeover            // another connection of the tracker logged in here
	itemWake                // data *queue.Wake
	itemResync              // every session of the shard
	itemRecheck             // every session of the shard
	itemLease               // data *queue.Lease
	itemUnreadable          // what the store has of the tracker cannot be read
	itemClaimed             // n epoch of the outbox, data *queue.ClaimResult
	itemReceived            // n reply number, code 1 for a repetition, data error or nil
	itemPeeked              // data *queue.PeekResult, nil if there is nothing to tell
	itemLate                // data *lateMatch
	itemThrottle            // reads were paused by the frame limit
	itemDrain               // data *drainShare
	itemInspect             // data *inspection
)

// item is one thing for a shard to deal with.
type item struct {
	kind itemKind
	code byte
	s    *session
	n    int64
	data any
}

// mailbox is what a shard has still to deal with, in order.
type mailbox struct {
	mu     sync.Mutex
	items  []item
	most   int        // items taken at once of late
	bytes  int        // of the packets among them
	paused []*session // whose reads wait for room
	took   int64      // items that the shard has taken so far
	done   int64      // of them: dealt with
	signal chan struct{}
}

func (b *mailbox) put(it item) {
	b.mu.Lock()
	b.items = append(b.items, it)
	first := len(b.items) == 1
	b.mu.Unlock()
	if first {
		b.notify()
	}
}

func (b *mailbox) notify() {
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// full reports whether what devices send has to wait.
func (b *mailbox) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items) >= mailboxFull || b.bytes >= mailboxBytes
}

// putPacket is put for what devices send. A connection that was paused because the mailbox is full reads again when the shard has emptied it.
func (b *mailbox) putPacket(s *session, p *packet, paused bool) {
	b.mu.Lock()
	b.items = append(b.items, item{kind: itemPacket, s: s, data: p})
	b.bytes += len(p.data)
	first := len(b.items) == 1
	if paused {
		b.paused = append(b.paused, s)
	}
	b.mu.Unlock()
	if first {
		b.notify()
	}
}

// take says that what was taken before is dealt with, swaps the filled slice for an empty one, and returns the connections that may read again.
func (b *mailbox) take(empty []item) (items []item, resume []*session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = b.took
	b.took += int64(len(b.items))
	b.most = max(b.most, len(b.items))
	if cap(empty) > mailboxRoom && cap(empty)/mailboxSlack > b.most {
		empty = nil
	}
	items, b.items = b.items, empty[:0]
	resume, b.paused, b.bytes = b.paused, nil, 0
	return items, resume
}

// calm forgets a part of what was needed at once, so that a burst is over some seconds after it.
func (b *mailbox) calm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most -= (b.most + 1) / 2
}

// mark returns what reports whether everything that is in the mailbox now is dealt with.
func (b *mailbox) mark() func() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	target := b.took + int64(len(b.items))
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.done >= target
	}
}

// shard owns sessions: its goroutine alone reads and changes them.
type shard struct {
	g      *Gateway
	box    mailbox
	wheel  wheel
	live   []*session            // every open session
	out    []byte                // what the session at work is about to write
	emit   func(*protocol.Event) // one closure for all frames
	peeks  []*session            // to be looked after in the store at the end of this tick
	second int64                 // of the last tick

	// Of the frame at work.
	cur     *session
	frame   int64           // its number
	worst   protocol.Result // among its events so far
	verdict protocol.Result // of the event at work
}

func newShard(g *Gateway) *shard {
	sh := &shard{g: g}
	sh.wheel.shard = sh
	sh.box.signal = make(chan struct{}, 1)
	sh.wheel.start(g.o.Now())
	sh.emit = func(e *protocol.Event) { sh.cur.event(e) }
	return sh
}

func (sh *shard) run(ctx context.Context) {
	every := time.NewTicker(tickEvery)
	defer every.Stop()
	var items []item
	for {
		select {
		case <-ctx.Done():
			return
		case <-sh.box.signal:
		case <-every.C:
			sh.tick()
		}
		var resume []*session
		items, resume = sh.box.take(items)
		for i := range items {
			sh.handle(&items[i])
		}
		clear(items)
		for _, s := range resume {
			s.resume()
		}
	}
}

// enter puts a session on the list of open ones.
func (sh *shard) enter(s *session) {
	s.place = int32(len(sh.live))
	sh.live = append(sh.live, s)
}

// leave takes it off, and out of the wheel.
func (sh *shard) leave(s *session) {
	last := len(sh.live) - 1
	sh.wheel.remove(s)
	moved := sh.live[last]
	sh.live[s.place] = moved
	moved.place = s.place
	sh.wheel.link(moved)
	sh.live[last] = nil
	sh.live = sh.live[:last]
}

// tick runs what is due and asks the store about quiet sessions.
func (sh *shard) tick() {
	now := sh.g.o.Now()
	sh.wheel.advance(now, func(s *session) {
		defer s.recovered()
		if s.broken() {
			return
		}
		s.due(now)
		s.flush()
	})
	for _, s := range sh.peeks {
		if !s.dead && !s.peeking {
			s.peeking = true
			sh.g.store.peek.add(s, 0, s.lease())
		}
	}
	clear(sh.peeks)
	sh.peeks = sh.peeks[:0]
	if second := now.Unix(); second != sh.second {
		sh.second = second
		sh.box.calm()
	}
}

func (sh *shard) handle(it *item) {
	switch it.kind {
	case itemResync:
		for _, s := range sh.live {
			s.resync()
		}
		return
	case itemRecheck:
		for _, s := range sh.live {
			s.recheck()
			s.flush()
		}
		return
	case itemDrain:
		sh.drain(it.data.(*drainShare))
		return
	case itemInspect:
		sh.inspect(it.data.(*inspection))
		return
	default:
		sh.handleOne(it)
	}
}

// handleOne deals with what concerns one session. A panic on the way ends that session alone.
func (sh *shard) handleOne(it *item) {
	defer it.s.recovered()
	switch {
	case !it.s.broken(), it.kind == itemClosed:
	case it.kind == itemLease:
		it.s.epoch = it.data.(*queue.Lease).Epoch // so that it is given back
		if it.s.dead {
			sh.g.store.release.add(it.s, 0, it.s.lease())
		}
		return
	default:
		return
	}
	switch it.kind {
	case itemOpened:
		it.s.opened(sh.g.o.Now())
	case itemPacket:
		it.s.packet(it.data.(*packet))
	case itemClosed:
		err, _ := it.data.(error)
		it.s.closed(err)
		return
	case itemLease:
		it.s.leased(it.data.(*queue.Lease))
	default:
		if !it.s.dead {
			sh.handleLive(it)
		}
	}
	it.s.flush()
}

// handleLive deals with what only an open session cares about.
func (sh *shard) handleLive(it *item) {
	s := it.s
	switch it.kind {
	case itemTakeover:
		sh.g.m.takeovers.Inc()
		s.close(reasonTakeover)
		s.hungUp(reasonTakeover)
	case itemUnreadable:
		s.close(reasonRefused)
	case itemWake:
		s.wake(it.data.(*queue.Wake))
	case itemClaimed:
		s.claimed(it.n, it.data.(*queue.ClaimResult))
	case itemReceived:
		err, _ := it.data.(error)
		s.received(it.n, it.code == 1, err)
	case itemPeeked:
		s.peeking = false
		if p, ok := it.data.(*queue.PeekResult); ok {
			s.peeked(p)
		}
	case itemLate:
		s.lateMatched(it.data.(*lateMatch))
	case itemThrottle:
		s.throttled = true
		s.arm(sh.g.o.Now().Add(time.Second).UnixMilli())
	default:
	}
}

// packet is whole frames of one connection on their way from the engine to the shard.
type packet struct {
	data []byte
	ends []int32
	err  error // framing was lost after these frames
}

const packetKeep = 16 << 10 // buffers that grew beyond this are not kept

type packets struct{ pool sync.Pool }

func (p *packets) get() *packet {
	if pk, ok := p.pool.Get().(*packet); ok {
		return pk
	}
	return &packet{}
}

func (p *packets) put(pk *packet) {
	if cap(pk.data) > packetKeep {
		return
	}
	pk.data, pk.ends, pk.err = pk.data[:0], pk.ends[:0], nil
	p.pool.Put(pk)
}

func (pk *packet) add(frame []byte) {
	pk.data = append(pk.data, frame...)
	pk.ends = append(pk.ends, int32(len(pk.data)))
}
