package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"trackchat/queue"
)

// The directory lies in one slot, so that an import counts as a whole or not at all: HASHes of about a thousandth of the rows each (field id, value JSON), and a head with the
// version. An import is written aside in pieces, committed by one short script, and then copied into place piece by piece; who finds a committed one that was not copied to the
// end (its node died) finishes it first. No command is longer than a piece or a bucket.
const (
	dirTag     = "{chat:dir}"
	dirHead    = dirTag
	dirChannel = dirTag + ":changed" // told the version after every import
	dirBuckets = 1024
	dirPiece   = 200 // rows
	dirPage    = 32  // buckets that are read at once
	dirTries   = 20
	stagedFor  = 86_400 // seconds that an import that was never committed stays
)

var errDirectoryBusy = errors.New("the directory keeps changing") // Import and Load give up with queue.ErrUnavailable

// row is one change of a bucket; an empty Value removes.
type row struct {
	Bucket string `json:"b"`
	Field  string `json:"f"`
	Value  string `json:"v,omitempty"`
}

func accountBucket(id queue.AccountID) string { return bucket("a", int64(id)) }

func trackerBucket(id queue.TrackerID) string { return bucket("t", int64(id)) }

func bucket(kind string, id int64) string {
	return fmt.Sprintf("%s:%s:%d", dirTag, kind, uint64(id)%dirBuckets)
}

// head is the directory's head.
type head struct {
	version string
	pending string // id and pieces of an import that is committed but not copied yet; empty mostly
}

// dirAsk runs one command on the directory's slot.
func (s *Store) dirAsk(ctx context.Context, args ...any) (any, error) {
	q := &query{slot: slotOf(strings.Trim(dirTag, "{}")), args: args}
	if err := s.ask(ctx, "directory", []*query{q}); err != nil {
		return nil, err
	}
	return q.reply, nil
}

func (s *Store) dirScript(ctx context.Context, name string, args ...any) (bool, error) {
	sc := s.scripts[name]
	q := &query{slot: slotOf(strings.Trim(dirTag, "{}")), sc: sc, args: append([]any{"evalsha", sc.sha, 1, dirHead}, args...)}
	if err := s.ask(ctx, "directory", []*query{q}); err != nil {
		return false, err
	}
	return q.reply == int64(1), nil
}

// settledHead finishes what another import may have left and returns the head.
func (s *Store) settledHead(ctx context.Context) (head, error) {
	for range dirTries {
		reply, err := s.dirAsk(ctx, "hmget", dirHead, "version", "pending")
		if err != nil {
			return head{}, err
		}
		values, _ := reply.([]any)
		if len(values) != 2 {
			return head{}, fmt.Errorf("%w: directory's head", queue.ErrCorrupt)
		}
		h := head{version: "0"}
		if v, ok := values[0].(string); ok {
			h.version = v
		}
		h.pending, _ = values[1].(string)
		if h.pending == "" {
			return h, nil
		}
		if err := s.copyImport(ctx, h.pending); err != nil {
			return head{}, err
		}
	}
	return head{}, fmt.Errorf("%w: %w", queue.ErrUnavailable, errDirectoryBusy)
}

func stagedKey(id string) string { return dirTag + ":s:" + id + ":" }

// copyImport copies a committed import into place. Others may do the same at the same time.
func (s *Store) copyImport(ctx context.Context, pending string) error {
	id, count, _ := strings.Cut(pending, " ")
	pieces, err := strconv.Atoi(count)
	if err != nil {
		return fmt.Errorf("%w: pending import %q", queue.ErrCorrupt, pending)
	}
	for i := 1; i <= pieces; i++ {
		key := stagedKey(id) + strconv.Itoa(i)
		reply, err := s.dirAsk(ctx, "get", key)
		if err != nil {
			return err
		}
		text, ok := reply.(string)
		if !ok {
			continue // somebody else has copied it
		}
		var rows []row
		if err := json.Unmarshal([]byte(text), &rows); err != nil {
			return fmt.Errorf("%w: staged import: %w", queue.ErrCorrupt, err)
		}
		args := []any{pending, "", s.publish, key}
		for _, r := range rows {
			args = append(args, r.Bucket, r.Field, r.Value)
		}
		if _, err := s.dirScript(ctx, scriptApply, args...); err != nil {
			return err
		}
	}
	_, err = s.dirScript(ctx, scriptApply, pending, dirChannel, s.publish, "")
	return err
}

// LoadDirectory implements queue.DirectoryStore.
func (s *Store) LoadDirectory(ctx context.Context) ([]queue.Account, []queue.Tracker, error) {
	accounts, trackers, _, err := s.loadDirectory(ctx)
	return accounts, trackers, err
}

// loadDirectory reads one version of the directory; if it changes meanwhile, it reads again.
func (s *Store) loadDirectory(ctx context.Context) ([]queue.Account, []queue.Tracker, string, error) {
	for range dirTries {
		h, err := s.settledHead(ctx)
		if err != nil {
			return nil, nil, "", err
		}
		var accounts []queue.Account
		var trackers []queue.Tracker
		err = s.eachRow(ctx, "a", func(text string) error { return appendRow(&accounts, text, accountRow.account) })
		if err == nil {
			err = s.eachRow(ctx, "t", func(text string) error { return appendRow(&trackers, text, trackerRow.tracker) })
		}
		if err != nil {
			return nil, nil, "", err
		}
		reply, err := s.dirAsk(ctx, "hget", dirHead, "version")
		if err != nil {
			return nil, nil, "", err
		}
		if v, ok := reply.(string); !ok && h.version == "0" || v == h.version {
			queue.SortDirectory(accounts, trackers)
			return accounts, trackers, h.version, nil
		}
	}
	return nil, nil, "", fmt.Errorf("%w: %w", queue.ErrUnavailable, errDirectoryBusy)
}

// eachRow reads the buckets of one kind, some at once.
func (s *Store) eachRow(ctx context.Context, kind string, yield func(text string) error) error {
	for first := 0; first < dirBuckets; first += dirPage {
		qs := make([]*query, dirPage)
		for i := range qs {
			qs[i] = &query{slot: slotOf(strings.Trim(dirTag, "{}")), args: []any{"hvals", bucket(kind, int64(first+i))}}
		}
		if err := s.ask(ctx, "directory", qs); err != nil {
			return err
		}
		for _, q := range qs {
			values, _ := q.reply.([]any)
			for _, v := range values {
				text, _ := v.(string)
				if err := yield(text); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// appendRow decodes a row of type R and appends what it stands for.
func appendRow[R, V any](list *[]V, text string, convert func(R) (V, error)) error {
	var r R
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return fmt.Errorf("%w: row of the directory: %w", queue.ErrCorrupt, err)
	}
	v, err := convert(r)
	if err != nil {
		return err
	}
	*list = append(*list, v)
	return nil
}

// ImportDirectory implements queue.DirectoryStore.
func (s *Store) ImportDirectory(ctx context.Context, accounts []queue.Account, trackers []queue.Tracker, prune bool) (queue.ImportStats, error) {
	for range dirTries {
		oldAccounts, oldTrackers, version, err := s.loadDirectory(ctx)
		if err != nil {
			return queue.ImportStats{}, err
		}
		change, err := queue.MergeDirectory(oldAccounts, oldTrackers, accounts, trackers, prune)
		if err != nil {
			return queue.ImportStats{}, err
		}
		rows, err := changedRows(&change)
		if err != nil {
			return queue.ImportStats{}, err
		}
		if len(rows) == 0 {
			return change.Stats, nil
		}
		id := rand.Text()
		pieces, err := s.stage(ctx, id, rows)
		if err != nil {
			return queue.ImportStats{}, err
		}
		committed, err := s.dirScript(ctx, scriptCommit, version, id, pieces, stagedKey(id))
		if err != nil {
			return queue.ImportStats{}, err
		}
		if committed {
			return change.Stats, s.copyImport(ctx, id+" "+strconv.Itoa(pieces))
		}
	}
	return queue.ImportStats{}, fmt.Errorf("%w: %w", queue.ErrUnavailable, errDirectoryBusy)
}

// stage writes rows aside in pieces and returns their number.
func (s *Store) stage(ctx context.Context, id string, rows []row) (int, error) {
	pieces := 0
	for len(rows) > 0 {
		n := min(len(rows), dirPiece)
		text, err := json.Marshal(rows[:n])
		if err != nil {
			return 0, fmt.Errorf("writing rows of the directory: %w", err)
		}
		pieces++
		if _, err := s.dirAsk(ctx, "set", stagedKey(id)+strconv.Itoa(pieces), text, "ex", stagedFor); err != nil {
			return 0, err
		}
		rows = rows[n:]
	}
	return pieces, nil
}

func changedRows(c *queue.DirectoryChange) ([]row, error) {
	rows := make([]row, 0, len(c.PutAccounts)+len(c.PutTrackers)+len(c.RemoveAccounts)+len(c.RemoveTrackers))
	put := func(bucket string, id int64, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("writing a row of the directory: %w", err)
		}
		rows = append(rows, row{Bucket: bucket, Field: strconv.FormatInt(id, 10), Value: string(text)})
		return nil
	}
	for i := range c.PutAccounts {
		a := &c.PutAccounts[i]
		if err := put(accountBucket(a.ID), int64(a.ID), newAccountRow(a)); err != nil {
			return nil, err
		}
	}
	for i := range c.PutTrackers {
		t := &c.PutTrackers[i]
		if err := put(trackerBucket(t.ID), int64(t.ID), trackerRow(*t)); err != nil {
			return nil, err
		}
	}
	for _, id := range c.RemoveAccounts {
		rows = append(rows, row{Bucket: accountBucket(id), Field: strconv.FormatInt(int64(id), 10)})
	}
	for _, id := range c.RemoveTrackers {
		rows = append(rows, row{Bucket: trackerBucket(id), Field: strconv.FormatInt(int64(id), 10)})
	}
	return rows, nil
}
