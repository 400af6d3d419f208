package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"trackchat/protocol"
)

// fleetFlags are the options of a run.
type fleetFlags struct {
	deviceFlags
	gateway        string
	reply          string
	ackDelay       time.Duration
	noAck          percent
	positionEvery  time.Duration
	heartbeatEvery time.Duration
	duration       time.Duration
	connectRate    float64
	reconnect      bool
	interactive    bool
	sources        sources
	seed           uint64
}

func (f *fleetFlags) register(fs *flag.FlagSet) {
	f.deviceFlags.register(fs)
	fs.StringVar(&f.gateway, "gateway", "",
		"`HOST:PORT` of the gateway (default 127.0.0.1 and the protocol's port)")
	fs.StringVar(&f.reply, "reply", "", "`TEXT` that every driver answers every text with")
	fs.DurationVar(&f.ackDelay, "ack-delay", 0, "`TIME` between a text and its ack")
	fs.Var(&f.noAck, "no-ack", "`SHARE` of texts that are never acknowledged: 5% or 0.05")
	fs.DurationVar(&f.positionEvery, "position-every", 0, "`TIME` between positions, 0: none")
	fs.DurationVar(&f.heartbeatEvery, "heartbeat-every", time.Minute,
		"`TIME` between signs of life, 0: none")
	fs.DurationVar(&f.duration, "duration", 0, "`TIME` of the run, 0: until interrupted")
	fs.Float64Var(&f.connectRate, "connect-rate", 500, "most connections per second, `NUMBER`")
	fs.BoolVar(&f.reconnect, "reconnect", true,
		"connect again when a connection ends; --reconnect=false ends that tracker")
	fs.BoolVar(&f.interactive, "interactive", false,
		"be the driver of one tracker: shows texts, says what is typed")
	fs.Var(&f.sources, "source",
		"local `ADDRESS[,ADDRESS]` that trackers connect from, in turn; one address has about 28,000 ports")
	fs.Uint64Var(&f.seed, "seed", 1, "`NUMBER` that decides what is drawn at random")
}

func (f *fleetFlags) check(p *protocol.Protocol) error {
	switch {
	case min(f.ackDelay, f.positionEvery, f.heartbeatEvery, f.duration) < 0:
		return errors.New("a duration is negative")
	case !(f.connectRate > 0):
		return fmt.Errorf("--connect-rate %v is not positive", f.connectRate)
	case f.interactive && f.devices != 1:
		return errors.New("--interactive is for one device")
	}
	if f.gateway == "" {
		f.gateway = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port))
	}
	if _, _, err := net.SplitHostPort(f.gateway); err != nil {
		return fmt.Errorf("--gateway: %w", err)
	}
	return nil
}

// percent is a share of 1, written as "5%" or "0.05".
type percent float64

func (p *percent) String() string { return strconv.FormatFloat(float64(*p)*100, 'g', -1, 64) + "%" }

func (p *percent) Set(s string) error {
	digits, isPercent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if isPercent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return errors.New("neither a share from 0% to 100% nor from 0 to 1")
	}
	*p = percent(v)
	return nil
}

// sources are local addresses.
type sources []netip.Addr

func (s *sources) String() string {
	words := make([]string, 0, len(*s))
	for _, a := range *s {
		words = append(words, a.String())
	}
	return strings.Join(words, ",")
}

func (s *sources) Set(list string) error {
	*s = nil
	for word := range strings.SplitSeq(list, ",") {
		a, err := netip.ParseAddr(word)
		if err != nil {
			return fmt.Errorf("address %q: %w", word, err)
		}
		*s = append(*s, a)
	}
	return nil
}
