package engine

import (
	"cmp"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	defaultUnsent     = 64 << 10
	defaultMaxPartial = 4 << 10
	defaultBudget     = 16 << 20
	defaultSendBuffer = 32 << 10
	defaultHandshakes = 1024
	mostRead          = 64 << 10 // bytes that a loop reads at a time, see readCap
	leastRead         = 1 << 10  // gnet reads no less
)

// Options are the settings of an engine. The zero value of each field stands for its default.
type Options struct {
	Loops int // event loops; default GOMAXPROCS
	// bytes per connection that wait for the kernel to take them; default 64 KiB.
	Unsent     int
	MaxPartial int // unconsumed bytes per connection before Trust; default 4 KiB
	// unconsumed bytes of all connections before Trust together; default 16 MiB.
	PartialBudget int
	// SO_SNDBUF in bytes; default 32 KiB; negative leaves it to the kernel, which then grants a
	// stalled peer megabytes.
	SendBuffer int
	// idle time before TCP keepalive probes, and their interval; default off.
	KeepAlive time.Duration
	// how long sent bytes may stay without the peer's TCP acknowledgement (TCP_USER_TIMEOUT);
	// Linux; default the kernel's 15 minutes or so.
	UserTimeout time.Duration
	Handshakes  int // TLS handshakes at a time; default 1,024
	// descriptors of the process that are kept for other things than accepted connections; default
	// 2 % of its limit, 8 to 512; negative: none.
	Spare int

	// Now is the clock behind LastRead and ObserveLoopLag. Its readings are those of time.Now, the
	// monotonic clock included. Without it LastRead is always 0 and no lag is observed.
	Now func() time.Time
	// ObserveLoopLag is told twice a second of each event loop how long an order had to wait for
	// it. Calls may overlap.
	ObserveLoopLag func(time.Duration)

	Stats  *Stats      // counters to add to; default an own one that nobody reads
	Logger *zap.Logger // default none
}

// Stats counts what engines do. All fields may be read at any time; several engines may share one
// Stats.
type Stats struct {
	Opened  atomic.Uint64 // connections that had their OnOpen
	Closed  atomic.Uint64 // connections that had their OnClose
	Refused atomic.Uint64 // peers that Admit refused or the engine turned away by itself
	Slow    atomic.Uint64 // writes refused with ErrSlow
	TooMuch atomic.Uint64 // connections closed with ErrTooMuch
	Budget  atomic.Uint64 // connections closed with ErrBudget
	Panics  atomic.Uint64 // handler calls that panicked or returned an impossible count
	Pauses  atomic.Uint64 // times accepting paused for lack of descriptors or kernel memory

	Partial atomic.Int64 // unconsumed bytes kept now
	Unsent  atomic.Int64 // unsent bytes kept now
}

func (o Options) withDefaults() Options {
	o.Loops = cmp.Or(max(o.Loops, 0), runtime.GOMAXPROCS(0))
	o.Unsent = cmp.Or(max(o.Unsent, 0), defaultUnsent)
	o.MaxPartial = cmp.Or(max(o.MaxPartial, 0), defaultMaxPartial)
	o.PartialBudget = cmp.Or(max(o.PartialBudget, 0), defaultBudget)
	o.SendBuffer = cmp.Or(o.SendBuffer, defaultSendBuffer)
	o.Handshakes = cmp.Or(max(o.Handshakes, 0), defaultHandshakes)
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return o
}

// readCap is how much is read at a time, a power of two: what comes amid a pause has been read and
// must be kept, so it is no more than what an untrusted peer may have kept anyway.
func (o *Options) readCap() int {
	return min(max(1<<(bits.Len(uint(o.MaxPartial))-1), leastRead), mostRead)
}
