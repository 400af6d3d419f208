package queuetest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// RedisCluster is a Redis Cluster of masters without replicas.
type RedisCluster struct{ Nodes []*RedisServer }

// clusterSlots is the number of hash slots of a Redis Cluster.
const clusterSlots = 16384

// StartCluster starts a cluster of n masters that share the slots evenly, and ends it with the
// test.
func StartCluster(tb testing.TB, n int, args ...string) *RedisCluster {
	tb.Helper()
	c := new(RedisCluster)
	for range n {
		c.Nodes = append(c.Nodes, StartRedis(tb, append([]string{
			"--cluster-enabled", "yes",
			"--cluster-node-timeout", "3000",
		}, args...)...))
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
