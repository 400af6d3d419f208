package protocol

import "sync"

// Events lends the event that Decode hands out, so that a frame costs no allocation. The zero value
// is ready; all codecs of one Protocol share one.
type Events struct{ free sync.Pool }

// Emit calls emit with a borrowed copy of e, which is taken back when emit returns.
func (l *Events) Emit(emit func(*Event), e Event) {
	lent, ok := l.free.Get().(*Event)
	if !ok {
		lent = new(Event)
	}
	*lent = e
	emit(lent)
	*lent = Event{}
	l.free.Put(lent)
}
