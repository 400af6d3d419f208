package queue

import (
	"cmp"
	"iter"
	"slices"
)

// fleetPiece is the most trackers in a piece of a fleet.
const fleetPiece = 512

// trackerList is an immutable list of an account's trackers, ordered by id, in pieces: an account
// may have a million of them.
type trackerList struct {
	pieces [][]*Tracker // none is empty
	count  int
}

func (f *trackerList) all() iter.Seq[*Tracker] {
	return func(yield func(*Tracker) bool) {
		if f == nil {
			return
		}
		for _, p := range f.pieces {
			for _, t := range p {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// find returns the piece and the place in it where id is or would be; the piece is -1 in an empty
// trackerList.
func (f *trackerList) find(id TrackerID) (piece, place int, found bool) {
	byID := func(t *Tracker, id TrackerID) int { return cmp.Compare(t.ID, id) }
	piece, found = slices.BinarySearchFunc(f.pieces, id, func(p []*Tracker,
		id TrackerID,
	) int {
		return byID(p[0], id)
	})
	if found {
		return piece, 0, true
	}
	if piece = max(piece-1, min(0, len(f.pieces)-1)); piece < 0 {
		return piece, 0, false
	}
	place, found = slices.BinarySearchFunc(f.pieces[piece], id, byID)
	return piece, place, found
}

// fleetEdit makes a changed copy of a fleet.
type fleetEdit struct {
	*trackerList
	own []bool // pieces that are not shared with the original
}

func (f *trackerList) edit() *fleetEdit {
	c := &trackerList{}
	if f != nil {
		c.pieces, c.count = slices.Clone(f.pieces), f.count
	}
	return &fleetEdit{c, make([]bool, len(c.pieces))}
}

func (e *fleetEdit) writable(piece int) []*Tracker {
	if !e.own[piece] {
		e.pieces[piece] = slices.Clone(e.pieces[piece])
		e.own[piece] = true
	}
	return e.pieces[piece]
}

func (e *fleetEdit) put(t *Tracker) {
	piece, place, found := e.find(t.ID)
	switch {
	case piece < 0:
		e.pieces, e.own = [][]*Tracker{{t}}, []bool{true}
		e.count = 1
		return
	case found:
		e.writable(piece)[place] = t
		return
	}
	p := slices.Insert(e.writable(piece), place, t)
	e.pieces[piece] = p
	e.count++
	if len(p) <= fleetPiece {
		return
	}
	// Ids mostly come in order: a piece that grew at its end is left full.
	half := len(p) / 2
	if place == len(p)-1 {
		half = fleetPiece
	}
	e.pieces[piece] = slices.Clip(p[:half])
	e.pieces = slices.Insert(e.pieces, piece+1, slices.Clone(p[half:]))
	e.own = slices.Insert(e.own, piece+1, true)
}

func (e *fleetEdit) remove(id TrackerID) {
	piece, place, found := e.find(id)
	if !found {
		return
	}
	e.count--
	e.pieces[piece] = slices.Delete(e.writable(piece), place, place+1)
	if len(e.pieces[piece]) == 0 {
		e.pieces = slices.Delete(e.pieces, piece, piece+1)
		e.own = slices.Delete(e.own, piece, piece+1)
	}
}

// fleetsEdit makes a changed copy of the fleets of accounts.
type fleetsEdit struct {
	tableEdit[AccountID, *trackerList]
	changed map[AccountID]*fleetEdit
}

func editFleets(t *table[AccountID, *trackerList]) fleetsEdit {
	return fleetsEdit{t.edit(), make(map[AccountID]*fleetEdit)}
}

// of is the fleet of an account, to be changed.
func (e *fleetsEdit) of(id AccountID) *fleetEdit {
	f, ok := e.changed[id]
	if !ok {
		old, _ := e.get(id)
		f = old.edit()
		e.changed[id] = f
	}
	return f
}

func (e *fleetsEdit) done() *table[AccountID, *trackerList] {
	for id, f := range e.changed {
		if f.count == 0 {
			e.remove(id)
		} else {
			e.put(id, f.trackerList)
		}
	}
	return e.tableEdit.done()
}
