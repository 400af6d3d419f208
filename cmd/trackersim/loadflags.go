package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"trackchat/cmd/trackersim/load"
	"trackchat/protocol"
)

// loadFlags are the options of a run under load. The devices are those of trackersim directory with
// the same flags.
type loadFlags struct {
	deviceFlags
	firstTracker   int64
	api            string
	key            string
	gateways       string
	trackers       span
	rate           float64
	duration       time.Duration
	broadcast      int
	size           int
	storm          int
	noAck          percent
	noRead         percent
	heartbeatEvery time.Duration
	connectRate    float64
	loginWithin    time.Duration
	connections    int
	drain          time.Duration
	sources        sources
	pids           numbers
	plot           string
	quiet          bool
}

func (f *loadFlags) register(fs *flag.FlagSet) {
	f.registerKind(fs)
	fs.Int64Var(&f.firstTracker, "first-tracker", 1,
		"tracker `ID` of the first device in the directory")
	fs.StringVar(&f.api, "api", "http://127.0.0.1:8080", "`URL` of the API")
	fs.StringVar(&f.key, "key", "",
		"API `KEY` (the directory's keys; default: the one that trackersim directory makes with the same flags)")
	fs.StringVar(&f.gateways, "gateway", "",
		"`HOST:PORT[,HOST:PORT]` of the gateways, in turn (default 127.0.0.1 and the protocol's port)")
	fs.Var(&f.trackers, "trackers", "`FROM-TO` of the tracker ids that take part")
	fs.Float64Var(&f.rate, "rate", 1000,
		"messages a second, `NUMBER`; 0: none, the sessions are held")
	fs.DurationVar(&f.duration, "duration", 30*time.Second, "`TIME` of the sending")
	fs.IntVar(&f.broadcast, "broadcast", 0, "`NUMBER` of trackers of one request; 0: single sends")
	fs.IntVar(&f.size, "size", 100, "`NUMBER` of characters of a text")
	fs.IntVar(&f.storm, "storm", 0,
		"`NUMBER` of texts queued for each tracker before all devices connect at once; replaces --rate")
	fs.Var(&f.noAck, "no-ack",
		"`SHARE` of devices that never acknowledge: 5% or 0.05; latencies are of the others")
	fs.Var(&f.noRead, "no-read", "`SHARE` of devices that read nothing after their login")
	fs.DurationVar(&f.heartbeatEvery, "heartbeat-every", time.Minute,
		"`TIME` between a device's signs of life, 0: none")
	fs.Float64Var(&f.connectRate, "connect-rate", 2000,
		"most device connections per second, `NUMBER`")
	fs.DurationVar(&f.loginWithin, "login-within", time.Minute,
		"most `TIME` for the logins, beyond what the connect rate needs")
	fs.IntVar(&f.connections, "connections", 64, "`NUMBER` of connections to the API")
	fs.DurationVar(&f.drain, "drain", 15*time.Second,
		"most `TIME` after the sending for what is under way")
	fs.Var(&f.sources, "source",
		"local `ADDRESS[,ADDRESS]` that devices connect from, in turn (default: enough of 127.0.0.0/8 if the gateway is on loopback)")
	fs.Var(&f.pids, "pid",
		"`PID[,PID]` of the service's processes, whose CPU time and memory are reported")
	fs.StringVar(&f.plot, "plot", "", "`FILE` for an SVG of latencies and throughput")
	fs.BoolVar(&f.quiet, "quiet", false, "no line a second on standard error")
}

// options translates the flags.
func (f *loadFlags) options(set map[string]bool, stderr io.Writer) (load.Options, error) {
	if f.trackers.to == 0 {
		return load.Options{}, errors.New("--trackers is missing")
	}
	f.devices = int(min(f.trackers.to-f.firstTracker+1, maxDevices+1))
	if f.trackers.from < f.firstTracker {
		return load.Options{}, fmt.Errorf("--trackers begins before --first-tracker %d",
			f.firstTracker)
	}
	p, n, err := f.resolve()
	if err != nil {
		return load.Options{}, err
	}
	settings, err := p.NewSettings(f.settings)
	if err != nil {
		return load.Options{}, fmt.Errorf("--setting: %w", err)
	}
	if f.gateways == "" {
		f.gateways = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port))
	}
	if f.key == "" {
		f.key = defaultKey(p, n, f.firstTracker)
	}
	o := load.Options{
		API: f.api, Key: f.key, Gateways: strings.Split(f.gateways, ","), Protocol: p,
		Device:   protocol.DeviceConfig{Variant: f.variant, Settings: settings},
		DeviceID: func(tracker int64) string { return n.at(int(tracker - f.firstTracker)) },
		From:     f.trackers.from, To: f.trackers.to,
		Rate: f.rate, Duration: f.duration, Broadcast: f.broadcast, Size: f.size, Storm: f.storm,
		NoAck: float64(f.noAck), NoRead: float64(f.noRead),
		HeartbeatEvery: f.heartbeatEvery, ConnectRate: f.connectRate, LoginWithin: f.loginWithin,
		Connections: f.connections, Drain: f.drain, Sources: f.sources, PIDs: f.pids,
		Progress: stderr,
	}
	if f.quiet {
		o.Progress = nil
	}
	if f.storm > 0 {
		if set["rate"] {
			return o, errors.New("--storm replaces --rate")
		}
		o.Rate = 0
		if !set["connect-rate"] {
			o.ConnectRate = 1e6
		}
	}
	return o, nil
}

// runLoad puts a service under load; its exit code is exitBroken if a promise was broken.
func runLoad(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var f loadFlags
	fs := flag.NewFlagSet("trackersim load", flag.ContinueOnError)
	f.register(fs)
	if code, done := parse(fs, args, stdout, stderr); done {
		return code
	}
	set := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = true })
	o, err := f.options(set, stderr)
	if err != nil {
		return misused(fs, err, stderr)
	}
	report, err := load.Run(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "trackersim load: %v\n", err)
		if errors.Is(err, load.ErrOptions) {
			return exitMisused
		}
		return exitNobody
	}
	report.WriteTable(stdout)
	if err := writeReport(report, f.plot, stdout); err != nil {
		fmt.Fprintf(stderr, "trackersim load: %v\n", err)
		return exitNobody
	}
	if report.Broken() {
		return exitBroken
	}
	return exitOK
}

// writeReport writes the line for programs, and the drawing if there is to be one.
func writeReport(report *load.Report, plot string, stdout io.Writer) error {
	if err := report.WriteJSON(stdout); err != nil {
		return err
	}
	if plot == "" {
		return nil
	}
	file, err := os.Create(plot)
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	if err := errors.Join(report.WriteSVG(file), file.Close()); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	return nil
}

// span is a range of ids, both included.
type span struct{ from, to int64 }

func (s *span) String() string {
	if s.to == 0 {
		return ""
	}
	return fmt.Sprintf("%d-%d", s.from, s.to)
}

func (s *span) Set(text string) error {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if err1 != nil || err2 != nil || from < 1 || to < from {
		return errors.New("not FROM-TO")
	}
	s.from, s.to = from, to
	return nil
}

// numbers are process ids.
type numbers []int

func (n *numbers) String() string { return strings.Trim(fmt.Sprint([]int(*n)), "[]") }

func (n *numbers) Set(list string) error {
	*n = nil
	for word := range strings.SplitSeq(list, ",") {
		v, err := strconv.Atoi(word)
		if err != nil || v < 1 {
			return fmt.Errorf("%q is not a process id", word)
		}
		*n = append(*n, v)
	}
	return nil
}
