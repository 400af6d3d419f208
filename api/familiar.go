package api

import (
	"slices"
	"sync"

	"trackchat/queue"
)

// Bounds of what is remembered of successful logins.
const (
	maxFamiliarLogins = maxAttemptBuckets
	maxFamiliarPlaces = 16 // of one login, the latest
)

// familiar remembers the places from which logins succeeded, in this process.
type familiar struct {
	mu     sync.Mutex
	places map[queue.KeyHash][]queue.KeyHash // by login, the latest last; guarded by mu
}

func newFamiliar() *familiar {
	return &familiar{places: make(map[queue.KeyHash][]queue.KeyHash)}
}

// has reports whether a login has succeeded from a place.
func (f *familiar) has(login, place string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.places[queue.HashKey(login)], queue.HashKey(place))
}

// note remembers that a login has succeeded from a place.
func (f *familiar) note(login, place string) {
	l, p := queue.HashKey(login), queue.HashKey(place)
	f.mu.Lock()
	defer f.mu.Unlock()
	list, ok := f.places[l]
	if !ok && len(f.places) >= maxFamiliarLogins {
		for victim := range f.places { // any: it is known again after its next login
			delete(f.places, victim)
			break
		}
	}
	list = slices.DeleteFunc(list, func(k queue.KeyHash) bool { return k == p })
	f.places[l] = append(list[max(0, len(list)-maxFamiliarPlaces+1):], p)
}
