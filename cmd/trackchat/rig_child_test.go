package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trackchat/protocol/all"
	"trackchat/queue/queuetest"
)

// childVariable makes the test binary run the command line in it instead of tests, so that tests
// can kill a real process.
const childVariable = "TRACKCHAT_TEST_CHILD"

// runOr runs the tests, or in a child the program, which ends the process.
func runOr(m *testing.M, program func()) int {
	if args, child := os.LookupEnv(childVariable); child {
		_ = os.Unsetenv(childVariable)
		os.Args = append(os.Args[:1], strings.Split(args, "\x1f")...)
		program()
	}
	return m.Run()
}

// childAPITimeout is api.timeout of every child.
const childAPITimeout = "2s"

// childOptions say what a child is; the zero value is a whole service with a store of its own.
type childOptions struct {
	node       string   // "child"
	roles      []string // both
	redis      []string // addresses of its store; none: embedded
	durability string   // always
	trackers   int      // of its directory
	directory  string   // instead of one with so many trackers
	extra      string   // lines of its configuration
}

// child is trackchat in a process of its own, on ports that stay the same over restarts.
type child struct {
	t      testing.TB
	dir    string
	ports  map[string]string // by protocol, "api" and "admin"
	cmd    *exec.Cmd         // nil while it does not run
	log    *bytes.Buffer     // of all its lives; not to be read while it runs
	exited chan struct{}     // closed when cmd has ended
	err    error             // of its end, valid after exited
}

func newChild(tb testing.TB, o childOptions) *child {
	tb.Helper()
	c := &child{t: tb, dir: tb.TempDir(), ports: map[string]string{}, log: new(bytes.Buffer)}
	must(tb, os.WriteFile(c.directory(), []byte(cmp.Or(o.directory, directoryYAML(o.trackers))),
		0o600))
	must(tb, os.WriteFile(c.config(), []byte(c.configYAML(o)), 0o600))
	tb.Cleanup(func() {
		c.kill()
		if tb.Failed() {
			text := c.log.Bytes()
			tb.Logf("log of %s:\n%s", o.node, text[max(0, len(text)-6000):])
		}
	})
	return c
}

func (c *child) config() string { return filepath.Join(c.dir, "trackchat.yaml") }

func (c *child) directory() string { return filepath.Join(c.dir, "directory.yaml") }

func (c *child) configYAML(o childOptions) string {
	c.ports["api"], c.ports["admin"] = freeAddr(c.t), freeAddr(c.t)
	var listeners []string
	for _, p := range all.Protocols() {
		c.ports[p.Name] = freeAddr(c.t)
		listeners = append(listeners, fmt.Sprintf("{protocol: %s, listen: %q}", p.Name,
			c.ports[p.Name]))
	}
	o.node, o.durability = cmp.Or(o.node, "child"), cmp.Or(o.durability, DurabilityAlways)
	if len(o.roles) == 0 {
		o.roles = []string{RoleAPI, RoleGateway}
	}
	store := fmt.Sprintf("path: %q", filepath.Join(c.dir, "data"))
	if len(o.redis) > 0 {
		store = fmt.Sprintf("backend: redis, redis: {addrs: ['%s']}", strings.Join(o.redis, "', '"))
	}
	return fmt.Sprintf("node: %s\nroles: [%s]\nstore: {durability: %s, %s}\napi: {listen: %q, rate_limit: 0, timeout: %s}\nadmin: {listen: %q}\ndirectory: {file: %q}\n"+
		"gateway: {ack_timeout: [2s, 4s], retry_idle: 2s, listeners: [%s]}\n%s",
		o.node, strings.Join(o.roles, ", "), o.durability, store, c.ports["api"], childAPITimeout,
		c.ports["admin"], c.directory(), strings.Join(listeners, ", "), o.extra)
}

// command runs the test binary as trackchat with args.
func command(args ...string) *exec.Cmd {
	if bin := os.Getenv("TRACKCHAT_BIN"); bin != "" {
		// a binary built elsewhere, without the race detector
		return queuetest.DieWithParent(exec.Command(bin, args...))
	}
	cmd := queuetest.DieWithParent(exec.Command(os.Args[0]))
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(args, "\x1f"))
	return cmd
}

// start runs the child and waits until it is ready.
func (c *child) start() {
	c.t.Helper()
	c.launch()
	c.awaitReady()
}

// launch runs the child.
func (c *child) launch() {
	c.t.Helper()
	c.run(command("serve", "--config", c.config()))
}

func (c *child) run(cmd *exec.Cmd) {
	c.t.Helper()
	c.cmd = cmd
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	must(c.t, c.cmd.Start())
	c.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		c.err = cmd.Wait()
		close(exited)
	}(c.cmd, c.exited)
}

// awaitReady waits until the child says that it is ready.
func (c *child) awaitReady() {
	c.t.Helper()
	eventually(c.t, "ready", func() bool {
		select {
		case <-c.exited:
			c.t.Fatalf("the child ended: %v\n%s", c.err, c.log)
		default:
		}
		res, err := http.Get("http://" + c.ports["admin"] + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// kill ends the child as kill -9 does.
func (c *child) kill() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Kill() // it may have ended by itself
	<-c.exited
	c.cmd = nil
}

func (c *child) client() client {
	return client{t: c.t, base: "http://" + c.ports["api"] + "/v2/tracker/chat/"}
}

// metric adds up the samples of a metric that hold all the labels, given as name="value". Labelled
// ones appear with the first sample.
func (c *child) metric(name string, labels ...string) float64 {
	c.t.Helper()
	return metric(c.t, c.ports["admin"], name, labels...)
}
