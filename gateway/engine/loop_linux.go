package engine

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	eventBatch = 256  // events taken from the kernel at a time
	keptOrders = 4096 // capacity of an order list that is worth keeping
	interest   = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	hangup     = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// order is something that another goroutine, or a handler, wants the loop to do.
type order struct {
	c    *loopConn
	kind orderKind
}

type orderKind uint8

const (
	orderOpen orderKind = iota
	orderPump           // read and feed: after Resume, or a failed write
	orderClose
	orderLate // look for balancers' connections without their header
	orderStop // the loop itself
)

// loop is one event loop: a goroutine with an epoll instance. Edge-triggered events are registered once per connection, for reading and
// writing, and never changed. The epoll descriptor is in turn watched by Go's runtime poller, so a loop without events is a parked goroutine
// and not a thread in a system call, which Go's timers would have to compete with.
type loop struct {
	// static
	core  *core
	table *table
	file  *os.File // the epoll descriptor
	raw   syscall.RawConn
	wake  int // eventfd

	// owned by the goroutine
	win      *window
	events   []unix.EpollEvent
	again    []*loopConn // whose turn ended before all was read
	unheard  newcomers
	rested   []*loopConn // spare storage for again
	working  []order     // spare storage for orders
	stopping bool

	mu       sync.Mutex
	orders   []order
	sleeping bool // nobody looks at orders without a wake-up
	dead     bool // nobody looks at orders any more
}

func newLoop(k *core, t *table) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("engine: creating epoll: %w", err)
	}
	if err := unix.SetNonblock(ep, true); err != nil { // os.NewFile takes this as the sign to use the runtime poller
		_ = unix.Close(ep)
		return nil, fmt.Errorf("engine: preparing epoll: %w", err)
	}
	l := &loop{
		core: k, table: t, file: os.NewFile(uintptr(ep), "epoll"),
		win: newWindow(), events: make([]unix.EpollEvent, eventBatch),
	}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		_ = l.file.Close()
		return nil, fmt.Errorf("engine: preparing epoll: %w", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = l.file.Close()
		return nil, fmt.Errorf("engine: creating eventfd: %w", err)
	}
	// Edge-triggered, so that it need not be read.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(l.wake)}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, l.wake, &ev); err != nil {
		l.release()
		return nil, fmt.Errorf("engine: watching eventfd: %w", err)
	}
	return l, nil
}

func (l *loop) release() {
	_ = l.file.Close() // descriptors of our own making: closing frees them whatever it returns
	_ = unix.Close(l.wake)
}

// post hands the loop an order. One that has ended needs none: it closed all its connections.
func (l *loop) post(o order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.orders = append(l.orders, o)
	if l.sleeping {
		l.sleeping = false
		one := [8]byte{1}
		_, _ = unix.Write(l.wake, one[:]) // fails only on overflow, which is a wake-up too
	}
}

func (l *loop) run() {
	defer l.release()
	for !l.stopping {
		if err := l.raw.Read(l.turn); err != nil {
			l.core.Logger.Error("event loop failed", zap.Error(err))
			l.stop()
		}
	}
}

// turn works until there is nothing to do, and then returns false for RawConn.Read to wait for the next event; true after the order to stop.
func (l *loop) turn(fd uintptr) bool {
	l.mu.Lock()
	l.sleeping = false
	l.mu.Unlock()
	for {
		n, err := unix.EpollWait(int(fd), l.events, 0)
		if err != nil {
			n = 0 // EINTR; everything else would be a descriptor that is not ours
		}
		l.round(n)
		if l.stopping {
			return true
		}
		if n == 0 && l.sleep() {
			return false
		}
	}
}

// sleep announces that the loop is about to wait, unless there is something to do.
func (l *loop) sleep() bool {
	if len(l.again) > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sleeping = len(l.orders) == 0
	return l.sleeping
}

// round handles n events, all orders, and those who wait for another turn.
func (l *loop) round(n int) {
	observe := l.core.ObserveLoopLag
	if observe != nil && l.core.Now != nil && n > 0 {
		start := l.core.Now()
		defer func() { observe(l.core.Now().Sub(start)) }()
	}
	for i := range l.events[:n] {
		l.event(&l.events[i])
	}
	l.obey()
	waiting := l.again
	l.again = l.rested[:0]
	for _, c := range waiting {
		c.queued = false
		l.pump(c, true)
	}
	clear(waiting)
	l.rested = waiting
}

func (l *loop) event(ev *unix.EpollEvent) {
	if int(ev.Fd) == l.wake {
		return // the orders are looked at in any case
	}
	c := l.table.get(int(ev.Fd), uint32(ev.Pad))
	if c == nil {
		l.core.Stats.Stale.Add(1)
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		c.flush()
	}
	if ev.Events&(unix.EPOLLIN|hangup) != 0 {
		l.pump(c, ev.Events&hangup != 0)
	}
}

func (l *loop) pump(c *loopConn, eager bool) {
	out, err := l.win.pump(c, eager)
	switch out {
	case ended:
		l.finish(c, err)
	case again:
		if !c.queued {
			c.queued = true
			l.again = append(l.again, c)
		}
	case idle:
		if err := c.broken(); err != nil && eager {
			l.finish(c, err)
		}
	case parked:
	}
}

// obey carries out the orders that have come.
func (l *loop) obey() {
	l.mu.Lock()
	orders := l.orders
	l.orders = l.working[:0]
	l.mu.Unlock()
	for _, o := range orders {
		switch o.kind {
		case orderOpen:
			l.open(o.c)
		case orderPump:
			l.pump(o.c, true)
		case orderClose:
			l.finish(o.c, nil)
		case orderLate:
			l.late()
		case orderStop:
			l.stop()
		}
	}
	clear(orders)
	l.working = nil
	if cap(orders) <= keptOrders {
		l.working = orders
	}
}

func (l *loop) open(c *loopConn) {
	l.table.put(c)
	ev := unix.EpollEvent{Events: interest, Fd: c.fd, Pad: int32(uint32(c.id))}
	ctlErr := l.control(c, &ev)
	var err error
	if c.has(unheard) {
		l.await(c)
	} else {
		err = c.srv.open(c)
	}
	if ctlErr != nil {
		err = fmt.Errorf("engine: watching a connection: %w", ctlErr)
	}
	if err != nil {
		l.finish(c, err)
	}
}

func (l *loop) control(c *loopConn, ev *unix.EpollEvent) (err error) {
	rawErr := l.raw.Control(func(ep uintptr) { err = unix.EpollCtl(int(ep), unix.EPOLL_CTL_ADD, int(c.fd), ev) })
	if err == nil {
		err = rawErr
	}
	return err
}

// finish closes a connection; a close by this side goes before the cause. Since endLocked no write can reach the descriptor.
func (l *loop) finish(c *loopConn, cause error) {
	c.mu.Lock()
	own := c.flags&closed != 0
	if own {
		cause = c.causeLocked()
	}
	first, opened := c.endLocked(), c.flags&unheard == 0
	c.mu.Unlock()
	if !first {
		return
	}
	l.table.drop(c)
	if own || errors.Is(cause, ErrShutdown) {
		l.discard(c)
	}
	if !opened {
		c.srv.unheard.Add(-1) // before the peer learns of the end, as it may come again at once
	}
	_ = unix.Close(int(c.fd)) // frees the descriptor whatever it returns
	if !opened {
		c.srv.unopened(c, cause)
		return
	}
	c.srv.close(c, cause)
}

// discard reads what the peer sent since: closing a socket with unread bytes would make the kernel drop the last frames it has not sent.
func (l *loop) discard(c *loopConn) {
	for n := 0; n < discardMost; {
		m, err := unix.Read(int(c.fd), l.win.buf)
		if err != nil || m == 0 {
			return
		}
		n += m
	}
}

// stop ends the loop and all its connections. It is ordered when nobody opens any more; other orders are void by it.
func (l *loop) stop() {
	l.stopping = true
	l.mu.Lock()
	l.dead = true
	l.mu.Unlock()
	for c := range l.table.of(l) {
		c.flush()
		l.finish(c, ErrShutdown)
	}
}
