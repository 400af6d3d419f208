package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
)

// visitConns is more than a look needs: a pool with as many failed dials as places goes on dialling
// in the background.
const visitConns = 8

// Inspect says what Open would find wrong, and writes nothing: version, role, persistence, memory
// and its policy, clock, buffers of subscribers, the stored schema, and in a Cluster whether every
// partition is served. It may be used beside services that run. The error says that nobody answers.
func Inspect(ctx context.Context, opts Options) (report queue.Report, err error) {
	s, err := visitor(ctx, opts)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.cluster.hangUp()) }()
	for _, m := range s.cluster.all() {
		c := &checker{client: s.client, report: &report, addr: m.addr}
		if err := c.read(ctx, m); err != nil {
			c.problem("%v", err)
			return report, ctx.Err() // the rest would only wait
		}
		c.process()
		c.durability()
		c.limits()
		if !s.cluster.many && c.info["cluster_enabled"] == "1" {
			return report, nil // it has only a part of the keys
		}
		if c.info["role"] != "master" {
			return report, nil // what it holds is another one's
		}
	}
	if !s.checkMap(&report) {
		return report, nil // nobody knows what the others hold
	}
	n, err := s.look(ctx)
	if err != nil {
		return report, err
	}
	if wrong := s.misfits(n); len(wrong) > 0 {
		report.Problems = append(report.Problems, wrong...)
	} else if what := n.contradiction(""); what != "" {
		report.Problems = append(report.Problems, lostProblem(what))
	} else if len(n.meta) == 0 {
		report.Warnings = append(report.Warnings, noStore)
	}
	return report, nil
}

// noStore is what an emptied Redis looks like, too.
const noStore = "holds no store yet: a service that starts begins a new one"

// visitor is a supervisor that only looks: hangUp ends it.
func visitor(ctx context.Context, opts Options) (*supervisor, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	logClient(opts.Logger)
	s := &supervisor{client: newClient(opts)}
	if !s.cluster.many {
		s.cluster.table = []*master{s.cluster.visit(opts.Addrs[0])}
		return s, nil
	}
	if err := s.cluster.survey(ctx); err != nil {
		return nil, errors.Join(err, s.cluster.hangUp())
	}
	return s, nil
}

// visit makes a client that only asks: it prepares nothing on the other side.
func (n *cluster) visit(addr string) *master {
	if m := n.masters[addr]; m != nil {
		return m
	}
	m := &master{
		client: n.client, addr: addr, redis: n.client.opts.connect(addr, visitConns, nil),
	}
	m.reads = newPipeline(n.client, m, 1)
	m.writes = m.reads
	n.masters[addr] = m
	return m
}

// survey reads the map of the cluster from the first configured node that knows it. Afterwards only
// masters that serve something are left.
func (n *cluster) survey(ctx context.Context) error {
	errs := make([]error, 0, len(n.client.opts.Addrs))
	for _, addr := range n.client.opts.Addrs {
		shards, err := n.visit(addr).redis.ClusterShards(ctx).Result()
		if err == nil {
			return n.draw(shards, addr)
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return fmt.Errorf("%w: reading the map of the cluster: %w", queue.ErrUnavailable,
		errors.Join(errs...))
}

// draw makes the table of slots from the map; asked is who gave it.
func (n *cluster) draw(shards []redis.ClusterShard, asked string) error {
	host, _, err := net.SplitHostPort(asked)
	if err != nil {
		return fmt.Errorf("address of a cluster node: %w", err)
	}
	visited := n.masters
	n.masters, n.table = make(map[string]*master), make([]*master, clusterSlots)
	for _, shard := range shards {
		for _, node := range shard.Nodes {
			if node.Role != "master" || len(shard.Slots) == 0 {
				continue
			}
			m := n.visit(n.addrOf(&node, host))
			for _, r := range shard.Slots {
				for slot := max(r.Start, 0); slot <= min(r.End, clusterSlots-1); slot++ {
					n.table[slot] = m
				}
			}
		}
	}
	errs := make([]error, 0, len(visited))
	for _, m := range visited {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}

// addrOf is where a node of a cluster is reached; one without a name of its own is at host.
func (n *cluster) addrOf(node *redis.Node, host string) string {
	if node.Endpoint != "" && node.Endpoint != "?" {
		host = node.Endpoint
	}
	port := node.Port
	if n.client.opts.TLS != nil && node.TLSPort != 0 {
		port = node.TLSPort
	}
	return net.JoinHostPort(host, strconv.FormatInt(port, 10))
}

// hangUp closes the clients of visit.
func (n *cluster) hangUp() error {
	errs := make([]error, 0, len(n.masters))
	for _, m := range n.masters {
		errs = append(errs, m.close())
	}
	n.client.working.Wait()
	return errors.Join(errs...)
}
