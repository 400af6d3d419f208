package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
)

// Workers of one master: pipelines that may be on their way at once.
const (
	writeWorkers = 2
	readWorkers  = 2
	// for checks and what else goes past the pipelines, and for questions among nodes.
	spareConns = 6 + peerAsks + 1
)

// master is one Redis process that serves slots.
type master struct {
	client *client
	addr   string
	redis  *redis.Client
	writes *pipeline
	reads  *pipeline
	full   atomic.Bool // memory is nearly used up

	mu       sync.Mutex // guards what follows; held while a first connection prepares the process
	identity string     // of the process that was prepared last
}

func zapError(err error) zap.Field { return zap.Error(err) }

// connect makes the client of one address, or of the Sentinels where master has a name. prepare may
// be nil.
func (o *Options) connect(addr string, conns int,
	prepare func(context.Context, *redis.Conn) error,
) *redis.Client {
	if o.Master != "" {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: o.Master, SentinelAddrs: o.Addrs, Username: o.Username,
			Password: o.Password, TLSConfig: o.TLS, Protocol: 2, MaxRetries: -1,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.ReadTimeout,
			PoolSize: conns, DialerRetries: 1, OnConnect: prepare, DisableIdentity: true,
			ContextTimeoutEnabled: true,
		})
	}
	return redis.NewClient(&redis.Options{
		Addr: addr, Username: o.Username, Password: o.Password, TLSConfig: o.TLS, Protocol: 2,
		MaxRetries:  -1,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.ReadTimeout,
		PoolSize: conns, DialerRetries: 1, OnConnect: prepare, DisableIdentity: true,
		ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
}

func newMaster(c *client, addr string) *master {
	m := &master{client: c, addr: addr}
	m.redis = c.opts.connect(addr, writeWorkers+readWorkers+spareConns, m.prepare)
	m.writes, m.reads = newPipeline(c, m, writeWorkers), newPipeline(c, m, readWorkers)
	return m
}

func (m *master) close() error {
	m.writes.close()
	m.reads.close()
	return m.redis.Close()
}

// prepare is called with every new connection before its first use. A process that was not seen
// before gets the scripts and seals its partitions: nothing is sent to it before ids that its
// predecessor may have lost are out of reach.
func (m *master) prepare(ctx context.Context, cn *redis.Conn) error {
	info, err := cn.Info(ctx, "server", "replication").Result()
	if err != nil {
		return fmt.Errorf("%w: %w", errConnect, err)
	}
	fields := parseInfo(info)
	if fields["role"] != "master" {
		return nil // it refuses to be written to by itself
	}
	identity := fields["run_id"] + "/" + fields["master_replid"]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identity == identity {
		return nil
	}
	if err := m.loadScripts(ctx, cn); err != nil {
		return fmt.Errorf("%w: %w", errConnect, err)
	}
	if m.client.identity.expected() == "" {
		// Open reads the identity of the store with it, and seals before anybody else sends.
		return nil
	}
	if err := m.seal(ctx, cn, identity); err != nil {
		return fmt.Errorf("%w: %w", errConnect, err)
	}
	m.client.identity.doubt() // whose data has it?
	if m.identity != "" {
		m.client.log.Warn("another Redis process answers", zap.String("addr", m.addr))
	}
	m.identity = identity
	return nil
}

// pipeliner is a client or one connection.
type pipeliner interface{ Pipeline() redis.Pipeliner }

// loadScripts makes every script known.
func (m *master) loadScripts(ctx context.Context, c pipeliner) error {
	pipe := c.Pipeline()
	for _, sc := range m.client.scripts {
		pipe.ScriptLoad(ctx, sc.text)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("loading scripts: %w", err)
	}
	return nil
}

// seal closes what partitions of this master held under another process. Partitions of other
// masters are refused by Redis and left to those.
func (m *master) seal(ctx context.Context, c pipeliner, identity string) error {
	pipe := c.Pipeline()
	store := m.client.identity.expected()
	for _, key := range m.client.keys {
		_ = pipe.Process(ctx, command{redis.NewCmd(ctx, "evalsha", m.client.scripts[scriptSeal].sha, 1,
			key, identity, store)})
	}
	_ = pipe.Process(ctx, command{redis.NewCmd(ctx, "evalsha", m.client.scripts[scriptDirSeal].sha, 1,
		dirHead, identity, store)})
	cmds, err := pipe.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, cmd := range cmds {
		switch err := cmd.Err(); {
		case err == nil || elsewhere(err):
		case strings.HasPrefix(err.Error(), "LOST "):
			// nothing of this store is there to be sealed; whoever asks for it is told
			m.client.identity.doubt()
		default:
			return fmt.Errorf("sealing partitions: %w", err)
		}
	}
	return nil
}

// elsewhere reports whether an error says that the master does not have the slot: another one has
// it, or none. CLUSTERDOWN of the whole cluster is not among them: a node that has just started
// says that of its own slots, too.
func elsewhere(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "MOVED ") || strings.HasPrefix(text, "ASK ") ||
		strings.HasPrefix(text, "CLUSTERDOWN Hash slot not served")
}

// judgeIf is judge for what may be no error.
func judgeIf(err error) (outcome, error) {
	if err == nil {
		return outcomeFinal, nil
	}
	return classify(err)
}

// parseInfo reads the answer of INFO.
func parseInfo(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[k] = v
		}
	}
	return fields
}

// cluster knows which master serves which slot.
type cluster struct {
	client  *client
	many    bool
	changed chan struct{} // holds a token while the map is to be read again

	mu      sync.RWMutex // guards what follows
	masters map[string]*master
	table   []*master // by slot in a cluster, else a single one
}

// stale has the map of the cluster read again soon.
func (n *cluster) stale() {
	if n.many {
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
}

// serving returns the master of a slot, nil if there is none now.
func (n *cluster) serving(slot int) *master {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if len(n.table) == 1 {
		return n.table[0]
	}
	return n.table[slot]
}

// all returns the masters that serve anything.
func (n *cluster) all() []*master {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := make([]*master, 0, len(n.masters))
	for _, m := range n.masters {
		list = append(list, m)
	}
	return list
}

// single serves everything from one address or one set of Sentinels.
func (n *cluster) single(addr string) {
	m := newMaster(n.client, addr)
	n.masters, n.table = map[string]*master{addr: m}, []*master{m}
}

// reload reads the map from the first node that knows it.
func (n *cluster) reload(ctx context.Context) error {
	var errs []error
	for _, m := range n.all() {
		shards, err := m.redis.ClusterShards(ctx).Result()
		if err == nil {
			return n.apply(shards, m.addr)
		}
		errs = append(errs, err)
	}
	for _, addr := range n.client.opts.Addrs {
		c := n.client.opts.connect(addr, 1, nil)
		shards, err := c.ClusterShards(ctx).Result()
		_ = c.Close()
		if err == nil {
			return n.apply(shards, addr)
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("%w: reading the map of the cluster: %w", queue.ErrUnavailable,
		errors.Join(errs...))
}

// apply replaces the map. asked is who gave it: a node without a known address is that one.
func (n *cluster) apply(shards []redis.ClusterShard, asked string) error {
	host, _, err := net.SplitHostPort(asked)
	if err != nil {
		return fmt.Errorf("address of a cluster node: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	table, masters := make([]*master, clusterSlots), make(map[string]*master)
	for _, shard := range shards {
		addr, ok := n.masterOf(&shard, host)
		if !ok {
			continue
		}
		m := masters[addr]
		if m == nil {
			if m = n.masters[addr]; m == nil {
				m = newMaster(n.client, addr)
			}
			masters[addr] = m
		}
		for _, r := range shard.Slots {
			for slot := max(r.Start, 0); slot <= min(r.End, clusterSlots-1); slot++ {
				table[slot] = m
			}
		}
	}
	for addr, m := range n.masters {
		if masters[addr] == nil {
			// what is on its way there fails and is sent to whoever serves the slot now.
			_ = m.close()
		}
	}
	n.masters, n.table = masters, table
	return nil
}

// masterOf is the address of a shard's master, false where it serves nothing.
func (n *cluster) masterOf(shard *redis.ClusterShard, host string) (string, bool) {
	if len(shard.Slots) == 0 {
		return "", false
	}
	for _, node := range shard.Nodes {
		if node.Role != "master" {
			continue
		}
		return n.addrOf(&node, host), true
	}
	return "", false
}

// assignment lists the partitions of each master.
func (n *cluster) assignment() map[*master][]queue.Partition {
	owned := make(map[*master][]queue.Partition)
	for p, slot := range n.client.slots {
		if m := n.serving(slot); m != nil {
			owned[m] = append(owned[m], queue.Partition(p))
		}
	}
	return owned
}

func (n *cluster) close() error {
	masters := n.all()
	errs := make([]error, 0, len(masters))
	for _, m := range masters {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}

func number(fields map[string]string, name string) int64 {
	v, err := strconv.ParseInt(fields[name], 10, 64)
	if err != nil {
		return 0
	}
	return v
}
