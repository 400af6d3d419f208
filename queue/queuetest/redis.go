package queuetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// RedisServer is a private redis-server on a port of loopback with its data in a temporary
// directory. It always keeps an append-only file.
type RedisServer struct {
	Addr string
	Dir  string

	args func(r *RedisServer, port string) []string
	log  string

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd  // nil while it does not run
}

// StartRedis starts a server and ends it with the test. args are further options of redis-server,
// such as "--appendfsync", "everysec"; the default is always.
func StartRedis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	return startServer(tb, func(r *RedisServer, port string) []string {
		return append([]string{
			"--port", port, "--bind", "127.0.0.1", "--dir", r.Dir, "--logfile", r.log, "--save", "",
			"--appendonly", "yes", "--appendfsync", "always",
			"--auto-aof-rewrite-percentage", "0", "--daemonize", "no",
		}, args...)
	})
}

func startServer(tb testing.TB, args func(r *RedisServer, port string) []string) *RedisServer {
	tb.Helper()
	var last error
	for range 5 { // another process may take the port in between
		addr := FreeAddr(tb)
		r := &RedisServer{Addr: addr, Dir: tb.TempDir(), args: args}
		r.log = filepath.Join(r.Dir, "redis.log")
		if last = r.start(tb.Context()); last == nil {
			tb.Cleanup(func() {
				r.Kill(tb)
				if tb.Failed() {
					r.tell(tb)
				}
			})
			return r
		}
	}
	tb.Fatalf("starting redis-server: %v", last)
	return nil
}

// Ports of servers under test, and those of a Cluster's bus, which lie busOffset above: two ranges
// apart, both below the ports that the system gives to connections, so that none of those sits on
// the port of a server that is restarted.
const (
	firstPort = 10_240
	lastPort  = 20_240
	busOffset = 10_000
)

// FreeAddr gives out no port twice; test binaries that run side by side begin at different ones.
//
//nolint:gochecknoglobals // one for the process
var beginPort, portsGiven = rand.Int64N(lastPort - firstPort), new(atomic.Int64)

// FreeAddr returns an address that nobody listens on, nor on the port of a Cluster's bus for it.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	for range lastPort - firstPort {
		port := firstPort + int((beginPort+portsGiven.Add(1))%(lastPort-firstPort))
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		bus := fmt.Sprintf("127.0.0.1:%d", port+busOffset)
		if free(tb.Context(), addr) && free(tb.Context(), bus) {
			return addr
		}
	}
	tb.Fatalf("no free port from %d to %d", firstPort, lastPort)
	return ""
}

func free(ctx context.Context, addr string) bool {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// start starts the process and waits until it answers.
func (r *RedisServer) start(ctx context.Context) error {
	_, port, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return fmt.Errorf("address of the server: %w", err)
	}
	// It outlives the test's context by its clean-up.
	cmd := DieWithParent(exec.CommandContext(context.WithoutCancel(ctx), "redis-server",
		r.args(r, port)...))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("redis-server (package redis-server must be installed): %w", err)
	}
	r.mu.Lock()
	r.cmd = cmd
	r.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		answer, err := r.Do(ctx, "PING")
		if err == nil && answer == "PONG" {
			return nil
		}
		if limited.Err() != nil ||
			errors.Is(cmd.Process.Signal(syscall.Signal(0)), os.ErrProcessDone) ||
			exited(cmd.Process.Pid) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return fmt.Errorf("redis-server does not answer: %q %w", answer, err)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// exited reports whether a child process has ended and waits to be reaped.
func exited(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// tell copies the server's log into the test's.
func (r *RedisServer) tell(tb testing.TB) {
	tb.Helper()
	if text, err := os.ReadFile(r.log); err == nil {
		tb.Logf("log of redis-server %s:\n%s", r.Addr, text[max(0, len(text)-4000):])
	}
}

// Kill ends the process as kill -9 does.
func (r *RedisServer) Kill(tb testing.TB) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	if err := r.cmd.Process.Kill(); err != nil {
		tb.Errorf("killing redis-server: %v", err)
	}
	_ = r.cmd.Wait() // says that it was killed
	r.cmd = nil
}

// Start starts the process again over the same data.
func (r *RedisServer) Start(tb testing.TB) {
	tb.Helper()
	if err := r.start(context.WithoutCancel(tb.Context())); err != nil {
		r.tell(tb)
		tb.Fatal(err)
	}
}

// Restart is Kill and Start.
func (r *RedisServer) Restart(tb testing.TB) {
	tb.Helper()
	r.Kill(tb)
	r.Start(tb)
}

// Pause stops the process without ending it; its connections stay open and silent.
func (r *RedisServer) Pause(tb testing.TB) { tb.Helper(); r.signal(tb, syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (r *RedisServer) Resume(tb testing.TB) { tb.Helper(); r.signal(tb, syscall.SIGCONT) }

func (r *RedisServer) signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.cmd.Process.Signal(s); err != nil {
		tb.Fatalf("signalling redis-server: %v", err)
	}
}

// Must is Do for commands that cannot fail.
func (r *RedisServer) Must(tb testing.TB, args ...string) string {
	tb.Helper()
	answer, err := r.Do(tb.Context(), args...)
	if err != nil {
		tb.Fatalf("redis %q: %v", args, err)
	}
	return answer
}

// Do runs one command over a connection of its own. Elements of a list are divided by newlines.
func (r *RedisServer) Do(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return "", fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = c.Close() }()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", fmt.Errorf("setting the deadline: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", fmt.Errorf("asking: %w", err)
	}
	return readReply(bufio.NewReader(c))
}

// readReply reads one answer of the Redis protocol (RESP2).
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	switch kind, rest := line[0], line[1:]; kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		b := make([]byte, n+2)
		_, err = io.ReadFull(r, b)
		return string(b[:n]), err
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil {
			return "", fmt.Errorf("length of a list: %w", err)
		}
		var list []string
		for range n {
			s, err := readReply(r)
			if err != nil {
				return "", err
			}
			list = append(list, s)
		}
		return strings.Join(list, "\n"), nil
	default:
		return "", fmt.Errorf("unknown answer %q", line)
	}
}

// CrashChild reports whether this process is one that Crash has started to be killed; what it needs
// of the outside is there already.
func CrashChild() bool { return os.Getenv(crashEnv) != "" }

// StartSentinel starts a Sentinel that alone watches a master, with further options, and ends it
// with the test.
func StartSentinel(tb testing.TB, name, master string, args ...string) *RedisServer {
	tb.Helper()
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), "sentinel.conf")
	text := fmt.Sprintf(
		"sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 3000\n", name, host, port, name, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return startServer(tb, func(r *RedisServer, port string) []string {
		return append([]string{
			file, "--sentinel", "--port", port, "--bind", "127.0.0.1",
			"--logfile", r.log,
		}, args...)
	})
}

// RedisCluster is a Redis Cluster, by its masters.
type RedisCluster struct{ Nodes []*RedisServer }

// clusterSlots is the number of hash slots of a Redis Cluster.
const clusterSlots = 16384

// StartCluster starts a cluster of n masters that share the slots evenly, and ends it with the
// test.
func StartCluster(tb testing.TB, n int, args ...string) *RedisCluster {
	tb.Helper()
	c := new(RedisCluster)
	for range n {
		c.Nodes = append(c.Nodes, StartRedis(tb, append(clusterArgs(), args...)...))
	}
	for i, node := range c.Nodes {
		node.Must(tb, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*clusterSlots/n),
			fmt.Sprint((i+1)*clusterSlots/n-1))
		node.Must(tb, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		host, port, err := net.SplitHostPort(node.Addr)
		if err != nil {
			tb.Fatal(err)
		}
		c.Nodes[0].Must(tb, "CLUSTER", "MEET", host, port)
	}
	c.Await(tb)
	return c
}

// Replica adds a replica of a master, with further options, and waits until it has all of it and
// every node knows it. It is not one of Nodes.
func (c *RedisCluster) Replica(tb testing.TB, of *RedisServer, args ...string) *RedisServer {
	tb.Helper()
	node := StartRedis(tb, append(clusterArgs(), args...)...)
	host, port, err := net.SplitHostPort(node.Addr)
	if err != nil {
		tb.Fatal(err)
	}
	of.Must(tb, "CLUSTER", "MEET", host, port)
	master, id := of.Must(tb, "CLUSTER", "MYID"), node.Must(tb, "CLUSTER", "MYID")
	until(tb, "the replica knows its master", func() bool {
		_, err := node.Do(tb.Context(), "CLUSTER", "REPLICATE", master)
		return err == nil
	})
	until(tb, "the replica has all of its master", func() bool {
		return strings.Contains(node.Must(tb, "INFO", "replication"), "master_link_status:up")
	})
	for _, n := range c.Nodes {
		until(tb, "the cluster knows the replica", func() bool {
			for line := range strings.Lines(n.Must(tb, "CLUSTER", "NODES")) {
				if strings.HasPrefix(line, id) && strings.Contains(line, " slave "+master) {
					return true
				}
			}
			return false
		})
	}
	return node
}

func clusterArgs() []string {
	return []string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", "3000", "--repl-diskless-sync-delay",
		"0",
	}
}

// until waits for a condition.
func until(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	limited, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	for !done() {
		if err := pause(limited, 20*time.Millisecond); err != nil {
			tb.Fatalf("waiting in vain: %s: %v", what, err)
		}
	}
}

// Await waits until every node says that all slots are served.
func (c *RedisCluster) Await(tb testing.TB) {
	tb.Helper()
	limited, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	for _, node := range c.Nodes {
		for {
			info := node.Must(tb, "CLUSTER", "INFO")
			if strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(c.Nodes))) {
				break
			}
			if err := pause(limited, 20*time.Millisecond); err != nil {
				tb.Fatalf("the cluster does not come together: %v\n%s", err, info)
			}
		}
	}
}

// Proxied puts a proxy in front of every node, whose address the cluster gives instead of the
// node's own from then on.
func (c *RedisCluster) Proxied(tb testing.TB) []*Proxy {
	tb.Helper()
	list, addrs := make([]*Proxy, len(c.Nodes)), make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		list[i] = StartProxy(tb, node.Addr)
		addrs[i] = list[i].Addr
	}
	c.announce(tb, addrs)
	return list
}

// Spoilable is Proxied with proxies that spoil single commands. It returns their addresses.
func (c *RedisCluster) Spoilable(tb testing.TB, p *CommandProxies) []string {
	tb.Helper()
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = p.Listen(tb, node.Addr)
	}
	c.announce(tb, addrs)
	return addrs
}

// announce waits until every node knows the addresses.
func (c *RedisCluster) announce(tb testing.TB, addrs []string) {
	tb.Helper()
	for i, node := range c.Nodes {
		node.Must(tb, "CONFIG", "SET", "cluster-announce-port", port(tb, addrs[i]))
	}
	limited, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	for _, node := range c.Nodes {
		for _, addr := range addrs {
			for !strings.Contains(node.Must(tb, "CLUSTER", "NODES"), ":"+port(tb, addr)+"@") {
				if err := pause(limited, 20*time.Millisecond); err != nil {
					tb.Fatalf("the cluster does not take the proxies' addresses: %v", err)
				}
			}
		}
	}
}

func port(tb testing.TB, addr string) string {
	tb.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// Addrs are the addresses of all nodes.
func (c *RedisCluster) Addrs() []string {
	list := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		list[i] = n.Addr
	}
	return list
}
