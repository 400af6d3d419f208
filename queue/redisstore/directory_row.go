package redisstore

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"trackchat/queue"
)

// accountRow is how an account is stored.
type accountRow struct {
	ID       queue.AccountID `json:"id"`
	Login    string          `json:"login,omitempty"`
	Password string          `json:"password,omitempty"`
	Title    string          `json:"title,omitempty"`
	TimeZone string          `json:"time_zone,omitempty"`
	Keys     []string        `json:"keys,omitempty"` // hexadecimal
	// MoreKeys are those with a name, fewer rights or an end, in their places among all keys: who
	// does not know of these must not take them for keys that may everything.
	MoreKeys []keyRow      `json:"more_keys,omitempty"`
	People   *queue.People `json:"people,omitempty"`
}

type keyRow struct {
	Place int        `json:"place"`
	Hash  string     `json:"hash"`
	Name  string     `json:"name,omitempty"`
	Role  queue.Role `json:"role"`
	EndMs int64      `json:"end_ms,omitempty"`
}

func hasInfo(k queue.Key) bool { return k != queue.Key{Hash: k.Hash} }

func encodeAccount(a *queue.Account, version int64) (string, error) {
	r := accountRow{
		ID: a.ID, Login: a.Login, Password: a.Password, Title: a.Title,
		TimeZone: a.TimeZone, People: a.People,
	}
	for i, k := range a.Keys {
		hash := hex.EncodeToString(k.Hash[:])
		if !hasInfo(k) {
			r.Keys = append(r.Keys, hash)
			continue
		}
		r.MoreKeys = append(r.MoreKeys, keyRow{i, hash, k.Name, k.Role, k.EndMs})
	}
	return encodeRow(r, version)
}

func decodeAccount(value string) (a queue.Account, version int64, err error) {
	var r accountRow
	if version, err = decodeRow(value, &r); err != nil {
		return a, 0, err
	}
	a = queue.Account{
		ID: r.ID, Login: r.Login, Password: r.Password, Title: r.Title,
		TimeZone: r.TimeZone, People: r.People,
	}
	for _, text := range r.Keys {
		k, err := decodeHash(text)
		if err != nil {
			return a, 0, fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, r.ID)
		}
		a.Keys = append(a.Keys, queue.Key{Hash: k})
	}
	for _, m := range r.MoreKeys {
		k, err := decodeHash(m.Hash)
		if err != nil || m.Place < 0 {
			return a, 0, fmt.Errorf("%w: key of account %d", queue.ErrCorrupt, r.ID)
		}
		a.Keys = slices.Insert(a.Keys, min(m.Place, len(a.Keys)),
			queue.Key{Hash: k, Name: m.Name, Role: m.Role, EndMs: m.EndMs})
	}
	return a, version, nil
}

func decodeHash(text string) (k queue.KeyHash, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(k) {
		return k, fmt.Errorf("%q is no hash", text)
	}
	return queue.KeyHash(b), nil
}

// trackerRow is how a tracker is stored.
type trackerRow struct {
	ID             queue.TrackerID       `json:"id"`
	Account        queue.AccountID       `json:"account"`
	Label          string                `json:"label,omitempty"`
	Protocol       string                `json:"protocol"`
	DeviceID       string                `json:"device"`
	Password       string                `json:"password,omitempty"`
	Model          string                `json:"model,omitempty"`
	Blocked        bool                  `json:"blocked,omitempty"`
	Chat           bool                  `json:"chat,omitempty"`
	Conversation   uint8                 `json:"conversation,omitempty"`
	History        queue.History         `json:"-"`
	Features       []string              `json:"features,omitempty"`
	Employee       int64                 `json:"employee,omitempty"`
	EmployeeRecord *queue.EmployeeRecord `json:"employee_record,omitempty"`
	Settings       map[string]string     `json:"settings,omitempty"`
	Sorting        *queue.Sorting        `json:"sorting,omitempty"`
	Upstream       string                `json:"upstream,omitempty"`
	Former         *[]queue.Former       `json:"former,omitempty"`
}

func encodeTracker(t *queue.Tracker, version int64) (string, error) {
	return encodeRow(trackerRow(*t), version)
}

func decodeTracker(value string) (queue.Tracker, int64, error) {
	var r trackerRow
	version, err := decodeRow(value, &r)
	return queue.Tracker(r), version, err
}

// encodeRow puts the version of the row's last change before it.
func encodeRow(row any, version int64) (string, error) {
	text, err := json.Marshal(row)
	if err != nil {
		return "", fmt.Errorf("writing a row of the directory: %w", err)
	}
	return strconv.FormatInt(version, 10) + " " + string(text), nil
}

// rowVersion is the version before a stored row, and the row.
func rowVersion(value string) (version int64, text string, err error) {
	first, text, _ := strings.Cut(value, " ")
	if version, err = strconv.ParseInt(first, 10, 64); err != nil {
		return 0, "", fmt.Errorf("%w: version %q of a row of the directory", queue.ErrCorrupt,
			first)
	}
	return version, text, nil
}

func decodeRow(value string, row any) (version int64, err error) {
	version, text, err := rowVersion(value)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal([]byte(text), row); err != nil {
		return 0, fmt.Errorf("%w: row of the directory: %w", queue.ErrCorrupt, err)
	}
	return version, nil
}

// maxPage bounds what one call of Accounts or Trackers returns.
const maxPage = 10_000

// rowKind is how rows of accounts or of trackers are read.
type rowKind[V any] struct {
	key    string // dirAccounts or dirTrackers
	decode func(value string) (V, int64, error)
	id     func(*V) int64
}

func (s *dirStore) Accounts(ctx context.Context, after queue.AccountID, limit int) ([]queue.Account,
	error,
) {
	return listRows(ctx, s, rowKind[queue.Account]{
		dirAccounts, decodeAccount,
		func(a *queue.Account) int64 { return int64(a.ID) },
	}, int64(after), limit)
}

func (s *dirStore) Trackers(ctx context.Context, after queue.TrackerID, limit int) ([]queue.Tracker,
	error,
) {
	return listRows(ctx, s, rowKind[queue.Tracker]{
		dirTrackers, decodeTracker,
		func(t *queue.Tracker) int64 { return int64(t.ID) },
	}, int64(after), limit)
}

// pageBuckets is how many HASHes of rows are read at once for a page.
const pageBuckets = 16

// listRows reads rows in the order of their ids, some buckets at a time.
func listRows[V any](ctx context.Context, s *dirStore, k rowKind[V], after int64, limit int) ([]V,
	error,
) {
	if _, err := s.settledHead(ctx); err != nil {
		return nil, err
	}
	limit = min(limit, maxPage)
	var list []V
	for bucket := bucketOf(after); len(list) < limit; {
		q := dirQuery("zrangebyscore", k.key, bucket, "+inf", "limit", 0, pageBuckets)
		if err := s.ask(ctx, "directory", []*query{q}); err != nil {
			return nil, err
		}
		members, _ := q.reply.([]any)
		if len(members) == 0 {
			break
		}
		buckets := make([]int64, len(members))
		for i, m := range members {
			var err error
			if buckets[i], err = strconv.ParseInt(fmt.Sprint(m), 10, 64); err != nil {
				return nil, fmt.Errorf("%w: bucket %q of the directory", queue.ErrCorrupt, m)
			}
		}
		rows, err := s.bucketRows(ctx, k.key, buckets)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			v, _, err := k.decode(row)
			if err != nil {
				return nil, err
			}
			if k.id(&v) > after {
				list = append(list, v)
			}
		}
		bucket = buckets[len(buckets)-1] + 1
	}
	slices.SortFunc(list, func(a, b V) int { return cmp.Compare(k.id(&a), k.id(&b)) })
	return list[:max(0, min(limit, len(list)))], nil
}

// bucketRows reads all rows of some buckets.
func (s *dirStore) bucketRows(ctx context.Context, kind string, buckets []int64) ([]string, error) {
	qs := make([]*query, len(buckets))
	for i, b := range buckets {
		qs[i] = dirQuery("hvals", bucketKey(kind, b))
	}
	if err := s.ask(ctx, "directory", qs); err != nil {
		return nil, err
	}
	var rows []string
	for _, q := range qs {
		values, _ := q.reply.([]any)
		for _, v := range values {
			row, _ := v.(string)
			rows = append(rows, row)
		}
	}
	return rows, nil
}
