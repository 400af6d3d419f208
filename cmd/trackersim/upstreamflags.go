package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"trackchat/gateway/standin"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// upstreamFlags are the options of a stand-in for a tracking server.
type upstreamFlags struct {
	protocol  string
	settings  settings
	listen    string
	proxy     bool
	delay     time.Duration
	silent    bool
	deaf      bool
	refuse    deviceIDs
	text      string
	textEvery time.Duration
	dieAfter  int
	dieEvery  time.Duration
	away      time.Duration
	duration  time.Duration
	maxConns  int
}

// portsAbove is how far the default port is above that of the gateway, which may be beside it.
const portsAbove = 10_000

func (f *upstreamFlags) register(fs *flag.FlagSet) {
	protocols := all.Protocols()
	names := make([]string, 0, len(protocols))
	for _, p := range protocols {
		names = append(names, p.Name)
	}
	fs.StringVar(&f.protocol, "protocol", "",
		"`NAME` of the devices' protocol: "+strings.Join(names, ", "))
	fs.Var(&f.settings, "setting",
		"`NAME=VALUE` of the protocol, as a listener of the gateway has them; may be repeated")
	fs.StringVar(&f.listen, "listen", "",
		"`HOST:PORT` to listen on (default 127.0.0.1 and the protocol's port plus 10000)")
	fs.BoolVar(&f.proxy, "proxy", false, "a PROXY header, version 1 or 2, begins each connection")
	fs.DurationVar(&f.delay, "delay", 0, "`TIME` before an answer leaves")
	fs.BoolVar(&f.silent, "silent", false, "read, and answer nothing")
	fs.BoolVar(&f.deaf, "deaf", false, "read nothing")
	fs.Var(&f.refuse, "refuse", "`ID[,ID]` of devices that may not log in")
	fs.StringVar(&f.text, "text", "Message of the tracking server",
		"`TEXT` that is sent to every device")
	fs.DurationVar(&f.textEvery, "text-every", 0, "`TIME` between such texts, 0: none")
	fs.IntVar(&f.dieAfter, "die-after", 0,
		"`NUMBER` of positions after which it resets every connection and is away, again and again; 0: never")
	fs.DurationVar(&f.dieEvery, "die-every", 0, "`TIME` after which it does so, 0: never")
	fs.DurationVar(&f.away, "away", time.Second, "`TIME` that it is away")
	fs.DurationVar(&f.duration, "duration", 0, "`TIME` of the run, 0: until interrupted")
	fs.IntVar(&f.maxConns, "max-conns", 20_000, "most connections at a time, `NUMBER`")
}

// options translates the flags.
func (f *upstreamFlags) options() (standin.Options, error) {
	p, ok := all.Find(f.protocol)
	switch {
	case f.protocol == "":
		return standin.Options{}, errors.New("--protocol is missing")
	case !ok:
		return standin.Options{}, fmt.Errorf("unknown protocol %q", f.protocol)
	case min(f.delay, f.textEvery, f.dieEvery, f.away, f.duration) < 0:
		return standin.Options{}, errors.New("a duration is negative")
	case f.dieAfter < 0:
		return standin.Options{}, fmt.Errorf("--die-after %d is negative", f.dieAfter)
	case f.dieAfter > 0 && f.dieEvery > 0:
		return standin.Options{}, errors.New("--die-after and --die-every exclude each other")
	case f.maxConns < 1:
		return standin.Options{}, fmt.Errorf("--max-conns %d is not positive", f.maxConns)
	}
	settings, err := p.NewSettings(f.settings)
	if err != nil {
		return standin.Options{}, fmt.Errorf("--setting: %w", err)
	}
	beside := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port+portsAbove))
	f.listen = cmp.Or(f.listen, beside)
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return standin.Options{}, fmt.Errorf("--listen: %w", err)
	}
	return standin.Options{
		Protocol: p, Settings: settings, Listen: f.listen, Proxy: f.proxy, Now: time.Now,
		MaxConns: f.maxConns, MaxDevices: maxDevices,
		Behaviour: standin.Behaviour{
			Delay: f.delay, Silent: f.silent, Deaf: f.deaf,
			Judge: standin.Accept(func(device string) bool { return !f.refuse[device] }),
		},
	}, nil
}

// deviceIDs is a set of device ids as they are compared.
type deviceIDs map[string]bool

func (d *deviceIDs) String() string { return "" }

func (d *deviceIDs) Set(list string) error {
	*d = deviceIDs{}
	for id := range strings.SplitSeq(list, ",") {
		if id = queue.NormalizeDeviceID(id); id == "" {
			return errors.New("a device id is empty")
		}
		(*d)[id] = true
	}
	return nil
}
