package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
)

const driverHelp = `What you type is said by the driver. Commands:
  /hold      from now on texts wait for /ack or /refuse; /hold again: they are acknowledged by
             themselves
  /ack       acknowledges the oldest text that waits
  /refuse    refuses it
  /1 to /9   answers the newest text that had choices by one of them
  /drop      cuts the connection; the device connects again
  /quit
`

// driver is a person at one tracker.
type driver struct {
	sim    *trackersim.Tracker
	mu     sync.Mutex
	out    io.Writer
	hold   bool
	open   []protocol.DeviceEvent // texts that wait for the driver
	asked  *protocol.DeviceEvent  // the newest text with choices
	logins int
}

// drive plays one tracker for a person who types on in, until in or ctx ends. It shows on out what
// happens.
func drive(ctx context.Context, f *fleetFlags, n ids, common trackersim.Options, in io.Reader,
	out io.Writer,
) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d := &driver{out: out}
	o := f.lay(common)
	o.Device.ID = n.at(0)
	o.OnText, o.OnEvent = d.decide(f), d.show
	if len(f.sources) > 0 {
		o.Source = f.sources[0]
	}
	d.sim = trackersim.New(o)
	ended := make(chan error, 1)
	go func() { ended <- d.sim.Run(ctx) }()
	d.tell("%s", driverHelp)
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	err := d.listen(ctx, lines, ended)
	stop()
	if err == nil {
		err = <-ended
	}
	if err != nil {
		d.tell("%v\n", err)
	}
	if d.count() == 0 {
		return exitNobody
	}
	return exitOK
}

// listen obeys the driver until there is nothing more to come; the error is the tracker's.
func (d *driver) listen(ctx context.Context, lines <-chan string, ended <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return errors.Join(errors.New("the connection has ended"), err)
		case line, ok := <-lines:
			if !ok || strings.TrimSpace(line) == "/quit" {
				return nil
			}
			d.obey(ctx, strings.TrimSpace(line))
		}
	}
}

func (d *driver) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logins
}

func (d *driver) tell(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = fmt.Fprintf(d.out, format, args...) // a terminal that is gone ends the input too
}

// decide keeps a text open while the driver holds texts, else does what the flags say.
func (d *driver) decide(f *fleetFlags) func(protocol.DeviceEvent) trackersim.Action {
	return func(e protocol.DeviceEvent) trackersim.Action {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(e.Choices) > 0 {
			d.asked = &e
		}
		if d.hold {
			d.open = append(d.open, e)
			return trackersim.Action{Never: true}
		}
		return trackersim.Action{Delay: f.ackDelay, Reply: f.reply}
	}
}

// show tells what happens to the tracker.
func (d *driver) show(e trackersim.Event) {
	switch e.Kind {
	case trackersim.LoggedIn:
		d.mu.Lock()
		d.logins++
		d.mu.Unlock()
		d.tell("-- %s logged in\n", e.DeviceID)
	case trackersim.TextReceived:
		marks := ""
		if e.Text.Urgent {
			marks = " (urgent)"
		}
		if e.Repeated {
			marks += " (again)"
		}
		d.tell("<< %s%s\n", e.Text.Body, marks)
		for i, choice := range e.Text.Choices {
			d.tell("   /%d %s\n", i+1, choice)
		}
	case trackersim.TextAcked:
		d.tell("-- acknowledged\n")
	case trackersim.SaidAcked:
		d.tell("-- the gateway has it: %s\n", e.Said)
	case trackersim.SaidRefused:
		d.tell("-- refused: %s\n", e.Said)
	case trackersim.Refused, trackersim.DialFailed, trackersim.Disconnected:
		d.tell("-- %s\n", because(e))
	default:
	}
}

func because(e trackersim.Event) string {
	if e.Err == nil {
		return e.Kind.String()
	}
	return e.Kind.String() + ": " + e.Err.Error()
}

// obey carries out one line.
func (d *driver) obey(ctx context.Context, line string) {
	var err error
	command, isCommand := strings.CutPrefix(line, "/")
	switch {
	case line == "":
	case !isCommand:
		go func() { _ = d.sim.Say(ctx, line) }() // its events tell what became of it
	case command == "hold":
		d.mu.Lock()
		d.hold = !d.hold
		d.mu.Unlock()
	case command == "ack":
		err = d.settle(protocol.AckDelivered)
	case command == "refuse":
		err = d.settle(protocol.AckRejected)
	case command == "drop":
		d.sim.Disconnect()
	default:
		err = d.choose(command)
	}
	if err != nil {
		d.tell("-- %v\n", err)
	}
}

// settle says the driver's word about the oldest text that waits.
func (d *driver) settle(o protocol.Outcome) error {
	d.mu.Lock()
	if len(d.open) == 0 {
		d.mu.Unlock()
		return errors.New("no text waits")
	}
	e := d.open[0]
	d.open = d.open[1:]
	d.mu.Unlock()
	return d.sim.Ack(e, o)
}

func (d *driver) choose(command string) error {
	n, err := strconv.Atoi(command)
	d.mu.Lock()
	asked := d.asked
	d.mu.Unlock()
	switch {
	case err != nil:
		return fmt.Errorf("unknown command /%s", command)
	case asked == nil || n < 1 || n > len(asked.Choices):
		return errors.New("no text has such a choice")
	}
	return d.sim.Choose(*asked, n)
}
