package trackersim

import (
	"context"
	"fmt"
)

// Stats count what happened since New.
type Stats struct {
	LoggedIn    bool // now
	Connections int
	DialsFailed int
	Logins      int
	Refusals    int
	Disconnects int
	Received    int // parts of texts, copies included
	Repeated    int // parts whose reference was not new
	Acked       int // parts, each counted once
	Ignored     int // parts that are never acknowledged
	Said        int // texts of the driver
	SaidCopies  int // how often they were written
	SaidAcked   int
	SaidRefused int
	Heartbeats  int
	Positions   int
}

// Stats returns a snapshot; it may be called from any goroutine, hooks included.
func (t *Tracker) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Await waits until ok finds the stats as wanted. It ends with an error when ctx does, or Run
// before that.
func (t *Tracker) Await(ctx context.Context, ok func(Stats) bool) error {
	for {
		t.mu.Lock()
		stats := t.stats
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		if ok(stats) {
			return nil
		}
		select {
		case <-changed:
		case <-t.ended:
			if ok(t.Stats()) {
				return nil
			}
			return fmt.Errorf("awaiting tracker %s: %w", t.o.Device.ID, ErrEnded)
		case <-ctx.Done():
			return fmt.Errorf("awaiting tracker %s: %w", t.o.Device.ID, ctx.Err())
		}
	}
}

// update changes the stats and tells who awaits something of them.
func (t *Tracker) update(change func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.stats)
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func (t *Tracker) count(e *Event) {
	t.update(func(s *Stats) {
		switch e.Kind {
		case Connected:
			s.Connections++
		case LoggedIn:
			s.Logins++
			s.LoggedIn = true
		case Refused:
			s.Refusals++
		case DialFailed:
			s.DialsFailed++
		case Disconnected:
			s.Disconnects++
			s.LoggedIn = false
		case TextReceived:
			s.Received++
			if e.Repeated {
				s.Repeated++
			}
		case TextAcked:
			s.Acked++
		case TextIgnored:
			s.Ignored++
		case Said:
			s.SaidCopies++
			if e.Copy == 1 {
				s.Said++
			}
		case SaidAcked:
			s.SaidAcked++
		case SaidRefused:
			s.SaidRefused++
		case PositionAnswered:
		}
	})
}
