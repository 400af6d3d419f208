package queue

import (
	"hash/maphash"
	"maps"
	"slices"
)

// tablePiece is about how many entries a piece of a table has: what one change copies.
const tablePiece = 128

// table is an immutable map in pieces, so that a changed copy shares all but a piece with the
// original.
type table[K comparable, V any] struct {
	seed   maphash.Seed
	pieces []map[K]V // a power of two of them
	count  int
}

// newTable returns an empty table with room for about n entries.
func newTable[K comparable, V any](n int) *table[K, V] {
	pieces := 1
	for pieces*tablePiece < n {
		pieces *= 2
	}
	return &table[K, V]{seed: maphash.MakeSeed(), pieces: make([]map[K]V, pieces)}
}

func (t *table[K, V]) piece(k K) int {
	if len(t.pieces) == 1 {
		return 0
	}
	return int(maphash.Comparable(t.seed, k) & uint64(len(t.pieces)-1))
}

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.pieces[t.piece(k)][k]
	return v, ok
}

// sorted returns all values in an order.
func (t *table[K, V]) sorted(compare func(a, b V) int) []V {
	list := make([]V, 0, t.count)
	for _, p := range t.pieces {
		for _, v := range p {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, compare)
	return list
}

// tableEdit makes a changed copy of a table. The copy must not be used as a table before done.
type tableEdit[K comparable, V any] struct {
	*table[K, V]
	own []bool // pieces that are not shared with the original; nil: nothing has been copied yet
}

func (t *table[K, V]) edit() tableEdit[K, V] { return tableEdit[K, V]{table: t} }

// writable returns the piece of k as a map of the copy alone.
func (e *tableEdit[K, V]) writable(k K) map[K]V {
	if e.own == nil {
		c := *e.table
		c.pieces = append([]map[K]V(nil), e.pieces...)
		e.table, e.own = &c, make([]bool, len(c.pieces))
	}
	i := e.piece(k)
	if !e.own[i] {
		if e.pieces[i] = maps.Clone(e.pieces[i]); e.pieces[i] == nil {
			e.pieces[i] = make(map[K]V)
		}
		e.own[i] = true
	}
	return e.pieces[i]
}

func (e *tableEdit[K, V]) put(k K, v V) {
	p := e.writable(k)
	before := len(p)
	p[k] = v
	if e.count += len(p) - before; e.count > 2*tablePiece*len(e.pieces) {
		e.grow()
	}
}

func (e *tableEdit[K, V]) remove(k K) {
	if _, ok := e.get(k); ok {
		delete(e.writable(k), k)
		e.count--
	}
}

// grow spreads the entries over four times the pieces; a growing table is copied as a whole the
// less often the larger it is.
func (e *tableEdit[K, V]) grow() {
	old := e.pieces
	e.pieces = make([]map[K]V, 4*len(old))
	e.own = make([]bool, len(e.pieces))
	for i := range e.pieces {
		e.pieces[i], e.own[i] = make(map[K]V), true
	}
	for _, p := range old {
		for k, v := range p {
			e.pieces[e.piece(k)][k] = v
		}
	}
}

// done ends the edit.
func (e *tableEdit[K, V]) done() *table[K, V] { return e.table }
