// Package load is the generator: it sends texts to a stack by HTTP in closed and open loops, plays
// the devices, and reads every status back.
package load

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trackchat/cmd/bench/report"
)

// APIs that the generator can talk to.
const (
	Front     = "front"     // POST /send and /status of a peer's front
	Trackchat = "trackchat" // the product's send, broadcast and list
)

// Options are those of one run.
type Options struct {
	Stack    string // for the report
	Scenario string
	Round    int

	API     string // Front or Trackchat
	Key     string // of the API
	HTTP    string // address
	Gateway string // address for the devices
	Speak   string // what devices speak
	AckQoS  int    // of the acknowledgement that MQTT devices publish
	PIDs    pids   // processes of the stack

	Devices     int
	Deaf        int           // of them read nothing
	Texts       int           // for each deaf device, or each device of a storm
	Connections int           // to the API
	Window      int64         // most texts accepted and not at their device, closed loop
	Settle      time.Duration // idle: before the first login and after the last
	Warm        time.Duration // closed loop before anything is measured
	Send        time.Duration // each phase
	Least       int           // texts of a measured closed loop, however long they take
	Rate        float64       // of open loops that are the same for all stacks, texts a second
	Batch       int           // texts of a broadcast
	Size        int           // characters of a text
	Patience    time.Duration // without any news before what is missing is given up
	Limit       time.Duration // of anything that has to be prepared: logins, queues
}

// fastest bounds how many texts a second a closed loop has room for in the ledger.
const fastest = 60_000

// Register adds a flag for each option; the values that they have are the defaults.
func (o *Options) Register(fs *flag.FlagSet) {
	fs.StringVar(&o.Stack, "stack", o.Stack, "`name` for the report")
	fs.StringVar(&o.Scenario, "scenario", o.Scenario, strings.Join(report.Scenarios(), ", "))
	fs.IntVar(&o.Round, "round", o.Round, "`number` for the report")
	fs.StringVar(&o.API, "api", o.API, "front or trackchat")
	fs.StringVar(&o.Key, "key", o.Key, "API `key` (trackchat)")
	fs.StringVar(&o.HTTP, "http", o.HTTP, "`address` of the API")
	fs.StringVar(&o.Gateway, "gateway", o.Gateway, "`address` that devices connect to")
	fs.StringVar(&o.Speak, "speak", o.Speak, "what devices speak: mqtt or jt808")
	fs.IntVar(&o.AckQoS, "ack-qos", o.AckQoS, "QoS of the devices' acknowledgements (mqtt)")
	fs.Var(&o.PIDs, "pids", "`ids` of the stack's processes, with commas")
	fs.IntVar(&o.Devices, "devices", o.Devices, "")
	fs.IntVar(&o.Deaf, "deaf", o.Deaf, "so many of them read nothing after their login")
	fs.IntVar(&o.Texts, "texts", o.Texts, "queued for each deaf or reconnecting device")
	fs.IntVar(&o.Connections, "connections", o.Connections, "to the API")
	fs.Int64Var(&o.Window, "window", o.Window, "closed loop: most texts on their way")
	fs.DurationVar(&o.Settle, "settle", o.Settle, "idle: before the first login, and after the last")
	fs.DurationVar(&o.Warm, "warm", o.Warm, "closed loop before anything is measured")
	fs.DurationVar(&o.Send, "send", o.Send, "length of each phase")
	fs.IntVar(&o.Least, "least", o.Least, "texts of a closed loop, however long they take")
	fs.Float64Var(&o.Rate, "rate", o.Rate, "texts a second, open loop")
	fs.IntVar(&o.Batch, "batch", o.Batch, "texts of a broadcast")
	fs.IntVar(&o.Size, "size", o.Size, "characters of a text")
	fs.DurationVar(&o.Patience, "patience", o.Patience, "without news, then texts are given up")
	fs.DurationVar(&o.Limit, "limit", o.Limit, "of logins and of queueing")
}

// Args are the arguments that give these options.
func (o *Options) Args() (args []string) {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	copied := *o
	copied.Register(fs)
	fs.VisitAll(func(f *flag.Flag) { args = append(args, "-"+f.Name+"="+f.Value.String()) })
	return args
}

// Default returns what the benchmark uses where nothing else is said.
func Default() Options {
	return Options{
		Scenario: report.Rate, API: Front, HTTP: "127.0.0.1:24080", Gateway: "127.0.0.1:24883",
		Speak: "mqtt", AckQoS: 1, Devices: 1000, Connections: 128, Window: 4096,
		Settle: 30 * time.Second, Warm: time.Second, Send: 8 * time.Second, Rate: 3000,
		Batch: 300, Size: 100, Patience: 20 * time.Second,
		Limit: 4 * time.Minute,
	}
}

func (o *Options) check() error {
	switch {
	case !slices.Contains(report.Scenarios(), o.Scenario):
		return fmt.Errorf("there is no scenario %q", o.Scenario)
	case o.API != Front && o.API != Trackchat:
		return fmt.Errorf("there is no API %q", o.API)
	case o.Devices < 1 || o.Connections < 1 || o.Batch < 1 || o.Deaf < 0 || o.Texts < 0 ||
		o.Least < 0:
		return errors.New("numbers must be positive")
	case o.Deaf >= o.Devices:
		return errors.New("no device is left that reads")
	case o.Send <= 0 || o.Patience <= 0 || o.Limit <= 0 || o.Rate <= 0:
		return errors.New("lengths of time and rates must be positive")
	case o.Batch > o.Devices && o.Scenario == report.Broadcast:
		return errors.New("a broadcast has more texts than there are devices")
	}
	return nil
}

// room is how many texts the run may have at most.
func (o *Options) room() int {
	closed := int((o.Warm+o.Send).Seconds()*fastest) + o.Least
	open := int(o.Send.Seconds()*o.Rate) + 1
	switch o.Scenario {
	case report.Idle:
		return 0
	case report.Kill:
		return open
	case report.Deaf:
		return int(o.Warm.Seconds()*fastest) + 2*open + o.Deaf*o.Texts
	case report.Storm:
		return o.Devices * o.Texts
	default: // the open loops are at most as fast as the closed one
		return 2*closed + open
	}
}

// pids is a flag.
type pids []int

func (p *pids) String() string {
	words := make([]string, 0, len(*p))
	for _, pid := range *p {
		words = append(words, strconv.Itoa(pid))
	}
	return strings.Join(words, ",")
}

// Set takes ids with commas between them.
func (p *pids) Set(s string) error {
	*p = nil
	for word := range strings.SplitSeq(s, ",") {
		if word == "" {
			continue
		}
		pid, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("the id of a process: %w", err)
		}
		*p = append(*p, pid)
	}
	return nil
}
