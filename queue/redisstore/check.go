package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	metaKey     = "chat:meta"
	schema      = "2"
	leastMajor  = 7
	pubsubLimit = 32 << 20
	clockSkew   = time.Second
)

// schemaFields must be the same for every process on this Redis, for ever.
func schemaFields() map[string]string {
	return map[string]string{
		"schema": schema, "partitions": strconv.Itoa(partitions),
		"slots": strconv.Itoa(slotsABlock),
	}
}

// supervisor sees that Redis is fit for use and still holds this store.
type supervisor struct {
	*client
	wakes *wakes

	mu      sync.Mutex // one comparison of the identity at a time; guards what follows
	problem string     // of the last one, empty if it went well
}

// checker collects what is wrong with one master.
type checker struct {
	client *client
	report *queue.Report
	addr   string
	info   map[string]string
	config map[string]string // nil: Redis does not tell
}

func (c *checker) problem(format string, args ...any) {
	c.report.Problems = append(c.report.Problems, c.addr+": "+fmt.Sprintf(format, args...))
}

func (c *checker) warn(format string, args ...any) {
	c.report.Warnings = append(c.report.Warnings, c.addr+": "+fmt.Sprintf(format, args...))
}

// volatile is a problem of durability: a warning only where the operator allows it.
func (c *checker) volatile(format string, args ...any) {
	if c.client.opts.AllowVolatile {
		c.warn(format, args...)
		return
	}
	c.problem(format, args...)
}

func (s *supervisor) Check(ctx context.Context) (queue.Report, error) {
	var report queue.Report
	if err := ctx.Err(); err != nil {
		return report, err
	}
	if err := s.enter(); err != nil {
		return report, err
	}
	defer s.calls.Done()
	silent := false
	for _, m := range s.cluster.all() {
		c := &checker{client: s.client, report: &report, addr: m.addr}
		if err := c.read(ctx, m); err != nil {
			if ctx.Err() != nil {
				return report, ctx.Err()
			}
			c.problem("%v", err)
			silent = true
			continue
		}
		c.process()
		c.durability()
		c.limits()
		if c.info["role"] == "master" {
			if err := m.recheck(ctx, c.info); err != nil {
				c.problem("%v", err)
			}
		}
	}
	if !s.checkMap(&report) || silent {
		return report, nil // more questions would only wait
	}
	if fine, err := s.checkIdentity(ctx, &report); err != nil || !fine {
		return report, err
	}
	return report, s.countPending(ctx, &report)
}

// Check also finds out what other nodes can read, on which what is written depends.
func (s *Store) Check(ctx context.Context) (queue.Report, error) {
	report, err := s.supervisor.Check(ctx)
	if err == nil && len(report.Problems) == 0 {
		_, err = s.Nodes(ctx)
	}
	return report, err
}

// Ping: Any reply is a sign of life, also a refusal; Check looks closer.
func (s *supervisor) Ping(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.calls.Done()
	masters := s.cluster.all()
	errs := make([]error, len(masters))
	var pings sync.WaitGroup
	for i, m := range masters {
		pings.Go(func() {
			var reply redis.Error
			if err := m.redis.Ping(ctx).Err(); err != nil && !errors.As(err, &reply) {
				errs[i] = fmt.Errorf("%w: %s gives no sign of life: %s", queue.ErrUnavailable,
					m.addr, err.Error())
			}
		})
	}
	pings.Wait()
	return errors.Join(errs...)
}

// countPending adds up the partitions' counters.
func (s *supervisor) countPending(ctx context.Context, report *queue.Report) error {
	qs := make([]*query, partitions)
	for p := range qs {
		qs[p] = &query{slot: s.slots[p], args: []any{"get", s.keys[p] + ":p"}}
	}
	if err := s.askAll(ctx, qs); err != nil {
		if ctx.Err() == nil {
			report.Problems = append(report.Problems, fmt.Sprintf("counting pending messages: %v",
				err))
		}
		return ctx.Err()
	}
	for _, q := range qs {
		if text, ok := q.reply.(string); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("%w: number of pending messages %q", queue.ErrCorrupt, text)
			}
			report.Pending += n
		}
	}
	report.Counted = true
	return nil
}

// read asks for everything that is looked at.
func (c *checker) read(ctx context.Context, m *master) error {
	before := c.client.now()
	t, err := m.redis.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("does not answer: %w", err)
	}
	if skew := t.Sub(before); skew < -clockSkew || skew > clockSkew+c.client.now().Sub(before) {
		c.warn("its clock differs from ours by %v", skew)
	}
	info, err := m.redis.Info(ctx).Result()
	if err != nil {
		return fmt.Errorf("INFO: %w", err)
	}
	c.info = parseInfo(info)
	config, err := m.redis.ConfigGet(ctx, "*").Result()
	if what, _ := judgeIf(err); err != nil && what != outcomeFinal {
		return fmt.Errorf("CONFIG GET: %w", err)
	}
	if err == nil {
		c.config = config
	}
	return nil
}

func (c *checker) process() {
	major, _, _ := strings.Cut(c.info["redis_version"], ".")
	if n, err := strconv.Atoi(major); err != nil || n < leastMajor {
		c.problem("version %q, at least %d.0 is needed", c.info["redis_version"], leastMajor)
	}
	if c.info["role"] != "master" {
		c.problem("is a replica, not a master")
	}
	if clustered := c.info["cluster_enabled"] == "1"; clustered != c.client.cluster.many {
		c.problem("cluster mode is %v here, but %d addresses are configured: several mean a cluster, one a single Redis", clustered, len(c.client.opts.Addrs))
	}
}

// unseen is what a Redis keeps to itself that does not let CONFIG be read.
const unseen = "appendfsync, no-appendfsync-on-rewrite, aof-load-truncated, min-replicas-to-write, " +
	"client-output-buffer-limit"

func (c *checker) durability() {
	trusted := c.config == nil && c.client.opts.TrustDurability
	switch {
	case c.info["aof_enabled"] == "1":
		for _, name := range []string{"aof_last_write_status", "aof_last_bgrewrite_status"} {
			if v := c.info[name]; v != "ok" {
				c.problem("%s is %q", name, v)
			}
		}
	case trusted: // managed services keep what they call their log elsewhere
		c.warn("shows no append-only file: its durability is trusted")
	default:
		c.volatile("keeps no append-only file (appendonly yes is needed)")
	}
	switch {
	case trusted:
		c.warn("does not let CONFIG be read, so these are not seen: %s; its durability is trusted",
			unseen)
		return
	case c.config == nil:
		c.problem("does not let CONFIG be read, so these are not seen: %s; "+
			"store.trust_durability: true where you know that it is durable", unseen)
		return
	case c.client.opts.TrustDurability:
		c.warn("lets CONFIG be read: trust_durability is not needed, and does nothing")
	}
	switch fsync := c.config["appendfsync"]; {
	case fsync == "always", fsync == "everysec" && c.client.opts.Durability == EverySecond:
	default:
		c.volatile("appendfsync is %q, which is weaker than configured", fsync)
	}
	if c.config["no-appendfsync-on-rewrite"] == "yes" {
		c.volatile("no-appendfsync-on-rewrite is yes: nothing is synced while the file is rewritten")
	}
	if c.config["aof-load-truncated"] == "no" {
		c.warn("aof-load-truncated is no: it will not start after a crash that tore the file's end")
	}
}

func (c *checker) limits() {
	if policy := c.info["maxmemory_policy"]; policy != "noeviction" {
		c.problem("maxmemory-policy is %q, which throws messages away; noeviction is needed",
			policy)
	}
	if nearlyFull(c.info) {
		c.warn("uses more than %d %% of its memory: nothing new is stored", memoryLimit)
	}
	if number(c.info, "connected_slaves") > 0 && c.config["min-replicas-to-write"] == "0" {
		c.warn("has replicas, but min-replicas-to-write is 0: a failover may lose accepted messages")
	}
	if fields := strings.Fields(c.config["client-output-buffer-limit"]); len(fields) > 0 {
		for i := 0; i+1 < len(fields); i += 4 {
			if limit, err := strconv.ParseInt(fields[i+1], 10, 64); err == nil &&
				fields[i] == "pubsub" && limit > 0 && limit < pubsubLimit {
				c.warn("client-output-buffer-limit for pubsub is %d bytes; less than %d may cut wakes", limit, pubsubLimit)
			}
		}
	}
}

// recheck seals partitions that came to this process by another way than a new connection.
func (m *master) recheck(ctx context.Context, info map[string]string) error {
	identity := info["run_id"] + "/" + info["master_replid"]
	// Without the lock: the pipeline may open a connection, and that takes it.
	if err := m.seal(ctx, m.redis, identity); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identity = identity
	return nil
}

// checkMap reports whether somebody serves every partition.
func (s *supervisor) checkMap(report *queue.Report) bool {
	served := 0
	for _, list := range s.cluster.assignment() {
		served += len(list)
	}
	if served < partitions {
		report.Problems = append(report.Problems,
			fmt.Sprintf("no master serves %d of %d partitions", partitions-served, partitions))
		s.cluster.stale()
	}
	return served == partitions
}

// misfits compares the parameters that are stored with this program's, and finds a migration that
// is under way or was interrupted.
func (s *supervisor) misfits(n seen) []string {
	var problems []string
	addr := "redis"
	if m := s.cluster.serving(slotOf(metaKey)); m != nil {
		addr = m.addr
	}
	for field, want := range schemaFields() {
		if got, ok := n.meta[field]; ok && got != want {
			problems = append(problems,
				fmt.Sprintf("%s: %s of the stored data is %q, this program's is %q", addr, field,
					got, want))
		}
	}
	note, begun := strings.CutPrefix(n.migration, migrationBegun)
	if begun && note != s.opts.migration {
		problems = append(problems, addr+": a migration into it is not finished: "+
			"repeat that command, or empty this Redis and begin anew")
	}
	return problems
}

const (
	memoryEvery = time.Second
	memoryLimit = 85 // percent of maxmemory above which nothing new is stored
	reloadPause = 100 * time.Millisecond
)

// watch keeps an eye on the memory of the masters and the identity of what they hold, and follows
// changes of the cluster until ctx ends.
func (s *supervisor) watch(ctx context.Context) {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.watchMemory(ctx)
			s.reverify(ctx, false)
		case <-s.identity.doubted:
			s.reverify(ctx, true)
		case <-s.cluster.changed:
			if err := s.cluster.reload(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("reading the map of the cluster failed", zap.Error(err))
			}
			s.wakes.remap()
			select {
			case <-ctx.Done():
				return
			case <-time.After(reloadPause):
			}
		}
	}
}

func (s *supervisor) watchMemory(ctx context.Context) {
	for _, m := range s.cluster.all() {
		if info, err := m.redis.Info(ctx, "memory").Result(); err == nil {
			m.full.Store(nearlyFull(parseInfo(info)))
		}
	}
}

// nearlyFull reports whether INFO memory shows less room than is kept for acks.
func nearlyFull(memory map[string]string) bool {
	limit := number(memory, "maxmemory")
	return limit > 0 && number(memory, "used_memory") > limit/100*memoryLimit
}
