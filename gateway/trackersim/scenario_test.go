package trackersim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue"
)

// scenario is one story of a tracker and its gateway; play returns what went wrong.
type scenario struct {
	name string
	fits func(variant) bool
	play func(context.Context, *scene) error
}

func scenarios() []scenario {
	everybody := func(variant) bool { return true }
	return []scenario{
		{"offline then login", everybody, offlineThenLogin},
		{"several texts in order", everybody, severalInOrder},
		{"long text", everybody, longText},
		{"ack lost", func(v variant) bool {
			return v.confirms() && (!v.auto ||
				v.unnumbered)
		}, ackLost},
		{"ack twice", variant.confirms, ackTwice},
		{"ack late on the next connection", func(v variant) bool {
			return v.confirms() &&
				!v.auto
		}, ackLate},
		{"refusal", func(v variant) bool { return v.refuse != 0 }, refusal},
		{"reconnect in the middle", variant.confirms, reconnectInTheMiddle},
		{"driver's reply", func(v variant) bool { return !v.mute }, driversReply},
		{"reply repeated", variant.answered, replyRepeated},
		{"read at once", func(v variant) bool { return v.read }, readAtOnce},
		{"read later", func(v variant) bool { return v.read }, readLater},
		{"choice", func(v variant) bool { return v.choices }, choice},
	}
}

// Every scenario on every protocol, charset and ack policy, on every store: real TCP, the real
// gateway.
func TestEveryProtocolInEveryScenario(t *testing.T) {
	for name, open := range stores() {
		t.Run(name, func(t *testing.T) {
			scenes := stage(t, open(t))
			room := make(chan struct{}, 64) // so many at a time
			for _, s := range scenes {
				go func() {
					room <- struct{}{}
					s.run()
					<-room
				}()
			}
			for _, s := range scenes {
				t.Run(s.v.name+"/"+s.play.name, func(t *testing.T) {
					if err := <-s.done; err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// wantShown gives a device that acknowledges nothing a moment: its text counts as sent before it
// has been read.
func wantShown(s *scene, want ...string) error {
	every := time.NewTicker(2 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(5 * time.Second); len(s.shown()) < len(want) &&
		time.Now().Before(end); {
		<-every.C
	}
	if got := s.shown(); !slices.Equal(got, want) {
		return fmt.Errorf("shown %q, want %q", got, want)
	}
	return nil
}

// deliver sends a text and waits until it came through.
func deliver(ctx context.Context, s *scene, text string) error {
	id, err := s.send(ctx, text)
	if err != nil {
		return err
	}
	return s.ended(ctx, id, s.v.came())
}

func offlineThenLogin(ctx context.Context, s *scene) error {
	id, err := s.send(ctx, s.v.sample)
	if err != nil {
		return err
	}
	_, leave := s.login(ctx, nil, nil)
	defer leave()
	if err := s.ended(ctx, id, s.v.came()); err != nil {
		return err
	}
	return wantShown(s, s.v.sample)
}

func severalInOrder(ctx context.Context, s *scene) error {
	const texts, before = 6, 3
	var last int64
	var want []string
	leave := func() {}
	defer func() { leave() }()
	for i := range texts {
		if i == before {
			_, leave = s.login(ctx, nil, nil)
		}
		text := fmt.Sprintf("%d %s", i, s.v.sample)
		id, err := s.send(ctx, text)
		if err != nil {
			return err
		}
		want, last = append(want, text), id
	}
	err := s.until(ctx, "all texts to come through", func(ms []queue.Message) bool {
		return !slices.ContainsFunc(ms, func(m queue.Message) bool {
			return m.Status != s.v.came()
		})
	})
	if err == nil {
		err = s.ended(ctx, last, s.v.came())
	}
	return errors.Join(err, wantShown(s, want...))
}

// long makes a text of several parts in every protocol, no two of them alike.
func long(sample string) string {
	var b strings.Builder
	for i := 0; b.Len() < 9000; i++ {
		fmt.Fprintf(&b, "%d %s ", i, sample)
	}
	return strings.TrimSpace(b.String())
}

// wantWhole compares without spaces: clients drop those at the end of a part.
func wantWhole(s *scene, text string) error {
	tight := func(v string) string { return strings.ReplaceAll(v, " ", "") }
	shown := s.shown()
	if got := tight(strings.Join(shown, "")); got != tight(text) {
		return fmt.Errorf("%d parts with %d bytes are not the text of %d", len(shown), len(got),
			len(tight(text)))
	}
	if len(shown) < 2 {
		return fmt.Errorf("a text of %d bytes came in one part", len(text))
	}
	return nil
}

func longText(ctx context.Context, s *scene) error {
	_, leave := s.login(ctx, nil, nil)
	defer leave()
	text := long(s.v.sample)
	if err := deliver(ctx, s, text); err != nil {
		return err
	}
	if err := deliver(ctx, s, "next"); err != nil {
		return err
	}
	return wantWhole(s, text+"next")
}

func ackLost(ctx context.Context, s *scene) error {
	tr, leave := s.login(ctx, nil, func(n int, _ protocol.DeviceEvent) trackersim.Action {
		return trackersim.Action{Never: n == 1}
	})
	defer leave()
	err := deliver(ctx, s, s.v.sample)
	if err == nil {
		err = deliver(ctx, s, "next")
	}
	if err != nil {
		return err
	}
	if st := tr.Stats(); s.copies() < 3 || s.v.unnumbered && st.Logins < 2 ||
		!s.v.unnumbered && st.Repeated < 1 {
		return fmt.Errorf("not repeated as it should be: %+v", st)
	}
	return wantShown(s, s.v.sample, "next")
}

// ackTwice holds the second text's ack back: the surplus one of the first must not be taken for it.
func ackTwice(ctx context.Context, s *scene) error {
	arrived := make(chan protocol.DeviceEvent, 1)
	var answering atomic.Bool // the second text is acknowledged from now on
	tr, leave := s.login(ctx, nil, func(_ int, e protocol.DeviceEvent) trackersim.Action {
		if !strings.HasPrefix(e.Body, "second") {
			// on a busy machine the first may come again before its ack is there
			return trackersim.Action{Copies: 2}
		}
		select {
		case arrived <- e:
		default: // a repetition
		}
		switch {
		// the gateway dropped the connection before the word below came, which names no text
		// and may not be believed on the next one
		case !answering.Load() || !s.v.unnumbered:
			return trackersim.Action{Never: true}
		case s.v.auto:
			return trackersim.Action{Never: true, Reply: "any frame"}
		}
		return trackersim.Action{}
	})
	defer leave()
	first, err := s.send(ctx, s.v.sample)
	if err != nil {
		return err
	}
	second, err := s.send(ctx, "second")
	if err != nil {
		return err
	}
	var e protocol.DeviceEvent
	select {
	case e = <-arrived:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the second text: %w", ctx.Err())
	}
	if err := s.ended(ctx, first, s.v.came()); err != nil {
		return err
	}
	if s.v.auto {
		answering.Store(true)
		if s.v.unnumbered {
			err = tr.Say(ctx, "any frame")
		}
		return errors.Join(err, s.ended(ctx, second, s.v.came()))
	}
	if !s.v.mute { // what was said before it has been dealt with when this one is stored
		if err := tr.Say(ctx, "wait"); err != nil {
			return err
		}
		if err := s.until(ctx, "the driver's text",
			func(ms []queue.Message) bool { return len(incoming(ms)) == 1 }); err != nil {
			return err
		}
	}
	if ms, err := s.messages(ctx); err != nil {
		return err
	} else if m := message(ms, second); m.Status != queue.StatusPending {
		return fmt.Errorf("the second text is %c without an ack of its own", m.Status)
	}
	answering.Store(true)
	if err := tr.Ack(e, protocol.AckDelivered); err != nil {
		return err
	}
	return errors.Join(s.ended(ctx, second, s.v.came()), wantShown(s, s.v.sample, "second"))
}

// ackLate has the ack of the first copy come over the next connection. One that names its text is
// enough; one that names nothing may not be believed, so that text comes again.
func ackLate(ctx context.Context, s *scene) error {
	tr, leave := s.login(ctx, nil, func(n int, _ protocol.DeviceEvent) trackersim.Action {
		switch {
		case n == 1:
			return trackersim.Action{Drop: trackersim.DropHoldingAck}
		case s.v.unnumbered:
			return trackersim.Action{}
		}
		return trackersim.Action{Never: true}
	})
	defer leave()
	if err := deliver(ctx, s, s.v.sample); err != nil {
		return err
	}
	if st := tr.Stats(); st.Logins < 2 || !s.v.unnumbered && st.Acked != 1 {
		return fmt.Errorf("stats %+v", st)
	}
	return wantShown(s, s.v.sample)
}

func refusal(ctx context.Context, s *scene) error {
	_, leave := s.login(ctx, nil, func(_ int, e protocol.DeviceEvent) trackersim.Action {
		if strings.HasPrefix(e.Body, "refuse") {
			return trackersim.Action{Outcome: s.v.refuse}
		}
		return trackersim.Action{}
	})
	defer leave()
	id, err := s.send(ctx, "refuse "+s.v.sample)
	if err != nil {
		return err
	}
	if err := deliver(ctx, s, "next"); err != nil {
		return err
	}
	if err := s.ended(ctx, id, queue.StatusFailed); err != nil {
		return err
	}
	ms, err := s.messages(ctx)
	if m := message(ms, id); err == nil && m.Reason != s.v.reason {
		err = fmt.Errorf("failed because %q", m.Reason)
	}
	return err
}

func reconnectInTheMiddle(ctx context.Context, s *scene) error {
	dropped := map[int]bool{2: true, 4: true, 5: true} // 5 is the repetition of 4
	tr, leave := s.login(ctx, nil, func(n int, _ protocol.DeviceEvent) trackersim.Action {
		if dropped[n] {
			return trackersim.Action{Drop: trackersim.DropBeforeAck}
		}
		return trackersim.Action{}
	})
	defer leave()
	text := long(s.v.sample)
	if err := deliver(ctx, s, text); err != nil {
		return err
	}
	if st := tr.Stats(); st.Logins < 1+len(dropped) {
		return fmt.Errorf("stats %+v", st)
	}
	return wantWhole(s, text)
}

func driversReply(ctx context.Context, s *scene) error {
	tr, leave := s.login(ctx, nil, nil)
	defer leave()
	want := []string{s.v.sample, "again", "again"} // the same words twice are two texts
	for _, text := range want {
		if err := tr.Say(ctx, text); err != nil {
			return err
		}
	}
	return s.until(ctx, "what the driver wrote",
		func(ms []queue.Message) bool {
			return slices.Equal(incoming(ms), s.v.heard(want...))
		})
}

// replyRepeated takes the connection away when the text is stored and its ack is on the way: the
// device says it again over the next one.
func replyRepeated(ctx context.Context, s *scene) error {
	stored := errors.New("not said")
	var tr *trackersim.Tracker
	tr, leave := s.login(ctx, func(o *trackersim.Options) {
		o.OnEvent = func(e trackersim.Event) {
			if e.Kind == trackersim.Said && e.Copy == 1 && e.Said == s.v.sample {
				stored = s.until(ctx, "the text to be stored",
					func(ms []queue.Message) bool { return len(incoming(ms)) == 1 })
				tr.Disconnect()
			}
		}
	}, nil)
	defer leave()
	for _, text := range []string{s.v.sample, "next"} {
		if err := tr.Say(ctx, text); err != nil {
			return err
		}
	}
	if stored != nil {
		return stored
	}
	ms, err := s.messages(ctx)
	if err != nil {
		return err
	}
	if got, want := incoming(ms), s.v.heard(s.v.sample, "next"); !slices.Equal(got, want) {
		return fmt.Errorf("stored %q, want %q", got, want)
	}
	if st := tr.Stats(); st.SaidCopies != 3 || st.SaidAcked != 2 {
		return fmt.Errorf("stats %+v", st)
	}
	return nil
}

func readAtOnce(ctx context.Context, s *scene) error {
	_, leave := s.login(ctx, nil, func(int, protocol.DeviceEvent) trackersim.Action {
		return trackersim.Action{Outcome: protocol.AckOpened}
	})
	defer leave()
	id, err := s.send(ctx, s.v.sample)
	if err != nil {
		return err
	}
	return s.ended(ctx, id, queue.StatusOpened)
}

// readLater has the driver open a text when its delivery is history.
func readLater(ctx context.Context, s *scene) error {
	tr, leave := s.login(ctx, nil, nil)
	defer leave()
	id, err := s.send(ctx, s.v.sample)
	if err != nil {
		return err
	}
	if err := s.ended(ctx, id, queue.StatusDelivered); err != nil {
		return err
	}
	if err := tr.Ack(s.part(0), protocol.AckOpened); err != nil {
		return err
	}
	return s.ended(ctx, id, queue.StatusOpened)
}

func choice(ctx context.Context, s *scene) error {
	answers := []string{"yes", "no, later"}
	_, leave := s.login(ctx, nil, func(n int, e protocol.DeviceEvent) trackersim.Action {
		if n == 1 && slices.Equal(e.Choices, answers) {
			// a driver who is asked again on a busy machine answers once
			return trackersim.Action{Choice: 2}
		}
		return trackersim.Action{Never: true}
	})
	defer leave()
	id, err := s.send(ctx, s.v.sample+"?", answers...)
	if err != nil {
		return err
	}
	return s.until(ctx, "the answer", func(ms []queue.Message) bool {
		return message(ms, id).Status == queue.StatusOpened && len(ms) == 2 &&
			ms[1].Text == answers[1] && ms[1].ReplyTo == id
	})
}
