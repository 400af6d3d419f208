// Package load puts a running service under load and tells what became of every message: it
// connects simulated trackers, sends texts through the HTTP API at fixed times whatever the answers
// do (open loop), and compares what was accepted, what arrived at the devices, what they
// acknowledged, and what the API lists afterwards.
//
// Devices and HTTP connections live on one gateway/engine: no goroutine, and no more than a few
// hundred bytes, for each. Every latency is counted from the time that the text was scheduled for,
// so that a service that stalls cannot hide the texts that had to wait.
package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"time"

	"trackchat/protocol"
)

// Bounds of one run.
const (
	MaxBroadcast = 300
	MaxSize      = 20_000
	MinSize      = 32         // characters: the text's own number has to fit
	maxMessages  = 20_000_000 // 16 bytes each
	maxTrackers  = 1_000_000  //
	// connections of one local address to one port: Linux first looks through the even half of its
	// 28,000 ports, in vain once that is used up.
	portsPerIP = 12_000
	maxAnswer  = 64 << 20 // bytes of one HTTP answer
	// before a device that lost its connection dials again; 50 to 100 % of it are used.
	reconnect    = time.Second
	redialAPI    = 200 * time.Millisecond
	listLimit    = 1024
	readBackTime = 2 * time.Minute
	answerTime   = 15 * time.Second // for answers that are still under way when the drain is over
	closeTime    = 30 * time.Second // for the connections to close at the end
	// of reading again what is acknowledged and not yet listed as delivered.
	settleTime = 5 * time.Second
)

// ErrOptions marks options that make no run.
var ErrOptions = errors.New("options")

// Options describe a run. Every field without a default is required.
type Options struct {
	API      string   // base URL, http only
	Key      string   // API key
	Gateways []string // host:port; devices take them in turn
	Protocol *protocol.Protocol
	Device   protocol.DeviceConfig // of every device; ID is set from DeviceID
	DeviceID func(tracker int64) string

	From, To  int64         // tracker ids, both included
	Rate      float64       // messages a second; 0: none, the sessions are held for Duration
	Duration  time.Duration // of the sending
	Broadcast int           // trackers of one request; 0 or 1: single sends
	Size      int           // characters of a text
	// texts queued for each tracker before all devices connect at once; instead of Rate and
	// Duration; 0: off.
	Storm int

	NoAck  float64 // share of the devices that never acknowledge, 0 to 1
	NoRead float64 // share of the devices that read nothing after the login, 0 to 1

	HeartbeatEvery time.Duration // of each device; 0: none
	ConnectRate    float64       // new device connections a second
	LoginWithin    time.Duration // most time for the logins, beyond what the connect rate needs
	Connections    int           // to the API
	Drain          time.Duration // most time after the sending for what is under way
	// local addresses of the devices, in turn; default: as many of 127.0.0.0/8 as are needed if the
	// gateway is on loopback.
	Sources []netip.Addr
	PIDs    []int // processes whose CPU time and memory are reported

	Progress io.Writer // a line a second; nil: none
}

func (o *Options) trackers() int { return int(o.To - o.From + 1) }

func (o *Options) batch() int { return max(o.Broadcast, 1) }

// requests is how many calls of the API the run makes.
func (o *Options) requests() int {
	if o.Storm > 0 {
		return (o.Storm*o.trackers() + o.batch() - 1) / o.batch()
	}
	return int(o.Rate * o.Duration.Seconds() / float64(o.batch()))
}

// check says what is wrong with the options.
func (o *Options) check() error {
	u, err := url.Parse(o.API)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("API %q is not a URL such as http://127.0.0.1:8080", o.API)
	case u.Scheme == "https":
		return errors.New("the API must be asked over plain http: what TLS costs the generator would be measured too")
	case len(o.Gateways) == 0:
		return errors.New("no gateway is given")
	case o.From < 1 || o.To < o.From || o.To-o.From >= maxTrackers:
		return fmt.Errorf("trackers %d-%d: at least one and at most %d are needed", o.From, o.To,
			maxTrackers)
	case !(o.Rate >= 0) || o.Rate > 10_000_000:
		return fmt.Errorf("rate %v is out of range", o.Rate)
	case o.Duration <= 0 && o.Storm == 0:
		return errors.New("a run needs a duration")
	case o.Broadcast < 0 || o.Broadcast > MaxBroadcast || o.Broadcast > o.trackers():
		return fmt.Errorf("a broadcast to %d trackers: at most %d and no more than there are",
			o.Broadcast, MaxBroadcast)
	case o.Size < MinSize || o.Size > MaxSize:
		return fmt.Errorf("size %d is not within %d and %d", o.Size, MinSize, MaxSize)
	case !(o.NoAck >= 0 && o.NoRead >= 0 && o.NoAck+o.NoRead <= 1):
		return errors.New("the shares of devices that do not acknowledge and do not read exceed the whole")
	case o.Storm < 0 || o.Storm > 0 && o.Rate > 0:
		return errors.New("a storm replaces the rate")
	case !(o.ConnectRate > 0) || o.Connections < 1 || o.LoginWithin <= 0 || o.HeartbeatEvery < 0 ||
		o.Drain < 0:
		return errors.New("a rate, a number of connections or a duration is not positive")
	case o.Storm*o.trackers() > maxMessages || o.Rate*o.Duration.Seconds() > maxMessages:
		return fmt.Errorf("more than %d messages: lower the rate or the duration", maxMessages)
	}
	return o.enoughDescriptors()
}

// enoughDescriptors refuses a run that would fail half way.
func (o *Options) enoughDescriptors() error {
	const others = 64
	need := uint64(o.trackers() + o.Connections + others)
	if most := maxDescriptors(); need > most {
		return fmt.Errorf("%d trackers need %d descriptors, this process may have %d: divide --trackers among several processes", o.trackers(), need, most)
	}
	return nil
}

// sources returns the local addresses that devices connect from in turn; none leaves the choice to
// the system.
func (o *Options) sources() []netip.Addr {
	if len(o.Sources) > 0 {
		return o.Sources
	}
	for _, g := range o.Gateways {
		if a, err := netip.ParseAddrPort(g); err != nil || !a.Addr().Is4() ||
			!a.Addr().IsLoopback() {
			return nil
		}
	}
	n := (o.trackers()/len(o.Gateways) + portsPerIP - 1) / portsPerIP
	if n < 2 {
		return nil
	}
	out := make([]netip.Addr, n)
	for i := range out {
		out[i] = netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)})
	}
	return out
}
