package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"trackchat/queue"
)

// desk has in hand what some edits need of the directory.
type desk struct {
	s       *Store
	change  *change
	holders map[string]int64        // of unique fields, 0 nobody
	owned   map[queue.AccountID]int // trackers of accounts that may go
}

// fetch reads the rows that the edits name, who has what they want for themselves, and the accounts
// of keys that go.
func (d *desk) fetch(ctx context.Context, edits []queue.Edit) error {
	var accounts []queue.AccountID
	var trackers []queue.TrackerID
	var uniques []string
	for i := range edits {
		e := &edits[i]
		switch e.Kind {
		case queue.EditPutAccount:
			accounts = append(accounts, e.Account.ID)
			uniques = append(uniques, accountUniques(&e.Account)...)
		case queue.EditDropAccount:
			accounts = append(accounts, e.Account.ID)
			d.owned[e.Account.ID] = 0
		case queue.EditPutTracker:
			accounts, trackers = append(accounts, e.Tracker.Account), append(trackers, e.Tracker.ID)
			uniques = append(uniques, uniqueDevice(e.Tracker.Protocol,
				queue.NormalizeDeviceID(e.Tracker.DeviceID)))
		case queue.EditDropTracker:
			trackers = append(trackers, e.Tracker.ID)
		case queue.EditAddKey:
			accounts, uniques = append(accounts, e.Account.ID), append(uniques, uniqueKey(e.Key))
		case queue.EditDropKey:
			uniques = append(uniques, uniqueKey(e.Key))
		default:
			return fmt.Errorf("unknown edit %d", e.Kind)
		}
	}
	if err := d.fetchHolders(ctx, uniques); err != nil {
		return err
	}
	for i := range edits {
		if holder := d.holders[uniqueKey(edits[i].Key)]; edits[i].Kind == queue.EditDropKey &&
			holder != 0 {
			accounts = append(accounts, queue.AccountID(holder))
		}
	}
	if err := d.fetchAccounts(ctx, accounts); err != nil {
		return err
	}
	if err := d.fetchTrackers(ctx, trackers); err != nil {
		return err
	}
	return d.s.finishDrops(ctx, d.newKeys(edits))
}

// newKeys are those of the conversations that trackers begin which move.
func (d *desk) newKeys(edits []queue.Edit) []queue.TrackerID {
	var keys []queue.TrackerID
	for i := range edits {
		if edits[i].Kind != queue.EditPutTracker {
			continue
		}
		t := edits[i].Tracker
		old := d.before(t.ID)
		if _, err := t.Succeed(old); err == nil && old != nil && t.Key() != old.Key() {
			keys = append(keys, t.Key())
		}
	}
	return keys
}

func (d *desk) fetchHolders(ctx context.Context, fields []string) error {
	slices.Sort(fields)
	fields = slices.Compact(fields)
	qs := make([]*query, 0, len(fields)+len(d.owned))
	for _, f := range fields {
		qs = append(qs, dirQuery("hget", uniqueBucket(f), f))
	}
	counted := make([]queue.AccountID, 0, len(d.owned))
	for id := range d.owned {
		qs, counted = append(qs, dirQuery("hget", ownedKey(id), "n")), append(counted, id)
	}
	if err := d.s.ask(ctx, "directory", qs); err != nil {
		return err
	}
	for i, q := range qs {
		text, ok := q.reply.(string)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: number %q in an index of the directory", queue.ErrCorrupt, text)
		}
		if i < len(fields) {
			d.holders[fields[i]] = n
		} else {
			d.owned[counted[i-len(fields)]] = int(n)
		}
	}
	return nil
}

func (d *desk) fetchAccounts(ctx context.Context, ids []queue.AccountID) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	values, err := fetchRows(ctx, d.s, dirAccounts, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		r := &rowChange[queue.Account]{}
		if values[i] != "" {
			a, _, err := decodeAccount(values[i])
			if err != nil {
				return err
			}
			r.was, r.is = &a, &a
		}
		d.change.accounts[id] = r
	}
	return nil
}

func (d *desk) fetchTrackers(ctx context.Context, ids []queue.TrackerID) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if err := d.s.finishDrops(ctx, ids); err != nil {
		return err
	}
	values, err := fetchRows(ctx, d.s, dirTrackers, ids)
	if err != nil {
		return err
	}
	if err := d.fetchKept(ctx, ids); err != nil {
		return err
	}
	for i, id := range ids {
		r := &rowChange[queue.Tracker]{}
		if values[i] != "" {
			t, _, err := decodeTracker(values[i])
			if err != nil {
				return err
			}
			r.was, r.is = &t, &t
		}
		d.change.trackers[id] = r
	}
	return nil
}

func (d *desk) fetchKept(ctx context.Context, ids []queue.TrackerID) error {
	values, err := fetchRows(ctx, d.s, dirKept, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if values[i] == "" {
			continue
		}
		t, _, err := decodeTracker(values[i])
		if err != nil {
			return err
		}
		d.change.kept[id] = &t
	}
	return nil
}

// before is what a tracker replaces: itself as it is, or as it was when an import removed it.
func (d *desk) before(id queue.TrackerID) *queue.Tracker {
	if old := d.change.trackers[id].is; old != nil {
		return old
	}
	return d.change.kept[id]
}

// fetchRows reads rows by id, ” where there is none.
func fetchRows[K ~int64](ctx context.Context, s *Store, kind string, ids []K) ([]string, error) {
	qs := make([]*query, len(ids))
	for i, id := range ids {
		qs[i] = dirQuery("hget", rowKey(kind, int64(id)), int64(id))
	}
	if err := s.ask(ctx, "directory", qs); err != nil {
		return nil, err
	}
	values := make([]string, len(ids))
	for i, q := range qs {
		values[i], _ = q.reply.(string)
	}
	return values, nil
}

// edit checks everything before it changes anything.
func (d *desk) edit(ctx context.Context, e *queue.Edit) (queue.EditOutcome, error) {
	switch e.Kind {
	case queue.EditPutAccount:
		return d.putAccount(e)
	case queue.EditPutTracker:
		return d.putTracker(e.Tracker)
	case queue.EditDropAccount:
		return d.dropAccount(ctx, e.Account.ID)
	case queue.EditDropTracker:
		return d.dropTracker(e.Tracker.ID)
	case queue.EditAddKey:
		return d.addKey(e.Account.ID, e.Key)
	default:
		return d.dropKey(e.Key)
	}
}

func putOutcome(found bool) queue.EditOutcome {
	if found {
		return queue.EditUpdated
	}
	return queue.EditAdded
}

// setAccount also notes who has what from now on.
func (d *desk) setAccount(id queue.AccountID, a *queue.Account) {
	d.hand(int64(id), accountUniques(d.change.accounts[id].is), accountUniques(a))
	d.change.setAccount(id, a)
}

func (d *desk) setTracker(id queue.TrackerID, t *queue.Tracker) {
	was := d.change.trackers[id].is
	d.hand(int64(id), trackerUniques(was), trackerUniques(t))
	for _, a := range holdersOf(was) {
		d.owned[a]--
	}
	for _, a := range holdersOf(t) {
		d.owned[a]++
	}
	d.change.setTracker(id, t)
}

func (d *desk) hand(id int64, was, is []string) {
	for _, f := range was {
		d.holders[f] = 0
	}
	for _, f := range is {
		d.holders[f] = id
	}
}

func (d *desk) putAccount(e *queue.Edit) (queue.EditOutcome, error) {
	a, old := e.Account, d.change.accounts[e.Account.ID].is
	a.Keys = slices.Clone(a.Keys)
	if old != nil && e.KeepPassword {
		a.Password = old.Password
	}
	if old != nil && e.KeepKeys {
		a.Keys = old.Keys
	}
	if old != nil && queue.SameAccount(old, &a) {
		return queue.EditUnchanged, nil
	}
	if other := d.holders[uniqueLogin(a.Login)]; a.Login != "" && other != 0 &&
		other != int64(a.ID) {
		return 0, queue.LoginTaken(queue.AccountID(other))
	}
	for i, k := range a.Keys {
		if slices.Contains(a.Keys[:i], k) {
			return 0, queue.KeyTwice()
		}
		if other := d.holders[uniqueKey(k)]; other != 0 && other != int64(a.ID) {
			return 0, queue.KeyTaken()
		}
	}
	d.setAccount(a.ID, &a)
	return putOutcome(old != nil), nil
}

func (d *desk) putTracker(t queue.Tracker) (queue.EditOutcome, error) {
	t.DeviceID = queue.NormalizeDeviceID(t.DeviceID)
	old := d.change.trackers[t.ID].is
	dropped, err := t.Succeed(d.before(t.ID))
	if err != nil {
		return 0, err
	}
	if old != nil && queue.SameTracker(old, &t) {
		return queue.EditUnchanged, nil
	}
	if d.change.accounts[t.Account].is == nil {
		return 0, queue.NoAccount(t.Account)
	}
	if other := d.holders[uniqueDevice(t.Protocol, t.DeviceID)]; other != 0 &&
		other != int64(t.ID) {
		return 0, queue.DeviceTaken(queue.TrackerID(other))
	}
	d.setTracker(t.ID, &t)
	d.change.drop(dropped)
	return putOutcome(old != nil), nil
}

func (d *desk) dropAccount(ctx context.Context, id queue.AccountID) (queue.EditOutcome, error) {
	if d.change.accounts[id].is == nil {
		return 0, queue.ErrNotFound
	}
	if d.owned[id] > 0 {
		one, err := d.oneOf(ctx, id)
		switch {
		case err != nil:
			return 0, err
		case one.Account == id:
			return 0, queue.HasTrackers(one.ID)
		}
		return 0, queue.KeepsHistory(one.ID)
	}
	d.setAccount(id, nil)
	return queue.EditRemoved, nil
}

// oneOf finds some tracker that an account has, or has kept messages of.
func (d *desk) oneOf(ctx context.Context, id queue.AccountID) (*queue.Tracker, error) {
	for _, r := range d.change.trackers {
		if slices.Contains(holdersOf(r.is), id) {
			return r.is, nil
		}
	}
	// One field may be the sum. An account whose trackers were all in hand has none here.
	q := dirQuery("hrandfield", ownedKey(id), 2)
	if err := d.s.ask(ctx, "directory", []*query{q}); err != nil {
		return nil, err
	}
	fields, _ := q.reply.([]any)
	for _, f := range fields {
		bucket, err := strconv.ParseInt(fmt.Sprint(f), 10, 64)
		if err != nil {
			continue
		}
		rows, err := d.s.bucketRows(ctx, dirTrackers, []int64{bucket})
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if t, _, err := decodeTracker(row); err != nil || slices.Contains(holdersOf(&t), id) {
				return &t, err
			}
		}
	}
	return nil, fmt.Errorf("%w: account %d has trackers that are nowhere", queue.ErrCorrupt, id)
}

func (d *desk) dropTracker(id queue.TrackerID) (queue.EditOutcome, error) {
	old := d.change.trackers[id].is
	if old == nil {
		return 0, queue.ErrNotFound
	}
	d.setTracker(id, nil)
	d.change.drop(old.Keys())
	return queue.EditRemoved, nil
}

// addKey puts the key after the others.
func (d *desk) addKey(id queue.AccountID, k queue.KeyHash) (queue.EditOutcome, error) {
	old := d.change.accounts[id].is
	switch other := d.holders[uniqueKey(k)]; {
	case old == nil:
		return 0, queue.ErrNotFound
	case other == int64(id):
		return queue.EditUnchanged, nil
	case other != 0:
		return 0, queue.KeyTaken()
	}
	a := *old
	a.Keys = append(slices.Clone(a.Keys), k)
	d.setAccount(id, &a)
	return queue.EditUpdated, nil
}

func (d *desk) dropKey(k queue.KeyHash) (queue.EditOutcome, error) {
	id := queue.AccountID(d.holders[uniqueKey(k)])
	if id == 0 {
		return 0, queue.ErrNotFound
	}
	holder := d.change.accounts[id].is
	if holder == nil {
		return 0, fmt.Errorf("%w: a key of account %d, which does not exist", queue.ErrCorrupt, id)
	}
	a := *holder
	a.Keys = slices.DeleteFunc(slices.Clone(a.Keys), func(h queue.KeyHash) bool { return h == k })
	d.setAccount(id, &a)
	return queue.EditRemoved, nil
}
