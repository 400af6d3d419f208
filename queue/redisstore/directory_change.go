package redisstore

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"trackchat/queue"
)

// maxGone is how many removed rows are remembered at least; of one and a half times as many the
// oldest are forgotten.
const maxGone = 10_000

// rowChange is what becomes of a row; nil stands for none.
type rowChange[V any] struct {
	was, is *V
	version int64 // of the last change, 0: it is as it was
}

// change is what becomes of the directory.
type change struct {
	version  int64 // of the last row changed
	accounts map[queue.AccountID]*rowChange[queue.Account]
	trackers map[queue.TrackerID]*rowChange[queue.Tracker]
	// conversations that are removed: version of the removal.
	dropped map[queue.TrackerID]int64
	// of trackers that come: what an import removed before.
	kept  map[queue.TrackerID]*queue.Tracker
	ended map[queue.AccountID]struct{} // whose sessions end
}

func newChange(version int64) *change {
	return &change{
		version: version, accounts: make(map[queue.AccountID]*rowChange[queue.Account]),
		trackers: make(map[queue.TrackerID]*rowChange[queue.Tracker]),
		dropped:  make(map[queue.TrackerID]int64), kept: make(map[queue.TrackerID]*queue.Tracker),
		ended: make(map[queue.AccountID]struct{}),
	}
}

// setAccount puts an account, or removes it where a is nil.
func (c *change) setAccount(id queue.AccountID, a *queue.Account) {
	r := c.accounts[id]
	if r.is != nil && (a == nil || a.Password != r.is.Password) {
		c.ended[id] = struct{}{}
	}
	c.version++
	r.is, r.version = a, c.version
}

// setTracker puts a tracker, or removes it where t is nil.
func (c *change) setTracker(id queue.TrackerID, t *queue.Tracker) {
	c.version++
	r := c.trackers[id]
	r.is, r.version = t, c.version
}

// drop notes that conversations go with the change that was made last.
func (c *change) drop(keys []queue.TrackerID) {
	for _, key := range keys {
		c.dropped[key] = c.version
	}
}

// holdersOf are the accounts that a tracker keeps from being removed.
func holdersOf(t *queue.Tracker) []queue.AccountID {
	if t == nil {
		return nil
	}
	var list []queue.AccountID
	for _, key := range t.Keys() {
		a, _, _ := t.Holder(key)
		list = append(list, a)
	}
	return list
}

// accountUniques are what no other account may have.
func accountUniques(a *queue.Account) []string {
	if a == nil {
		return nil
	}
	var list []string
	if a.Login != "" {
		list = append(list, uniqueLogin(a.Login))
	}
	for _, k := range a.Keys {
		list = append(list, uniqueKey(k))
	}
	return list
}

func trackerUniques(t *queue.Tracker) []string {
	if t == nil {
		return nil
	}
	return []string{uniqueDevice(t.Protocol, t.DeviceID)}
}

// sheet collects what a change writes, by key, so that what lies together is written together.
type sheet struct {
	plan
	unique map[string]string // to note: who has it
	free   map[string]string // no longer had by
	owned  map[queue.AccountID]map[int64]int
	log    []string // version, member
	gone   []string
}

// plan works out the commands.
func (c *change) plan() (*plan, error) {
	w := &sheet{
		unique: make(map[string]string), free: make(map[string]string),
		owned: make(map[queue.AccountID]map[int64]int),
	}
	for _, id := range slices.Sorted(maps.Keys(c.accounts)) {
		r := c.accounts[id]
		if r.version == 0 {
			continue
		}
		w.uniques(int64(id), accountUniques(r.was), accountUniques(r.is))
		if err := w.row(dirAccounts, "a", int64(id), r.version, r.is != nil, func() (string,
			error,
		) {
			return encodeAccount(r.is, r.version)
		}); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.trackers)) {
		r := c.trackers[id]
		if r.version == 0 {
			continue
		}
		w.uniques(int64(id), trackerUniques(r.was), trackerUniques(r.is))
		for _, a := range holdersOf(r.was) {
			w.own(a, bucketOf(int64(id)), -1)
		}
		for _, a := range holdersOf(r.is) {
			w.own(a, bucketOf(int64(id)), 1)
		}
		if err := w.keep(c, id, r); err != nil {
			return nil, err
		}
		if err := w.row(dirTrackers, "t", int64(id), r.version, r.is != nil, func() (string,
			error,
		) {
			return encodeTracker(r.is, r.version)
		}); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.ended)) {
		w.add([]string{"endsessions", strconv.FormatInt(int64(id), 10)})
	}
	for _, id := range slices.Sorted(maps.Keys(c.dropped)) {
		w.add([]string{"hset", dirDrops}, strconv.FormatInt(int64(id), 10),
			strconv.FormatInt(c.dropped[id], 10))
	}
	return w.done(), nil
}

// keep notes whose messages a tracker leaves behind that goes without them, and forgets it where it
// comes back.
func (w *sheet) keep(c *change, id queue.TrackerID, r *rowChange[queue.Tracker]) error {
	bucket, field := strconv.FormatInt(bucketOf(int64(id)), 10), strconv.FormatInt(int64(id), 10)
	if r.is != nil {
		if c.kept[id] != nil {
			w.add([]string{"cut", dirKept, bucket}, field)
		}
		return nil
	}
	if r.was == nil {
		return nil
	}
	if _, drops := c.dropped[r.was.Key()]; drops {
		return nil
	}
	value, err := encodeTracker(r.was, r.version)
	if err == nil {
		w.add([]string{"put", dirKept, bucket}, field, value)
	}
	return err
}

func (w *sheet) own(id queue.AccountID, bucket int64, n int) {
	if w.owned[id] == nil {
		w.owned[id] = make(map[int64]int)
	}
	w.owned[id][bucket] += n
}

func (w *sheet) uniques(id int64, was, is []string) {
	holder := strconv.FormatInt(id, 10)
	for _, f := range was {
		if !slices.Contains(is, f) {
			w.free[f] = holder
		}
	}
	for _, f := range is {
		if !slices.Contains(was, f) {
			w.unique[f] = holder
		}
	}
}

// row writes or removes one row and its place in the history.
func (w *sheet) row(kind, letter string, id, version int64, put bool, encode func() (string,
	error),
) error {
	bucket, field := strconv.FormatInt(bucketOf(id), 10), strconv.FormatInt(id, 10)
	at, v := letter+field, strconv.FormatInt(version, 10)
	if !put {
		w.add([]string{"cut", kind, bucket}, field)
		w.gone = append(w.gone, v, at)
		return nil
	}
	value, err := encode()
	if err != nil {
		return err
	}
	w.add([]string{"put", kind, bucket}, field, value)
	w.log = append(w.log, v, at)
	return nil
}

// byBucket orders unique fields so that those of one HASH follow each other.
func byBucket(fields map[string]string) []string {
	return slices.SortedFunc(maps.Keys(fields), func(a, b string) int {
		return cmp.Or(cmp.Compare(uniqueBucket(a), uniqueBucket(b)), cmp.Compare(a, b))
	})
}

func (w *sheet) done() *plan {
	for _, f := range byBucket(w.free) {
		w.add([]string{"free", uniqueBucket(f)}, f, w.free[f])
	}
	for _, f := range byBucket(w.unique) {
		w.add([]string{"hset", uniqueBucket(f)}, f, w.unique[f])
	}
	for _, id := range slices.Sorted(maps.Keys(w.owned)) {
		for _, bucket := range slices.Sorted(maps.Keys(w.owned[id])) {
			if n := w.owned[id][bucket]; n != 0 {
				w.add([]string{"own", ownedKey(id)}, strconv.FormatInt(bucket, 10), strconv.Itoa(n))
			}
		}
	}
	for i := 0; i < len(w.log); i += 2 {
		w.add([]string{"changed"}, w.log[i], w.log[i+1])
	}
	for i := 0; i < len(w.gone); i += 2 {
		w.add([]string{"gone", strconv.Itoa(maxGone)}, w.gone[i], w.gone[i+1])
	}
	return &w.plan
}
