package queuetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trackchat/queue"
)

// Faulted is a store in which a statement can be made to fail below it: in the driver, or on the
// way to another process.
type Faulted struct {
	Fault string // what happens to the statement
	Store queue.Store
	// Recovers says that the store itself repeats what failed, so that no operation fails.
	Recovers bool
	// Begin has a statement meet the fault, the n-th one of that name from now on, with 0 none. The
	// function it returns ends that and says which statements came, and whether one met the fault.
	Begin func(name string, n int) (end func() (statements []string, met bool))
}

// Spoilt is a store's data with the ways to spoil its operations.
type Spoilt struct {
	Clock   *Clock      // of all stores
	Sound   queue.Store // reads what is stored
	Batch   int         // items that go below the store at once, 0: all of a call
	Faulted []Faulted
}

// FullAt is the MaxPending of stores that Errors is given.
const FullAt = 4

// Errors has each statement of each operation fail in turn. What is answered as done then is done,
// what is answered with an error is not, or with queue.ErrUnknownOutcome one or the other, and the
// same operation works as if nothing had been once the fault is over.
func Errors(t *testing.T, s Spoilt) {
	t.Helper()
	cases := errorCases(s.Batch)
	everyOperation(t, cases)
	base := int64(5_000_000)
	for _, c := range cases {
		t.Run(c.method+c.what, func(t *testing.T) {
			known := make(map[queue.Store]reference)
			for _, f := range s.Faulted {
				if f.Recovers && c.direct {
					continue
				}
				next := func() *round {
					base += 1000
					r := &round{t: t, ctx: t.Context(), clock: s.Clock, c: &c, base: base}
					r.s, r.sound = f.Store, s.Sound
					r.begin()
					return r
				}
				want, ok := known[f.Store]
				if !ok {
					want = undisturbed(next, f.Begin)
					known[f.Store] = want
				}
				for _, p := range picks(want.statements) {
					x := &trial{round: next(), want: want, fault: &f}
					x.what = fmt.Sprintf("number %d of %s: %s", p.n, p.name, f.Fault)
					x.happens(p, func() reference { return undisturbed(next, f.Begin) })
				}
			}
		})
	}
}

// everyOperation makes sure that no method of a store is left out.
func everyOperation(t *testing.T, cases []errorCase) {
	t.Helper()
	left := map[string]string{
		"Close": "ends everything", "Partitions": "is a number",
		"Listen": "hints, with a rule of their own for what may be lost", "Watch": "the same",
	}
	for _, c := range cases {
		left[c.method] = "tested"
	}
	store := reflect.TypeFor[queue.Store]()
	for m := range store.Methods() {
		if left[m.Name] == "" {
			t.Errorf("no case has the statements of %s fail", m.Name)
		}
		delete(left, m.Name)
	}
	for name := range left {
		t.Errorf("a store has no method %s", name)
	}
}

// pick is a statement that is made to fail.
type pick struct {
	name string
	n    int // 1: the first one of that name
}

// picks are the first and the last one of each name.
func picks(statements []string) []pick {
	var list []pick
	count := make(map[string]int)
	for _, s := range statements {
		if count[s]++; count[s] == 1 {
			list = append(list, pick{s, 1})
		}
	}
	for _, p := range list {
		if n := count[p.name]; n > 1 {
			list = append(list, pick{p.name, n})
		}
	}
	return list
}

// reference is what an operation does undisturbed, and when it is repeated.
type reference struct {
	before, once, twice map[string]string // what is stored, by part
	first, again        answer
	statements          []string
}

// undisturbed waits until what a store does of its own accord after its start has come to an end.
// How many reads a store makes, and in which order, may differ, where it makes them side by side.
func undisturbed(
	next func() *round, begin func(string, int) func() ([]string, bool),
) (want reference) {
	const tries = 20
	var last []string
	for range tries {
		r := next()
		want = r.refer(begin)
		r.clean()
		names := slices.Compact(slices.Sorted(slices.Values(want.statements)))
		if len(names) == 0 || slices.Equal(last, names) {
			break
		}
		last = names
	}
	return want
}

func (r *round) refer(begin func(string, int) func() ([]string, bool)) (want reference) {
	r.t.Helper()
	want.before = r.look()
	end := begin("", 0)
	v, err := r.c.run(r)
	want.statements, _ = end()
	want.once = r.look()
	want.first = r.answer(v, err)
	v, err = r.c.run(r)
	want.twice = r.look()
	want.again = r.answer(v, err)
	for _, a := range []answer{want.first, want.again} {
		if err := errors.Join(append(a.errs, a.err)...); err != nil {
			r.t.Fatalf("undisturbed: %v", err)
		}
	}
	if len(want.statements) == 0 && !r.c.silent {
		r.t.Fatal("the operation has no statement that could fail")
	}
	if changed := !maps.Equal(want.before, want.once); changed == r.c.still {
		r.t.Fatalf("the operation has changed something: %t", changed)
	}
	return want
}

// trial is a round in which a statement fails.
type trial struct {
	*round
	want  reference
	fault *Faulted
	what  string
}

// happens runs a trial, whose statement has to be made unless a store had made it of its own accord
// amid the operation.
func (x *trial) happens(p pick, again func() reference) {
	x.t.Helper()
	met := x.run(p)
	x.clean()
	if !met && p.n == 1 && slices.Contains(again().statements, p.name) {
		x.t.Fatalf("%s: did not happen", x.what)
	}
}

// run has a statement fail, and reports whether there was such a one.
func (x *trial) run(p pick) (met bool) {
	x.t.Helper()
	end := x.fault.Begin(p.name, p.n)
	v, err := x.c.run(x.round)
	_, met = end()
	now := x.look()
	got := x.answer(v, err)
	if err := errors.Join(append(got.errs, got.err)...); x.fault.Recovers && err != nil {
		x.t.Errorf("%s: %v", x.what, err)
	}
	x.judge(now, got)
	v, err = x.c.run(x.round)
	after := x.look()
	x.repeated(got, now, after, x.answer(v, err))
	return met
}

// judge compares what is answered with what is stored.
func (x *trial) judge(now map[string]string, got answer) {
	x.t.Helper()
	for part := range x.want.before {
		err := got.errOf(part)
		before, once := now[part] == x.want.before[part], now[part] == x.want.once[part]
		switch {
		case err == nil && !once && (!x.c.repeats || now[part] != x.want.twice[part]):
			x.t.Errorf("%s: answered as done: %s, but %s holds %s",
				x.what, got.all, part, unlike(now[part], x.want.once[part]))
		case err == nil:
		case !named(err):
			x.t.Errorf("%s: an error without a name: %v", x.what, err)
		case errors.Is(err, queue.ErrUnknownOutcome) && (before || once || x.c.steps):
		case !before:
			x.t.Errorf("%s: answered %q, but %s holds %s",
				x.what, err, part, unlike(now[part], x.want.before[part]))
		}
	}
	if d := got.differs(&x.want.first); d != "" && (!x.c.repeats ||
		got.differs(&x.want.again) != "") {
		x.t.Errorf("%s: %s", x.what, d)
	}
}

// Whether the first call has been executed.
const (
	undone = 1 << iota
	done
)

// executed says what can be told of a part.
func (x *trial) executed(part string, err error, now map[string]string) int {
	switch before := x.want.before[part]; {
	case err == nil:
		return done
	case !errors.Is(err, queue.ErrUnknownOutcome):
		return undone
	case before == x.want.once[part]:
		return undone | done
	case now[part] == before:
		return undone
	default:
		return done
	}
}

// repeated compares what the same operation does afterwards.
func (x *trial) repeated(was answer, now, after map[string]string, got answer) {
	x.t.Helper()
	if err := errors.Join(append(got.errs, got.err)...); err != nil {
		x.t.Errorf("%s: afterwards: %v", x.what, err)
		return
	}
	could := undone | done
	for part, state := range after {
		could &= x.executed(part, was.errOf(part), now)
		switch x.executed(part, was.errOf(part), now) {
		case undone:
			x.wantState(part, state, x.want.once[part])
		case done:
			x.wantState(part, state, x.want.twice[part])
		default:
			if state != x.want.once[part] {
				x.wantState(part, state, x.want.twice[part])
			}
		}
	}
	if !x.c.items {
		x.wantAnswer(could, got.all, x.want.first.all, x.want.again.all)
	}
	for i, item := range got.items {
		could := x.executed(partOf(i), was.errOf(partOf(i)), now)
		x.wantAnswer(could, item, x.want.first.items[i], x.want.again.items[i])
	}
}

func (x *trial) wantState(part, got, want string) {
	x.t.Helper()
	if got != want {
		x.t.Errorf("%s: afterwards %s holds %s", x.what, part, unlike(got, want))
	}
}

// wantAnswer knows nothing of a call that was executed in part.
func (x *trial) wantAnswer(could int, got, first, again string) {
	x.t.Helper()
	if could&undone != 0 && got == first || could&done != 0 && got == again || could == 0 {
		return
	}
	x.t.Errorf("%s: afterwards answered %s, not %s or, the second time, %s", x.what, got, first,
		again)
}

// unlike shows where two states begin to differ.
func unlike(got, want string) string {
	const before, after = 60, 100
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	from := max(0, at-before)
	return fmt.Sprintf("…%s…\nnot …%s…", got[from:min(len(got), at+after)],
		want[from:min(len(want), at+after)])
}

// named reports whether an error is one of the contract's.
func named(err error) bool {
	return slices.ContainsFunc([]error{
		queue.ErrOverloaded, queue.ErrUnavailable, queue.ErrUnknownOutcome, queue.ErrCorrupt,
	}, func(name error) bool { return errors.Is(err, name) })
}

// answer is what an operation returned, with names for ids.
type answer struct {
	all   string
	items []string // where there is a result for each tracker
	err   error
	errs  []error // of the items
}

// errOf is the error of the part that holds what an item is about.
func (a *answer) errOf(part string) error {
	for i, err := range a.errs {
		if a.err == nil && partOf(i) == part {
			return err
		}
	}
	return a.err
}

func (a *answer) differs(want *answer) string {
	switch {
	case a.err != nil:
		return ""
	case a.items == nil && a.all != want.all:
		return fmt.Sprintf("answered %s, not %s", a.all, want.all)
	}
	for i, item := range a.items {
		if a.errs[i] == nil && item != want.items[i] {
			return fmt.Sprintf("answered %s as item %d, not %s", item, i, want.items[i])
		}
	}
	return ""
}

func partOf(item int) string { return fmt.Sprintf("t%d", item+1) }

// round is one try of an operation on trackers and accounts that no other round has.
type round struct {
	t     *testing.T
	ctx   context.Context //nolint:containedctx // the test's own
	clock *Clock
	c     *errorCase
	s     queue.Store // the store under test
	sound queue.Store
	base  int64
	now   int64 // when it began

	names  map[string]string // of numbers that differ from round to round
	keys   *strings.Replacer // names keys
	seen   map[string]int    // messages of each tracker that have a name
	refs   [][]queue.Ref     // messages that the case has stored, by tracker
	leases []queue.Lease
	since  int64
}

func (r *round) begin() {
	r.t.Helper()
	r.now, r.seen = r.clock.Now().UnixMilli(), make(map[string]int)
	r.refs = make([][]queue.Ref, r.c.size())
	r.names = map[string]string{fmt.Sprint(r.base): "base"}
	for _, ms := range []int64{-1, 0, 1, 2, laterMs, dayMs, 2 * dayMs} {
		r.names[fmt.Sprint(r.now+ms)] = fmt.Sprintf("now%+d", ms)
	}
	for i := range 2 {
		r.names[fmt.Sprint(r.account(i))] = fmt.Sprintf("a%d", i+1)
	}
	for i := range r.c.size() {
		r.names[fmt.Sprint(r.tracker(i))] = partOf(i)
	}
	keys := make([]string, 0, 2*manyKeys)
	for i := range manyKeys {
		b, err := json.Marshal(r.key(i))
		r.must(err)
		keys = append(keys, string(b), fmt.Sprintf("k%d", i))
	}
	r.keys = strings.NewReplacer(keys...)
	if r.c.set != nil {
		r.c.set(r)
	}
}

func (r *round) tracker(i int) queue.TrackerID { return queue.TrackerID(r.base + int64(i) + 1) }

func (r *round) account(i int) queue.AccountID { return queue.AccountID(r.base + int64(i) + 901) }

func (r *round) node() queue.NodeID { return queue.NodeID(fmt.Sprint("n", r.base)) }

func (r *round) trackers() []queue.TrackerID {
	list := make([]queue.TrackerID, r.c.size())
	for i := range list {
		list[i] = r.tracker(i)
	}
	return list
}

func (r *round) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

var (
	numbers  = regexp.MustCompile(`\d+`)
	volatile = regexp.MustCompile(`"(Hint|Version|Revision)":\d+`)
)

// show writes v down with names for what differs from round to round.
func (r *round) show(v any) string {
	b, err := json.Marshal(v)
	r.must(err)
	text := strings.ReplaceAll(r.keys.Replace(string(b)), largeLabel, "large")
	text = volatile.ReplaceAllString(text, `"$1"`)
	return numbers.ReplaceAllStringFunc(text, func(n string) string {
		if name, ok := r.names[n]; ok {
			return name
		}
		return n
	})
}

// answer is called after look, which gives new messages their names.
func (r *round) answer(v any, err error) answer {
	a := answer{err: err, all: r.show(v)}
	if !r.c.items || err != nil {
		return a
	}
	list := reflect.ValueOf(v)
	for i := range list.Len() {
		item := list.Index(i)
		var failed error
		if item.Kind() == reflect.Struct && item.FieldByName("Err").IsValid() {
			failed, _ = reflect.TypeAssert[error](item.FieldByName("Err"))
		}
		a.items, a.errs = append(a.items, r.show(item.Interface())), append(a.errs, failed)
	}
	return a
}
