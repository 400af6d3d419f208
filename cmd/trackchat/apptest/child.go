package apptest

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

	"trackchat/cmd/trackchat/config"
	"trackchat/protocol/all"
	"trackchat/queue/queuetest"
)

// childVariable makes the test binary run the command line in it instead of tests, so that tests
// can kill a real process.
const childVariable = "TRACKCHAT_TEST_CHILD"

// Main runs the tests, or in a child the program, which ends the process.
func Main(m *testing.M, program func()) int {
	if args, child := os.LookupEnv(childVariable); child {
		_ = os.Unsetenv(childVariable)
		os.Args = append(os.Args[:1], strings.Split(args, "\x1f")...)
		program()
	}
	return m.Run()
}

// ChildAPITimeout is api.timeout of every child.
const ChildAPITimeout = "2s"

// ChildOptions say what a child is; the zero value is a whole service with a store of its own.
type ChildOptions struct {
	Node       string   // "child"
	Roles      []string // both
	Redis      []string // addresses of its store; none: embedded
	Durability string   // always
	Trackers   int      // of its directory
	Directory  string   // instead of one with so many trackers
	Extra      string   // lines of its configuration
}

// Child is trackchat in a process of its own, on ports that stay the same over restarts.
type Child struct {
	T      testing.TB
	Dir    string
	Ports  map[string]string // by protocol, "api" and "admin"
	Cmd    *exec.Cmd         // nil while it does not run
	Log    *bytes.Buffer     // of all its lives; not to be read while it runs
	Exited chan struct{}     // closed when cmd has ended
	Err    error             // of its end, valid after exited
}

// NewChild prepares a child; Start runs it.
func NewChild(tb testing.TB, o ChildOptions) *Child {
	tb.Helper()
	c := &Child{T: tb, Dir: tb.TempDir(), Ports: map[string]string{}, Log: new(bytes.Buffer)}
	Must(tb, os.WriteFile(c.Directory(), []byte(cmp.Or(o.Directory, DirectoryYAML(o.Trackers))),
		0o600))
	Must(tb, os.WriteFile(c.Config(), []byte(c.configYAML(o)), 0o600))
	tb.Cleanup(func() {
		c.Kill()
		if tb.Failed() {
			text := c.Log.Bytes()
			tb.Logf("log of %s:\n%s", o.Node, text[max(0, len(text)-6000):])
		}
	})
	return c
}

func (c *Child) Config() string { return filepath.Join(c.Dir, "trackchat.yaml") }

func (c *Child) Directory() string { return filepath.Join(c.Dir, "directory.yaml") }

func (c *Child) configYAML(o ChildOptions) string {
	c.Ports["api"], c.Ports["admin"] = queuetest.FreeAddr(c.T), queuetest.FreeAddr(c.T)
	protocols := all.Protocols()
	listeners := make([]string, 0, len(protocols))
	for _, p := range protocols {
		c.Ports[p.Name] = queuetest.FreeAddr(c.T)
		listeners = append(listeners, fmt.Sprintf("{protocol: %s, listen: %q}", p.Name,
			c.Ports[p.Name]))
	}
	o.Node, o.Durability = cmp.Or(o.Node, "child"), cmp.Or(o.Durability, config.DurabilityAlways)
	if len(o.Roles) == 0 {
		o.Roles = []string{config.RoleAPI, config.RoleGateway}
	}
	store := fmt.Sprintf("path: %q", filepath.Join(c.Dir, "data"))
	if len(o.Redis) > 0 {
		store = fmt.Sprintf("backend: redis, redis: {addrs: ['%s']}", strings.Join(o.Redis, "', '"))
	}
	return fmt.Sprintf("node: %s\nroles: [%s]\nstore: {durability: %s, %s}\napi: {listen: %q, rate_limit: 0, timeout: %s}\nadmin: {listen: %q}\ndirectory: {file: %q}\n"+
		"gateway: {ack_timeout: [2s, 4s], retry_idle: 2s, listeners: [%s]}\n%s",
		o.Node, strings.Join(o.Roles, ", "), o.Durability, store, c.Ports["api"], ChildAPITimeout,
		c.Ports["admin"], c.Directory(), strings.Join(listeners, ", "), o.Extra)
}

// Command runs the test binary as trackchat with args.
func Command(args ...string) *exec.Cmd {
	if bin := os.Getenv("TRACKCHAT_BIN"); bin != "" {
		// a binary built elsewhere, without the race detector
		return queuetest.DieWithParent(exec.Command(bin, args...))
	}
	cmd := queuetest.DieWithParent(exec.Command(os.Args[0]))
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(args, "\x1f"))
	return cmd
}

// Start runs the child and waits until it is ready.
func (c *Child) Start() {
	c.T.Helper()
	c.Launch()
	c.AwaitReady()
}

// Launch runs the child.
func (c *Child) Launch() {
	c.T.Helper()
	c.Run(Command("serve", "--config", c.Config()))
}

func (c *Child) Run(cmd *exec.Cmd) {
	c.T.Helper()
	c.Cmd = cmd
	c.Cmd.Stdout, c.Cmd.Stderr = c.Log, c.Log
	Must(c.T, c.Cmd.Start())
	c.Exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		c.Err = cmd.Wait()
		close(exited)
	}(c.Cmd, c.Exited)
}

// AwaitReady waits until the child says that it is ready.
func (c *Child) AwaitReady() {
	c.T.Helper()
	Eventually(c.T, "ready", func() bool {
		select {
		case <-c.Exited:
			c.T.Fatalf("the child ended: %v\n%s", c.Err, c.Log)
		default:
		}
		res, err := http.Get("http://" + c.Ports["admin"] + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// Kill ends the child as kill -9 does.
func (c *Child) Kill() {
	if c.Cmd == nil {
		return
	}
	_ = c.Cmd.Process.Kill() // it may have ended by itself
	<-c.Exited
	c.Cmd = nil
}

func (c *Child) Client() Client {
	return Client{T: c.T, Base: "http://" + c.Ports["api"] + "/v2/tracker/chat/"}
}

// Metric adds up the samples of a metric that hold all the labels, given as name="value". Labelled
// ones appear with the first sample.
func (c *Child) Metric(name string, labels ...string) float64 {
	c.T.Helper()
	return Metric(c.T, c.Ports["admin"], name, labels...)
}
