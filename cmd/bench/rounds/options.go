// Package rounds measures stacks in interleaved rounds: it starts each, runs the generator, kills
// the stack where the scenario wants that, and keeps what came out.
package rounds

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"trackchat/cmd/bench/load"
	"trackchat/cmd/bench/report"
	"trackchat/cmd/bench/stack"
)

// Options say what is measured, and how much of it.
type Options struct {
	stack.Binaries

	Root      string // of the repository, for the commit
	Out       string // directory for everything that is written
	Stacks    []stack.Stack
	Named     bool // the stacks were named: scenarios other than rate are for defaults, too
	Scenarios []string
	Pin       bool // stack on core 0, generator and devices on core 1
	Port      int  // the stacks listen on the first free ones from it on

	Rounds       int // of rate, broadcast and storm
	Kills        int // rounds of kill
	MemoryRounds int // of idle and deaf
	Send         time.Duration
	Warm         time.Duration
	Least        int           // texts of each closed loop, however long they take
	Settle       time.Duration // of idle, before the first login

	Devices      int
	IdleDevices  int
	StormDevices int
	StormTexts   int     // for each device
	DeafTexts    int     // for each deaf device, which a fifth of Devices are
	Rate         float64 // that is the same for all stacks
	KillRate     float64
	DeafRate     float64       // to the devices that are not deaf
	Limit        time.Duration // of logins and queues
}

// Default returns the full benchmark.
func Default() Options {
	return Options{
		Scenarios: report.Scenarios(), Pin: true, Port: 24000, Rounds: 3, Kills: 5,
		MemoryRounds: 1, Send: 8 * time.Second, Warm: time.Second, Settle: time.Minute,
		Devices:     1000,
		IdleDevices: 10_000, StormDevices: 10_000, StormTexts: 10, DeafTexts: 400, Rate: 3000,
		KillRate: 800, DeafRate: 400, Limit: 4 * time.Minute,
	}
}

func (o *Options) check() error {
	for _, s := range o.Scenarios {
		if !slices.Contains(report.Scenarios(), s) {
			return fmt.Errorf("there is no scenario %q", s)
		}
	}
	if o.Rounds < 1 || o.Kills < 1 || o.MemoryRounds < 1 {
		return errors.New("there must be a round")
	}
	return nil
}

// deafShare is how many devices there are for each deaf one.
const deafShare = 5

// task is one run.
type task struct {
	stack    stack.Stack
	scenario string
	round    int
}

// tasks are all runs in their order: scenario by scenario, within them round by round. Each round
// begins with another stack, so that none always follows the same one.
func (o *Options) tasks() (all []task) {
	for _, scenario := range o.Scenarios {
		rounds := o.Rounds
		switch scenario {
		case report.Kill:
			rounds = o.Kills
		case report.Idle, report.Deaf:
			rounds = o.MemoryRounds
		}
		for round := range rounds {
			first := round * len(o.Stacks) / rounds
			for _, s := range slices.Concat(o.Stacks[first:], o.Stacks[:first]) {
				if o.applies(s, scenario) {
					all = append(all, task{s, scenario, round + 1})
				}
			}
		}
	}
	return all
}

func (o *Options) applies(s stack.Stack, scenario string) bool {
	switch {
	case scenario == report.Broadcast:
		return !s.Peer
	case scenario == report.Rate || o.Named:
		return true
	default:
		return !s.Peer || s.Tuned
	}
}

// load are the generator's options.
func (o *Options) load(t task, p stack.Ports, pids []int) load.Options {
	l := load.Default()
	l.Stack, l.Scenario, l.Round = t.stack.Name, t.scenario, t.round
	l.API, l.Key, l.Speak, l.AckQoS = t.stack.API, stack.Key, t.stack.Speak, t.stack.AckQoS
	l.HTTP, l.Gateway, l.PIDs = stack.Addr(p.HTTP), stack.Addr(p.Gateway), pids
	l.Devices, l.Send, l.Warm, l.Patience = o.devices(t.scenario), o.Send, o.Warm, t.stack.Patience
	l.Rate, l.Limit, l.Settle, l.Least = o.Rate, o.Limit, o.Settle, o.Least
	switch t.scenario {
	case report.Broadcast:
		l.Batch, l.Connections = min(l.Batch, l.Devices), 16
		l.Window = 1 << 14
	case report.Kill:
		l.Rate = o.KillRate
	case report.Deaf:
		l.Deaf, l.Texts, l.Rate = l.Devices/deafShare, o.DeafTexts, o.DeafRate
	case report.Storm:
		l.Texts = o.StormTexts
	}
	return l
}

func (o *Options) devices(scenario string) int {
	switch scenario {
	case report.Idle:
		return o.IdleDevices
	case report.Storm:
		return o.StormDevices
	default:
		return o.Devices
	}
}
