package queuetest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

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
