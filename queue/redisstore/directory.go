package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"trackchat/queue"
)

// The directory lies in one slot, so that a change counts as a whole or not at all. Besides its
// head there are
//
//	{chat:dir}:a:<n>   HASH  accounts n*256 to n*256+255: id, version and row (JSON);
//	                         {chat:dir}:t:<n> the same for trackers
//	{chat:dir}:a, :t   ZSET  the n of each that is not empty, for pages in order
//	{chat:dir}:log     ZSET  a<id> and t<id> by the version of their last change; {chat:dir}:gone
//	                         the same for what was removed last
//	{chat:dir}:seals   ZSET  versions that were left out because another Redis process came, see
//	                         dirseal.lua
//	{chat:dir}:drop    HASH  conversations (queue/conversation.go) whose messages are still to be
//	                         removed, and the version of their removal
//	{chat:dir}:kept    ZSET, {chat:dir}:kept:<n> HASH: like those of trackers, of those that an
//	                   import removed: whose their messages are when they come back
//	{chat:dir}:s:<key> STRING, {chat:dir}:l:<account> ZSET: see session.go
//	{chat:dir}:b:<account> ZSET, {chat:dir}:b:<account>:<id> HASH: see broadcast.go
//
// A change (queue/directory) is committed by a script that refuses it if the directory has another
// version than the one that it was worked out from. A large one is written aside in pieces before,
// counts from its commit on, and is copied into place piece by piece; who finds a committed one
// that was not copied to the end (its node died) finishes it first. No command is longer than a
// piece.
const (
	dirTag = "{chat:dir}"
	// HASH: version, floor (of versions that DirectoryChanges knows), pending (id and pieces of
	// what is committed but not copied yet), run.
	dirHead     = dirTag
	dirAccounts = dirTag + ":a"
	dirTrackers = dirTag + ":t"
	dirLog      = dirTag + ":log"
	dirGone     = dirTag + ":gone"
	dirSeals    = dirTag + ":seals"
	dirDrops    = dirTag + ":drop"
	dirKept     = dirTag + ":kept"

	dirBucket = 8      // bits of an id within a HASH of rows
	dirTries  = 40     // to finish what others have begun
	stagedFor = 86_400 // seconds that a change which was never committed stays
)

// dirStore keeps the rows of the directory, what has changed, and the sessions of its accounts.
type dirStore struct{ *client }

func bucketOf(id int64) int64 { return id >> dirBucket }

// bucketKey is the HASH of the rows in a bucket of dirAccounts or dirTrackers.
func bucketKey(kind string, bucket int64) string {
	return kind + ":" + strconv.FormatInt(bucket, 10)
}

func rowKey(kind string, id int64) string { return bucketKey(kind, bucketOf(id)) }

// dirQuery is one command on the directory's slot that changes nothing.
func dirQuery(args ...any) *query {
	return &query{slot: slotOf(strings.Trim(dirTag, "{}")), args: args}
}

// dirScript is a script on the directory's slot that changes something and may be repeated.
func (s *dirStore) dirScript(name string, args ...any) *query {
	q := s.evalsha(dirQuery().slot, dirHead, name, args...)
	q.writes = true
	return q
}

// dirRun runs a script and reports whether it answered 1.
func (s *dirStore) dirRun(ctx context.Context, op, name string, args ...any) (bool, error) {
	q := s.dirScript(name, args...)
	if err := s.ask(ctx, op, []*query{q}); err != nil {
		return false, err
	}
	return q.reply == int64(1), nil
}

// head is the directory's head.
type head struct {
	version int64
	floor   int64
	pending string // empty mostly
}

// settledHead finishes what another change may have left and returns the head.
func (s *dirStore) settledHead(ctx context.Context) (head, error) {
	for range dirTries {
		h, err := s.readHead(ctx)
		if err != nil || h.pending == "" {
			return h, err
		}
		if err := s.copyChange(ctx, h.pending); err != nil {
			return head{}, err
		}
	}
	return head{}, fmt.Errorf("%w: the directory keeps changing", queue.ErrUnavailable)
}

func (s *dirStore) readHead(ctx context.Context) (head, error) {
	q := dirQuery("hmget", dirHead, "version", "floor", "pending")
	if err := s.ask(ctx, "directory", []*query{q}); err != nil {
		return head{}, err
	}
	values, _ := q.reply.([]any)
	if len(values) != 3 {
		return head{}, fmt.Errorf("%w: head of the directory", queue.ErrCorrupt)
	}
	var h head
	for i, n := range []*int64{&h.version, &h.floor} {
		text, ok := values[i].(string)
		if !ok {
			continue
		}
		var err error
		if *n, err = strconv.ParseInt(text, 10, 64); err != nil {
			return head{}, fmt.Errorf("%w: version %q of the directory", queue.ErrCorrupt, text)
		}
	}
	h.pending, _ = values[2].(string)
	return h, nil
}

// plan is what a change does to Redis: commands, each a name and arguments. Their order does not
// matter, see commands.inc.lua.
type plan struct{ commands [][]string }

const (
	planPiece = 32 << 10 // bytes of a piece, about
	planArgs  = 600      // arguments of a piece, about
	planMerge = 200      // arguments of one command, about
	planBatch = 32       // pieces that are sent at once
)

// add appends a command on a key, or args to the last one if that is the same with as many fixed
// arguments.
func (p *plan) add(fixed []string, args ...string) {
	if n := len(p.commands); n > 0 && len(args) > 0 {
		last := p.commands[n-1]
		if len(last) < planMerge && len(last) > len(fixed) && samePrefix(last, fixed) {
			p.commands[n-1] = append(last, args...)
			return
		}
	}
	p.commands = append(p.commands, append(append(make([]string, 0, len(fixed)+len(args)),
		fixed...), args...))
}

func samePrefix(list, prefix []string) bool {
	for i := range prefix {
		if list[i] != prefix[i] {
			return false
		}
	}
	return true
}

// pieces packs the commands as MessagePack.
func (p *plan) pieces() []string {
	var list []string
	for first := 0; first < len(p.commands); {
		n, args, size := first, 0, 0
		for n < len(p.commands) && args < planArgs && size < planPiece {
			for _, a := range p.commands[n] {
				size += len(a) + 5
			}
			args += len(p.commands[n])
			n++
		}
		b := appendArray(make([]byte, 0, size+16), n-first)
		for _, c := range p.commands[first:n] {
			b = appendArray(b, len(c))
			for _, a := range c {
				b = append(binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(len(a))), a...)
			}
		}
		list = append(list, string(b))
		first = n
	}
	return list
}

func appendArray(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n))
}

// commit makes a change that was worked out from version; false if the directory has another
// version by now.
func (s *dirStore) commit(ctx context.Context, version, next int64, p *plan) (bool, error) {
	id, pieces := strconv.FormatUint(rand.Uint64(), 36)+"."+s.instance, p.pieces()
	if len(pieces) == 1 {
		return s.dirRun(ctx, "edit_directory", scriptCommit, version, id, next, 0, pieces[0])
	}
	for first := 0; first < len(pieces); first += planBatch {
		var qs []*query
		for i := first; i < min(first+planBatch, len(pieces)); i++ {
			qs = append(qs, dirQuery("set", stagedKey(id)+strconv.Itoa(i+1), pieces[i], "ex",
				stagedFor))
		}
		if err := s.ask(ctx, "stage_directory", qs); err != nil {
			return false, err
		}
	}
	committed, err := s.dirRun(ctx, "edit_directory", scriptCommit, version, id, next, len(pieces),
		stagedKey(id))
	if err != nil || !committed {
		return false, err
	}
	if err := s.copyChange(ctx, id+" "+strconv.Itoa(len(pieces))); err != nil {
		return false, fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, err)
	}
	return true, nil
}

func stagedKey(id string) string { return dirTag + ":c:" + id + ":" }

// copyChange copies a committed change into place. Others may do the same at the same time: a piece
// is taken once.
func (s *dirStore) copyChange(ctx context.Context, pending string) error {
	id, count, _ := strings.Cut(pending, " ")
	pieces, err := strconv.Atoi(count)
	if err != nil {
		return fmt.Errorf("%w: pending change %q of the directory", queue.ErrCorrupt, pending)
	}
	for first := 1; first <= pieces; first += planBatch {
		var qs []*query
		for i := first; i < min(first+planBatch, pieces+1); i++ {
			qs = append(qs, s.dirScript(scriptApply, pending, stagedKey(id)+strconv.Itoa(i)))
		}
		if err := s.ask(ctx, "copy_directory", qs); err != nil {
			return err
		}
	}
	_, err = s.dirRun(ctx, "copy_directory", scriptApply, pending, "")
	return err
}
