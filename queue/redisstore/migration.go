package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
)

// migrationKey says which embedded store is being taken over into this Redis, "begun" or "done"
// before its name. It lies in the slot of metaKey, so that one script sees both.
const migrationKey = "{" + metaKey + "}:migration"

const (
	migrationBegun = "begun "
	migrationDone  = "done "
)

// ErrUsed says that a migration must not write into a Redis.
var ErrUsed = errors.New("this Redis is in use")

// claimMigration notes a migration where no service has been, and returns whose Redis it is.
// KEYS: 1 metaKey, 2 migrationKey. ARGV: 1 the note. Returns the note that counts, "" if a service
// was here first.
const claimMigration = `
local note = redis.call('GET', KEYS[2])
if note then
  return note
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return ''
end
redis.call('SET', KEYS[2], ARGV[1])
return ARGV[1]`

// OpenMigration is Open for taking an embedded store over, of which source names the contents. It
// looks first, and writes nothing, ErrUsed, where a service has ever written or another migration
// has begun. From then on services refuse this Redis until FinishMigration. done says that this
// migration was finished before: there is nothing to write then.
func OpenMigration(ctx context.Context, opts Options, source string) (s *Store, done bool,
	err error,
) {
	note, err := surveyMigration(ctx, opts, migrationBegun+source)
	switch {
	case err != nil:
		return nil, false, err
	case note == "":
		return nil, false, fmt.Errorf("%w: a service uses it, or has used it", ErrUsed)
	case note == migrationDone+source:
		done = true
	case note != migrationBegun+source:
		return nil, false, fmt.Errorf(
			"%w: a migration of another store, or of this one as it was at"+
				" another time, was made into it", ErrUsed)
	}
	opts.migration = source
	s, err = Open(ctx, opts)
	return s, done, err
}

// surveyMigration returns the note of a migration, which is the given one where nothing was there.
func surveyMigration(ctx context.Context, opts Options, note string) (_ string, err error) {
	s, err := visitor(ctx, opts)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.cluster.hangUp()) }()
	m := s.cluster.serving(slotOf(metaKey))
	if m == nil {
		return "", fmt.Errorf("%w: no master serves %s", queue.ErrUnavailable, metaKey)
	}
	was, err := m.redis.Get(ctx, migrationKey).Result()
	if err == nil || !errors.Is(err, redis.Nil) {
		return was, asUnavailable(err)
	}
	for slot, keys := range s.usedKeys() {
		m := s.cluster.serving(slot)
		if m == nil {
			return "", fmt.Errorf("%w: no master serves slot %d", queue.ErrUnavailable, slot)
		}
		if n, err := m.redis.Exists(ctx, keys...).Result(); err != nil || n > 0 {
			return "", asUnavailable(err)
		}
	}
	claim := m.redis.Eval(ctx, claimMigration, []string{metaKey, migrationKey}, note)
	was, err = claim.Text()
	return was, asUnavailable(err)
}

// usedKeys are, by slot, keys of which a service that only starts leaves some.
func (s *supervisor) usedKeys() map[int][]string {
	slots := map[int][]string{slotOf(metaKey): {metaKey}}
	for _, key := range []string{dirTag, rosterTag} {
		slot := slotOf(strings.Trim(key, "{}"))
		slots[slot] = append(slots[slot], key)
	}
	for p, key := range s.keys {
		slots[s.slots[p]] = append(slots[s.slots[p]], key+":run", key+":blk")
	}
	return slots
}

func asUnavailable(err error) error {
	if err == nil {
		return nil
	}
	_, err = classify(err)
	return fmt.Errorf("looking at what Redis holds: %w", err)
}

// FinishMigration gives the Redis of OpenMigration free for services.
func (s *Store) FinishMigration(ctx context.Context) error {
	q := bare(metaKey, "set", migrationKey, migrationDone+s.opts.migration)
	q.writes = true
	return s.ask(ctx, "finish_migration", []*query{q})
}
