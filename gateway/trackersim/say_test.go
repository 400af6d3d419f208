package trackersim_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/jt808"
	"trackchat/protocol/wialon"
)

func TestSayReturnsWhenTheGatewayAcknowledged(t *testing.T) {
	for _, v := range those(variant.answered) {
		t.Run(v.name, func(t *testing.T) {
			d := v.desk(t)
			tr, _ := run(t, trackersim.Options{Protocol: v.p, Gateway: d.addr(), Device: v.device(t,
				"1")})
			said := []string{"on my way", "done"}
			for _, text := range said {
				// the first may be said before the login
				if err := tr.Say(patient(t), text); err != nil {
					t.Fatal(err)
				}
			}
			got := d.await(protocol.KindText, 2)
			if want := v.heard(said...); len(got) != 2 || got[0].Text != want[0] ||
				got[1].Text != want[1] {
				t.Errorf("texts %+v", got)
			}
		})
	}
}

func TestUnacknowledgedTextIsRepeatedByteForByte(t *testing.T) {
	for _, v := range those(variant.answered) {
		t.Run(v.name, func(t *testing.T) {
			d := v.desk(t)
			d.answer(silent)
			tr, _ := run(t, trackersim.Options{
				Protocol: v.p, Gateway: d.addr(), Device: v.device(t, "1"),
				SayTimeout: 10 * time.Millisecond, Reconnect: true, ReconnectMin: time.Millisecond,
			})
			said := make(chan error, 1)
			go func() { said <- tr.Say(context.WithoutCancel(t.Context()), "stuck") }()
			d.await(protocol.KindText, 3)
			tr.Disconnect()
			await(t, tr, "second login", func(s trackersim.Stats) bool { return s.Logins == 2 })
			n := len(d.await(protocol.KindText, 3))
			d.await(protocol.KindText, n+1)
			select {
			case err := <-said:
				t.Fatalf("Say returned %v without an ack", err)
			default:
			}
			d.answer(nil)
			if err := <-said; err != nil {
				t.Fatal(err)
			}
			copies := d.await(protocol.KindText, n+1)
			for i, c := range copies {
				if c.frame != copies[0].frame {
					t.Errorf("copy %d is %q, the first %q", i, c.frame, copies[0].frame)
				}
			}
			if last := copies[len(copies)-1]; last.conn != 1 {
				t.Errorf("the last copy came over connection %d", last.conn)
			}
			if s := tr.Stats(); s.Said != 1 || s.SaidAcked != 1 || s.SaidCopies < 4 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// Acks without numbers: the one for a copy must not be taken for the next text's.
func TestAckOfACopyIsNotTheNextTextsAck(t *testing.T) {
	d := newDesk(t, wialon.New())
	d.answer(silent)
	tr, _ := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(),
		Device: protocol.DeviceConfig{ID: "1"}, SayTimeout: 10 * time.Millisecond,
	})
	await(t, tr, "login", loggedIn)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- tr.Say(context.WithoutCancel(t.Context()), "first") }()
	d.await(protocol.KindText, 3)
	go func() { second <- tr.Say(context.WithoutCancel(t.Context()), "second") }()
	d.write("#AM#1\r\n")
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	copies := 0 // of the first text: all of them came before the second
	for n := len(d.await(protocol.KindText, 1)); copies == 0; n++ {
		got := d.await(protocol.KindText, n)
		copies = slices.IndexFunc(got, func(s seen) bool { return s.Text == "second" })
		copies = max(copies, 0)
	}
	d.write(strings.Repeat("#AM#1\r\n", copies-1))
	d.send(0, "all acks are read", 0)
	await(t, tr, "text", func(s trackersim.Stats) bool { return s.Received == 1 })
	if s := tr.Stats(); s.SaidAcked != 1 {
		t.Errorf("%d texts count as acknowledged after %d acks for copies of the first",
			s.SaidAcked, copies)
	}
	d.write("#AM#1\r\n")
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}

func TestRefusedTextIsAnError(t *testing.T) {
	d := newDesk(t, jt808.New())
	d.answer(func(e *protocol.Event) protocol.Result {
		if e.Kind == protocol.KindText {
			return protocol.Invalid
		}
		return protocol.OK
	})
	tr, _ := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(),
		Device: protocol.DeviceConfig{ID: "1"},
	})
	if err := tr.Say(patient(t), "bad"); !errors.Is(err, trackersim.ErrTextNak) {
		t.Errorf("Say returned %v", err)
	}
	if err := tr.Say(patient(t), strings.Repeat("x", 1<<20)); !errors.Is(err,
		protocol.ErrTextTooLong) {
		t.Errorf("saying a megabyte returned %v", err)
	}
	if s := tr.Stats(); s.SaidRefused != 2 || !s.LoggedIn {
		t.Errorf("stats %+v", s)
	}
}

func TestSayIsBounded(t *testing.T) {
	d := newDesk(t, jt808.New())
	d.answer(silent)
	tr, stop := run(t, trackersim.Options{
		Protocol: d.p, Gateway: d.addr(),
		Device: protocol.DeviceConfig{ID: "1"},
	})
	await(t, tr, "login", loggedIn)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	waiting := 0
	var err error
	for range 1000 {
		if err = tr.Say(gone, "x"); errors.Is(err, trackersim.ErrBusy) {
			break
		}
		waiting++
	}
	if !errors.Is(err, trackersim.ErrBusy) || waiting != 64 {
		t.Errorf("after %d texts: %v", waiting, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := tr.Say(t.Context(), "x"); !errors.Is(err, trackersim.ErrBusy) &&
		!errors.Is(err, trackersim.ErrEnded) {
		t.Errorf("after the end: %v", err)
	}
	if err := tr.Await(t.Context(), loggedIn); !errors.Is(err, trackersim.ErrEnded) {
		t.Errorf("awaiting after the end: %v", err)
	}
}
