package trackersim

import (
	"context"
	"fmt"
	"time"

	"trackchat/protocol"
)

// saying is a text of the driver that the gateway has not acknowledged.
type saying struct {
	text string
	done chan error // has room for the one result

	// Owned by Run.
	frame  []byte // its bytes, which every copy repeats; nil before the first
	copies int
	first  time.Time
}

// Say sends a text of the driver and returns when the gateway has acknowledged it. Without an
// answer it is sent again, byte for byte, after every SayTimeout and after every login; to a
// gateway that has no answer (protocol.Unanswered) it is sent once. Texts go one after the other;
// ErrBusy says that 64 wait already. When ctx ends Say returns, but the device goes on: a driver
// cannot take back what was said. ErrTextNak is the gateway's refusal, protocol.ErrNotText the
// device's.
func (t *Tracker) Say(ctx context.Context, text string) error {
	s := &saying{text: text, done: make(chan error, 1)}
	if !t.enqueue(s) {
		return fmt.Errorf("saying a text: %w", ErrBusy)
	}
	t.wake()
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("saying a text: %w", ctx.Err())
	case <-t.ended:
	}
	select {
	case err := <-s.done:
		return err
	default:
		return fmt.Errorf("saying a text: %w", ErrEnded)
	}
}

func (t *Tracker) enqueue(s *saying) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.said) >= maxSaid {
		return false
	}
	t.said = append(t.said, s)
	return true
}

// reply says something without waiting; a driver who has too much to say loses it.
func (t *Tracker) reply(text string) {
	if !t.enqueue(&saying{text: text, done: make(chan error, 1)}) {
		t.report(Event{Kind: SaidRefused, Said: text, Err: ErrBusy})
	}
}

// oldest returns the text that is to be said now, nil for none.
func (t *Tracker) oldest() *saying {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.said) == 0 {
		return nil
	}
	return t.said[0]
}

// shift takes the oldest text off and tells its fate.
func (t *Tracker) shift(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said[0].done <- err
	t.said[0] = nil
	if t.said = t.said[1:]; len(t.said) == 0 {
		t.said = nil
	}
}

// speak writes the driver's oldest text where it was not yet written over this connection or its
// answer is overdue.
func (l *link) speak(now time.Time) {
	for s := l.t.oldest(); s != nil; s = l.t.oldest() {
		if l.copies > 0 && !isDue(l.repeatAt, now) {
			return
		}
		if s.frame == nil {
			frame, err := l.t.device.AppendText(nil, s.text)
			if err != nil {
				l.t.report(Event{Kind: SaidRefused, Said: s.text, Err: err})
				l.t.shift(err)
				continue
			}
			s.frame, s.first = frame, now
		}
		s.copies++
		*l.out = append(*l.out, s.frame...)
		if u, ok := l.t.device.(protocol.Unanswered); ok && u.Unanswered() {
			l.t.report(Event{Kind: Said, Said: s.text, Copy: s.copies})
			l.t.shift(nil)
			continue
		}
		l.copies++
		l.repeatAt = now.Add(l.t.o.SayTimeout)
		l.after = append(l.after, Event{Kind: Said, Said: s.text, Copy: s.copies})
		return
	}
	l.repeatAt = time.Time{}
}

// answered takes the gateway's word about the driver's oldest text. Unnumbered acks are counted:
// every copy that this connection carried has one of its own.
func (l *link) answered(e protocol.DeviceEvent, refused error) {
	if e.Ref == 0 && l.stale > 0 {
		l.stale--
		return
	}
	s := l.t.oldest()
	if s == nil || l.copies == 0 {
		return
	}
	if e.Ref == 0 {
		l.stale += l.copies - 1
	}
	l.copies, l.repeatAt = 0, time.Time{}
	kind := SaidAcked
	if refused != nil {
		kind = SaidRefused
	}
	l.t.report(Event{
		Kind: kind, Said: s.text, Copy: s.copies, Took: l.t.o.Now().Sub(s.first),
		Err: refused,
	})
	l.t.shift(refused)
}
