package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"trackchat/cmd/bench/process"
)

const (
	startTimeout = 60 * time.Second // of one process until it is ready
	lookEvery    = 20 * time.Millisecond
	lookTimeout  = time.Second
)

// Running is a stack whose processes run.
type Running struct {
	stack     Stack
	env       Env
	log       *os.File
	processes []*process.Process
}

// Start starts a stack on the data that is in its directory and waits until it is ready. Its
// processes write to log.
func (s Stack) Start(ctx context.Context, e Env, log *os.File) (*Running, error) {
	r := &Running{stack: s, env: e, log: log}
	if err := r.start(ctx); err != nil {
		r.Kill()
		return nil, err
	}
	return r, nil
}

func (r *Running) start(ctx context.Context) error {
	parts, err := r.stack.parts(r.env)
	if err != nil {
		return err
	}
	for _, p := range parts {
		running, err := process.Start(ctx, p.spec, r.log)
		if err != nil {
			return err
		}
		r.processes = append(r.processes, running)
		if err := p.wait(ctx, running); err != nil {
			return fmt.Errorf("%s did not get ready: %w", p.spec.Name, err)
		}
	}
	return nil
}

// Restart starts the processes again after Kill.
func (r *Running) Restart(ctx context.Context) error { return r.start(ctx) }

// PIDs are the ids of the processes.
func (r *Running) PIDs() (pids []int) {
	for _, p := range r.processes {
		pids = append(pids, p.PID())
	}
	return pids
}

// Kill kills all processes as kill -9 does.
func (r *Running) Kill() {
	for _, p := range r.processes {
		p.Signal9()
	}
	for _, p := range r.processes {
		<-p.Done()
	}
	r.processes = nil
}

// Stop ends all processes, the last one first.
func (r *Running) Stop() {
	for _, p := range slices.Backward(r.processes) {
		p.Stop()
	}
	r.processes = nil
}

// check looks whether something is ready.
type check func(ctx context.Context) error

var errEnded = errors.New("it has ended")

// wait waits until a part is ready.
func (p part) wait(ctx context.Context, running *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, c := range p.ready {
		for {
			look, done := context.WithTimeout(ctx, lookTimeout)
			err := c(look)
			done()
			if err == nil {
				break
			}
			select {
			case <-running.Done():
				return fmt.Errorf("%w: %w", errEnded, running.Err())
			case <-ctx.Done():
				return err
			case <-time.After(lookEvery):
			}
		}
	}
	return nil
}

// open is ready when a port takes connections.
func open(port int) check {
	return func(ctx context.Context) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", Addr(port))
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// pong is ready when Redis has read its data.
func pong(port int) check {
	return func(ctx context.Context) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", Addr(port))
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(lookTimeout)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return err
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "+PONG") {
			err = errors.New(strings.TrimSpace(line))
		}
		return err
	}
}

// answers is ready when a URL answers with 200.
func answers(url string) check {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}
}

// FreePorts finds ports from a number on that nobody listens on. They are below those that Linux
// gives to clients, or a device could take one while the stack is down.
func FreePorts(ctx context.Context, from int) (p Ports, err error) {
	for _, port := range []*int{&p.HTTP, &p.Gateway, &p.Admin, &p.Redis, &p.NATS} {
		for ; ; from++ {
			if from > 1<<16-1 {
				return p, errors.New("no port is free")
			}
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", Addr(from))
			if err == nil {
				*port = from
				from++
				if err := l.Close(); err != nil {
					return p, fmt.Errorf("looking for a port: %w", err)
				}
				break
			}
		}
	}
	return p, nil
}
