package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// keptOrders is the capacity of an order list that is worth keeping.
const keptOrders = 4096

// probeEvery is how often the loops' lag is measured.
const probeEvery = 500 * time.Millisecond

// loop is one event loop of gnet. Each has a gnet client of its own: that is how gnet is told which
// loop a connection goes to, and back to after a pause.
type loop struct {
	gnet.BuiltinEventEngine

	// static
	core   *core
	index  int
	client *gnet.Client
	life   *life
	events gnet.EventLoop // since the anchor is in
	anchor [2]*os.File    // both ends of a connection that is in the loop as long as it runs
	ended  chan struct{}  // closed at the end of the loop
	order  gnet.Runnable  // obey

	// owned by the loop
	working []func() // spare storage for orders
	outside map[*conn]struct{}
	unheard newcomers
	plain   []byte // what TLS decrypts into

	joins joins
	after sync.Mutex // held by who does the loop's work when it has ended

	mu     sync.Mutex
	orders []func()
	posted bool // gnet knows that there are orders
	dead   bool // nobody looks at orders any more
}

// startLoop starts an event loop.
func startLoop(k *core, index int, life *life) (*loop, error) {
	l := &loop{
		core: k, index: index, life: life, outside: map[*conn]struct{}{},
		plain: make([]byte, k.readCap()), ended: make(chan struct{}),
	}
	l.order = gnet.RunnableFunc(l.obey)
	l.unheard.loop, l.joins.loop = l, l
	cli, err := gnet.NewClient(l,
		gnet.WithNumEventLoop(1),
		gnet.WithReadBufferCap(k.readCap()),
		gnet.WithWriteBufferCap(leastRead), // never used, see conn.Write
		gnet.WithTCPNoDelay(gnet.TCPDelay), // tune has seen to it
		gnet.WithLogger(gnetLogger(k.Logger)))
	if err == nil {
		err = cli.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("engine: starting an event loop: %w", err)
	}
	l.client = cli
	if err := l.enrollAnchor(); err != nil {
		l.mu.Lock()
		l.dead = true // nobody has it yet
		l.mu.Unlock()
		_ = cli.Stop() // what is wrong is known
		return nil, err
	}
	return l, nil
}

// gnetLogger has gnet say what is wrong, and not that it starts.
func gnetLogger(log *zap.Logger) *zap.SugaredLogger {
	return log.Named("gnet").WithOptions(zap.IncreaseLevel(zap.WarnLevel)).Sugar()
}

// enrollAnchor enrolls a connection that stays: gnet hands the loop itself out only through one,
// and tells of its end only by closing that.
func (l *loop) enrollAnchor() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return fmt.Errorf("engine: anchoring an event loop: %w", err)
	}
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		l.anchor[i] = os.NewFile(uintptr(fd), "anchor")
	}
	nc, err := net.FileConn(l.anchor[0])
	if err == nil {
		_, err = l.client.EnrollContext(nc, l)
	}
	if err == nil && l.events == nil {
		err = errPoller
	}
	if err != nil {
		l.closeAnchor()
		return fmt.Errorf("engine: anchoring an event loop: %w", err)
	}
	return nil
}

func (l *loop) closeAnchor() {
	for _, f := range l.anchor {
		_ = f.Close() // descriptors of our own making: closing frees them whatever it returns
	}
}

// Execute: gnet is told once for all the orders that come before it looks.
func (l *loop) Execute(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false
	}
	l.orders = append(l.orders, f)
	if l.posted {
		return true
	}
	l.posted = true
	if err := l.events.Execute(context.Background(), l.order); err != nil {
		l.posted = false // the next order tries again
		l.core.Logger.Error("event loop does not take orders", zap.Error(err))
	}
	return true
}

// obey carries out the orders that have come.
func (l *loop) obey(context.Context) error {
	l.mu.Lock()
	orders := l.orders
	l.orders, l.posted = l.working[:0], false
	l.mu.Unlock()
	for _, f := range orders {
		l.run(f)
	}
	clear(orders)
	l.working = nil
	if cap(orders) <= keptOrders {
		l.working = orders
	}
	return nil
}

func (l *loop) run(f func()) {
	defer func() { l.core.caught(recover()) }()
	f()
}

// OnOpen is called by gnet when a socket has been enrolled.
func (l *loop) OnOpen(g gnet.Conn) ([]byte, gnet.Action) {
	e, ok := g.Context().(*enrolment)
	if !ok {
		l.events = g.EventLoop()
		return nil, gnet.None
	}
	e.taken = true
	g.SetContext(e.c)
	return nil, e.c.enter(g)
}

// OnTraffic is called by gnet with what it has read. All of it is taken at once, so that gnet keeps
// nothing and its buffers are never allocated.
func (l *loop) OnTraffic(g gnet.Conn) gnet.Action {
	c, ok := g.Context().(*conn)
	fresh, _ := g.Next(-1) // fails only for more than there is
	if !ok {
		return gnet.None
	}
	return c.after(c.came(fresh))
}

// OnClose is called by gnet before it closes a descriptor.
func (l *loop) OnClose(g gnet.Conn, err error) gnet.Action {
	if c, ok := g.Context().(*conn); ok {
		c.leftLoop(err)
		return gnet.None
	}
	l.mu.Lock()
	unexpected := !l.dead
	l.dead = true
	l.mu.Unlock()
	close(l.ended)
	if unexpected {
		l.closeOutside()
		l.core.Logger.Error("event loop has ended by itself", zap.Int("loop", l.index))
		l.life.halt(ErrLoop)
	}
	return gnet.None
}

// isDead says whether nobody looks at orders any more.
func (l *loop) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// stop ends the loop and all its connections, and waits for that. Nobody enrolls any more.
func (l *loop) stop() {
	done := make(chan struct{})
	if l.Execute(func() {
		defer close(done)
		l.closeOutside()
		l.mu.Lock()
		l.dead = true
		l.mu.Unlock()
	}) {
		select {
		case <-done:
		case <-l.ended: // by itself
		}
	}
	if err := l.client.Stop(); err != nil {
		l.core.Logger.Error("event loop failed", zap.Error(err))
	}
	l.closeAnchor()
}

// probe observes how long an order waits for the loop, again and again until Shutdown.
func (l *loop) probe() {
	every := time.NewTicker(probeEvery)
	defer every.Stop()
	answer := make(chan time.Duration, 1)
	for {
		select {
		case <-l.life.quit:
			return
		case <-every.C:
		}
		start := l.core.Now()
		if !l.Execute(func() { answer <- l.core.Now().Sub(start) }) {
			return
		}
		select {
		case <-l.life.quit:
			return
		case <-l.ended:
			return
		case lag := <-answer:
			l.core.ObserveLoopLag(lag)
		}
	}
}
