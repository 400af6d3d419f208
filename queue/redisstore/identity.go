package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"

	"trackchat/queue"

	"go.uber.org/zap"
)

// A store has a random identity, written once: chat:meta says which, and every part of it (a
// partition, the directory, the webhooks, the roster) has a copy in <part>:id, a STRING, because
// each master of a Cluster may lose its data by itself. A process takes the identity at its start
// and believes nothing else from then on: every script compares the part's (guard.inc.lua) before
// it does anything, and a pipeline of plain commands reads it after them. So whatever comes from a
// Redis that was emptied or exchanged is queue.ErrLost, never an answer. A process that starts
// knows nothing to compare with: to it an empty Redis is a new store.
const (
	metaIdentity = "identity"
	metaClaim    = "claim" // the identity to be, while the parts get it at the first start
	// the identity, where Adopt has set it: processes that know another one take it.
	metaAdopted = "adopted"
)

// Numbers that no block and no version of the directory before Adopt can have reached: they grow
// with the time.
const (
	adoptBlocks   = 16            // a second, of each partition
	adoptVersions = 1_000_000     // a second
	adoptEpoch    = 1_500_000_000 // where counting seconds begins
)

// identity is what a process knows of its store.
type identity struct {
	known   atomic.Pointer[string] // nil before Open has found it
	doubted chan struct{}          // holds a token once some answer was queue.ErrLost
}

// expected is what the parts must hold, empty while nothing is known.
func (i *identity) expected() string {
	if id := i.known.Load(); id != nil {
		return *id
	}
	return ""
}

// errLost is an answer that came from another store, or none.
var errLost = fmt.Errorf("%w: %w", queue.ErrUnavailable, queue.ErrLost)

// doubt has the identity compared soon.
func (i *identity) doubt() {
	select {
	case i.doubted <- struct{}{}:
	default:
	}
}

// seen is what Redis says of the identity.
type seen struct {
	meta    map[string]string // chat:meta
	empty   int               // parts without a copy
	foreign int               // parts with another one than chat:meta's
	// of the partitions and the directory: those that a process has held before.
	used int

	migration string // migrationKey
}

// bare is a query that no identity guards.
func bare(tag string, args ...any) *query {
	return &query{slot: slotOf(strings.Trim(tag, "{}")), args: args, bare: true}
}

// lookTries is how often look begins anew because chat:meta has changed meanwhile: the first start
// writes it twice.
const lookTries = 20

// look reads what every part says, between two looks at chat:meta that say the same: the first
// process writes there before it gives the parts their copies, and once more after them.
func (s *supervisor) look(ctx context.Context) (seen, error) {
	before, err := s.readMeta(ctx)
	if err != nil {
		return seen{}, err
	}
	for range lookTries {
		n, err := s.lookAround(ctx)
		if err != nil || maps.Equal(before, n.meta) {
			return n, err
		}
		before = n.meta
	}
	return seen{}, fmt.Errorf("%w: %s keeps changing", queue.ErrUnavailable, metaKey)
}

// lookAround reads the parts, and chat:meta after them.
func (s *supervisor) lookAround(ctx context.Context) (seen, error) {
	var n seen
	qs := []*query{bare(dirTag, "exists", dirHead)}
	for _, key := range s.keys {
		qs = append(qs, bare(key, "exists", key+":run"))
	}
	if err := s.askAll(ctx, qs); err != nil {
		return n, err
	}
	for _, q := range qs {
		if q.reply == int64(1) {
			n.used++
		}
	}
	qs = qs[:0]
	for _, tag := range s.parts() {
		qs = append(qs, bare(tag, "get", tag+":id"))
	}
	if err := s.askAll(ctx, qs); err != nil {
		return n, err
	}
	meta, err := s.readMeta(ctx)
	if err != nil {
		return n, err
	}
	note := bare(metaKey, "get", migrationKey)
	if err := s.askAll(ctx, []*query{note}); err != nil {
		return n, err
	}
	n.meta = meta
	n.migration, _ = note.reply.(string)
	for _, q := range qs {
		switch id, ok := q.reply.(string); {
		case !ok:
			n.empty++
		case id != meta[metaIdentity]:
			n.foreign++
		}
	}
	return n, nil
}

func (s *supervisor) readMeta(ctx context.Context) (map[string]string, error) {
	q := bare(metaKey, "hgetall", metaKey)
	if err := s.askAll(ctx, []*query{q}); err != nil {
		return nil, fmt.Errorf("reading %s: %w", metaKey, err)
	}
	values, _ := q.reply.([]any)
	fields := make(map[string]string, len(values)/2)
	for i := 0; i+1 < len(values); i += 2 {
		fields[fmt.Sprint(values[i])] = fmt.Sprint(values[i+1])
	}
	return fields, nil
}

// contradiction is what is wrong with the identity by itself; known is that of this process, empty
// if it knows none.
func (n *seen) contradiction(known string) string {
	parts := partitions + 3
	id := n.meta[metaIdentity]
	switch {
	case id == "" && (known != "" || n.used > 0 && len(n.meta) == 0):
		return fmt.Sprintf("its identity is gone from %s, and %d of %d parts are empty", metaKey,
			n.empty, parts)
	case id == "" && n.meta[metaClaim] == "" && len(n.meta) > 0 && n.used < partitions+1:
		// written before there were identities, and whole
		return fmt.Sprintf("%d of %d parts hold nothing, although %s says that the store was in use", partitions+1-n.used, partitions+1, metaKey)
	case id == "":
		return ""
	case known != "" && id != known:
		return fmt.Sprintf("it is another store: identity %s instead of %s", id, known)
	case n.empty+n.foreign > 0:
		return fmt.Sprintf("%d of %d parts have lost the store's identity, and with it their data",
			n.empty+n.foreign, parts)
	default:
		return ""
	}
}

// lostProblem says what an operator can do.
func lostProblem(what string) string {
	return "Redis has lost the store's data or holds another store: " + what +
		"; nothing is taken or given out until the data is back, or trackchat check --adopt accepts what is there"
}

// claim takes the store's identity, and gives a new store one, also one that was written before
// there were identities.
func (s *supervisor) claim(ctx context.Context) error {
	n, err := s.look(ctx)
	if err != nil {
		return fmt.Errorf("reading the store's identity: %w", err)
	}
	if wrong := s.misfits(n); len(wrong) > 0 {
		return fmt.Errorf("redis is not fit for use: %s", strings.Join(wrong, "; "))
	}
	if what := n.contradiction(""); what != "" {
		return fmt.Errorf("%w: %s", queue.ErrLost, lostProblem(what))
	}
	id := n.meta[metaIdentity]
	if id == "" {
		if id, err = s.found(ctx); err != nil {
			return fmt.Errorf("writing the store's identity: %w", err)
		}
	}
	s.identity.known.Store(&id)
	return nil
}

// found writes the schema's parameters and an identity, once however many processes do. Who comes
// after one that died goes on with what that one chose.
func (s *supervisor) found(ctx context.Context) (string, error) {
	qs := []*query{bare(metaKey, "hsetnx", metaKey, metaClaim, rand.Text())}
	for field, value := range schemaFields() {
		qs = append(qs, bare(metaKey, "hsetnx", metaKey, field, value))
	}
	if err := s.askAll(ctx, qs); err != nil {
		return "", err
	}
	meta, err := s.readMeta(ctx)
	if err != nil {
		return "", err
	}
	id := meta[metaClaim]
	qs = qs[:0]
	for _, tag := range s.parts() {
		qs = append(qs, bare(tag, "set", tag+":id", id, "nx"))
	}
	if err := s.askAll(ctx, qs); err != nil {
		return "", err
	}
	return id, s.askAll(ctx, []*query{bare(metaKey, "hsetnx", metaKey, metaIdentity, id)})
}

// verify compares the identity and the schema, and returns what is wrong with them. What changed
// since the last time is logged. An identity that an operator has adopted becomes this process's.
func (s *supervisor) verify(ctx context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	wrong := s.misfits(n)
	known := s.identity.expected()
	problem := n.contradiction(known)
	if id := n.meta[metaIdentity]; problem != "" && id != known && id == n.meta[metaAdopted] &&
		n.empty+n.foreign == 0 {
		s.identity.known.Store(&id)
		s.log.Warn("what Redis holds was adopted as the store", zap.String("identity", id))
		s.wakes.resync()
		problem = ""
	}
	switch was := s.problem; {
	case problem != "" && was == "":
		s.log.Error("Redis is not the store that this service knows", zap.String("problem",
			lostProblem(problem)))
	case problem == "" && was != "":
		s.log.Info("the store is back")
	}
	s.problem = problem
	s.metrics.Lost(problem != "")
	if problem != "" {
		wrong = append(wrong, lostProblem(problem))
	}
	return wrong, nil
}

// reverify is verify for whoever heard that something was lost, or waits for its return.
func (s *supervisor) reverify(ctx context.Context, doubted bool) {
	s.mu.Lock()
	waiting := s.problem != ""
	s.mu.Unlock()
	if !doubted && !waiting {
		return
	}
	if _, err := s.verify(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("the store's identity cannot be compared", zap.Error(err))
	}
}

// Adopt makes whatever Redis holds, be it nothing or an older copy, the store: under a new
// identity, with message ids and versions of the directory that no state before can have given out.
// Services that run take it within a second or two. It returns what was wrong before, empty if
// nothing was.
func Adopt(ctx context.Context, opts Options) (was string, err error) {
	s, err := visitor(ctx, opts)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.cluster.hangUp()) }()
	n, err := s.look(ctx)
	if err != nil {
		return "", err
	}
	if wrong := s.misfits(n); len(wrong) > 0 {
		return "", errors.New(strings.Join(wrong, "; "))
	}
	id := rand.Text()
	if err := s.adoptParts(ctx, id); err != nil {
		return "", fmt.Errorf("adopting: %w", err)
	}
	args := []any{"hset", metaKey, metaIdentity, id, metaClaim, id, metaAdopted, id}
	for field, value := range schemaFields() {
		args = append(args, field, value)
	}
	return n.contradiction(""), s.askAll(ctx, []*query{bare(metaKey, args...)})
}

func (s *supervisor) adoptParts(ctx context.Context, id string) error {
	blocks, err := assemble(scriptAdopt)
	if err != nil {
		return err
	}
	directory, err := assemble(scriptDirAdopt)
	if err != nil {
		return err
	}
	seconds := s.now().Unix() - adoptEpoch
	qs := []*query{
		bare(dirTag, "eval", directory, 1, dirHead, id, seconds*adoptVersions),
		bare(hookTag, "set", hookTag+":id", id), bare(rosterTag, "set", rosterTag+":id", id),
	}
	for _, key := range s.keys {
		qs = append(qs, bare(key, "eval", blocks, 1, key, id, seconds*adoptBlocks))
	}
	return s.askAll(ctx, qs)
}

// checkIdentity reports whether Redis holds this process's store, in this program's schema.
func (s *supervisor) checkIdentity(ctx context.Context, report *queue.Report) (bool, error) {
	problems, err := s.verify(ctx)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		problems = []string{fmt.Sprintf("comparing the store's identity: %v", err)}
	}
	report.Problems = append(report.Problems, problems...)
	return len(problems) == 0, nil
}
