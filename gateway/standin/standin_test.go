package standin_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackchat/gateway/standin"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/protocol/jt808"
)

// unanswered is the protocol whose positions have no answer.
const unanswered = "watch"

// Devices of every protocol find a server: they log in, send positions, get a text, and are
// answered what the driver says.
func TestEveryProtocol(t *testing.T) {
	for _, p := range all.Protocols() {
		for _, v := range p.Variants {
			if v == "oid" { // which logs in where the listener is lenient
				continue
			}
			t.Run(p.Name+" "+v, func(t *testing.T) {
				t.Parallel()
				s := start(t, standin.Options{Protocol: p, Record: 1 << 16})
				const id = "860000000017"
				tr := play(t, trackersim.Options{
					Protocol: p, Gateway: s.Addr(), PositionEvery: 5 * time.Millisecond,
					Device: protocol.DeviceConfig{ID: id, Variant: v},
				})
				await(t, s, "positions", func() bool {
					f := s.Figures()
					return f.Answered >= 3 || f.Positions >= 3 && p.Name == unanswered
				})
				await(t, s, "the text", func() bool {
					_, err := s.Text(id, "Hello")
					return err == nil || !errors.Is(err, protocol.ErrNotText)
				})
				await(t, s, "its ack", func() bool { return s.Figures().Delivered > 0 })
				check(t, tr.Say(patient(t), "Need fuel"))
				await(t, s, "the driver's text", func() bool { return s.Figures().Texts > 0 })
				d := s.Device(id)
				if !d.Connected || d.Logins != 1 || len(d.Texts) == 0 || d.Positions < 3 {
					t.Errorf("recorded %+v", d)
				}
				checkPackets(t, p, d)
				if f := s.Figures(); f.Strays > 0 || f.Garbled > 0 || f.Sent == 0 {
					t.Errorf("figures %+v", f)
				}
			})
		}
	}
}

// checkPackets finds each packet in the device's stream, in order, and the first ones answered.
func checkPackets(t *testing.T, p *protocol.Protocol, d standin.Device) {
	t.Helper()
	rest, positions := string(d.Raw), 0
	for i, packet := range d.Packets {
		at := strings.Index(rest, string(packet.Frame))
		if at < 0 {
			t.Fatalf("packet %d, %q, is not in the stream of %s", i, packet.Frame, p.Name)
		}
		rest = rest[at+len(packet.Frame):]
		positions += packet.Count
	}
	if answered := d.Packets[0].Answered; positions < 3 || answered == (p.Name == unanswered) {
		t.Errorf("%d positions, the first packet is %+v", positions, d.Packets[0])
	}
}

func TestChosenReference(t *testing.T) {
	s := start(t, standin.Options{Protocol: jt808.New()})
	const id, serial = "13800000001", 54423
	if err := s.TextAs(id, "Hello", serial); !errors.Is(err, standin.ErrAway) {
		t.Errorf("a text to nobody: %v", err)
	}
	var heard protocol.DeviceEvent
	tr := play(t, trackersim.Options{
		Protocol: jt808.New(), Gateway: s.Addr(), Device: protocol.DeviceConfig{ID: id},
		OnText: func(e protocol.DeviceEvent) trackersim.Action {
			heard = e
			return trackersim.Action{Outcome: protocol.AckRejected, Never: e.Body == "foreign"}
		},
	})
	await(t, s, "the login", func() bool { return s.Device(id).Connected })
	check(t, s.TextAs(id, "Hello", 1<<16|serial))
	await(t, s, "the ack", func() bool { return s.Figures().Acks == 1 })
	want := []standin.Ack{{Ref: serial, Outcome: protocol.AckRejected, Own: true}}
	if d := s.Device(id); !slices.Equal(d.Acks, want) {
		t.Errorf("acks %+v", d.Acks)
	}
	if heard.Ref != serial || heard.Body != "Hello" {
		t.Errorf("the device has %+v", heard)
	}
	check(t, tr.Ack(protocol.DeviceEvent{Kind: protocol.DeviceText, Ref: 7}, protocol.AckDelivered))
	await(t, s, "the foreign ack", func() bool { return s.Figures().Strays == 1 })
	if f := s.Figures(); f.Acks != 1 || f.Delivered != 0 || s.Device(id).Acks[1].Own {
		t.Errorf("figures %+v, acks %+v", f, s.Device(id).Acks)
	}
}

// An ack that names nothing belongs to a text that has none.
func TestUnnamedAcks(t *testing.T) {
	s := start(t, standin.Options{})
	l := dial(t, s)
	l.login("1")
	if ref, err := s.Text("1", "Hello"); err != nil || ref != 0 {
		t.Fatalf("reference %d, %v", ref, err)
	}
	l.hear("#M#Hello\r\n")
	l.say("#AM#1\r\n#AM#1\r\n")
	await(t, s, "both acks", func() bool { return len(s.Device("1").Acks) == 2 })
	if a := s.Device("1").Acks; !a[0].Own || a[1].Own {
		t.Errorf("acks %+v", a)
	}
	check(t, s.Send("1", []byte("#US#3\r\nabc")))
	l.hear("#US#3\r\nabc")
}

func TestBehaviour(t *testing.T) {
	s := start(t, standin.Options{Record: 1 << 10})
	l := dial(t, s)
	l.login("1")

	s.Behave(standin.Behaviour{Silent: true})
	l.say(position)
	await(t, s, "what nobody answers", func() bool { return s.Figures().Positions == 1 })
	l.quiet()

	s.Behave(standin.Behaviour{})
	l.say(position)
	l.hear("#ASD#1\r\n")
	await(t, s, "the answer", func() bool { return s.Figures().Answered == 1 })
	if p := s.Device("1").Packets; len(p) != 2 || p[0].Answered || !p[1].Answered {
		t.Errorf("packets %+v", p)
	}

	s.Behave(standin.Behaviour{Deaf: true})
	l.say(position)
	l.quiet()
	if n := s.Figures().Positions; n != 2 {
		t.Errorf("a deaf server has %d positions", n)
	}

	const delay = 60 * time.Millisecond
	since := time.Now()
	s.Behave(standin.Behaviour{Delay: delay})
	l.say(position)
	l.hear("#ASD#1\r\n#ASD#1\r\n")
	if took := time.Since(since); took < delay {
		t.Errorf("answered after %v", took)
	}

	s.Behave(standin.Behaviour{Judge: result(protocol.Later)})
	l.say("#M#Need fuel\r\n" + position)
	await(t, s, "what is not taken", func() bool {
		return s.Figures().Kinds[protocol.KindPosition] == 5
	})
	if f := s.Figures(); f.Texts != 0 || f.Positions != 4 {
		t.Errorf("taken: %+v", f)
	}
}

func TestRefusal(t *testing.T) {
	s := start(t, standin.Options{Behaviour: standin.Behaviour{
		Judge: standin.Accept(func(device string) bool { return device == "1" }),
	}})
	l := dial(t, s)
	l.say("#L#2;NA\r\n" + position)
	l.hear("#AL#0\r\n#ASD#-1\r\n")
	dial(t, s).login("1")
	f, d := s.Figures(), s.Device("2")
	if f.Logins != 1 || f.Refused != 1 || f.Positions != 0 || d.Refused != 1 || d.Connected {
		t.Errorf("figures %+v, device %+v", f, d)
	}
	for _, name := range []string{"galileosky", "watch"} { // which have no word for it
		p, _ := all.Find(name)
		s := start(t, standin.Options{Protocol: p, Behaviour: standin.Behaviour{
			Judge: result(protocol.UnknownDevice),
		}})
		settings, err := p.NewSettings()
		check(t, err)
		l := dial(t, s)
		l.say(string(p.NewDevice(protocol.DeviceConfig{ID: "860000000000001", Settings: settings}).
			AppendLogin(nil)))
		if n, err := l.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestKill(t *testing.T) {
	ends := map[standin.End]error{standin.FIN: io.EOF, standin.RST: syscall.ECONNRESET}
	for how, want := range ends {
		s := start(t, standin.Options{})
		one, two := dial(t, s), dial(t, s)
		one.login("1")
		two.login("2")
		if n := s.Kill(how, "1", "3"); n != 1 {
			t.Errorf("%d connections", n)
		}
		if _, err := one.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("end %d is %v, want %v", how, err, want)
		}
		if how == standin.FIN { // nothing is answered any more, and nothing resets
			one.say(position)
		}
		check(t, one.Close())
		await(t, s, "the end", func() bool { return s.Figures().Open == 1 })
		two.say(position)
		two.hear("#ASD#1\r\n")
		if f := s.Figures(); f.Positions != 1 || s.Device("1").Connected {
			t.Errorf("figures %+v", f)
		}
	}
}

func TestDieAndReturn(t *testing.T) {
	s := start(t, standin.Options{})
	addr := s.Addr()
	for range 3 {
		l := dial(t, s)
		l.login("1")
		s.Behave(standin.Behaviour{Deaf: true}) // the dead hear nothing either
		if n := s.Die(standin.RST); n != 1 {
			t.Errorf("%d connections", n)
		}
		if c, err := new(dialer).dial(t, addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dialling the dead: %v, %v", c, err)
		}
		await(t, s, "the end", func() bool { return s.Figures().Open == 0 })
		s.Behave(standin.Behaviour{})
		check(t, s.Return(t.Context()))
		check(t, s.Return(t.Context()))
	}
	if s.Addr() != addr {
		t.Errorf("%s returned as %s", addr, s.Addr())
	}
	dial(t, s).login("1")
	s.Close()
	if s.Return(t.Context()) == nil {
		t.Error("a closed server listens")
	}
}

// Positions that a dying server has taken and those that it has not answered are all that was sent.
func TestNothingIsLostByDying(t *testing.T) {
	s := start(t, standin.Options{Record: 1 << 20})
	const n, kills = 300, 15
	sent := lines(n)
	held := sent // by the device, which repeats what was not answered
	for round := 0; len(held) > 0; round++ {
		l := dial(t, s)
		l.login("1")
		for alive := true; alive && len(held) > 0; {
			if round < kills && len(held) == n-round*n/kills {
				s.Kill([]standin.End{standin.FIN, standin.RST}[round%2])
			}
			_, err := io.WriteString(l, held[0])
			if err == nil {
				_, err = io.ReadFull(l, make([]byte, len("#ASD#1\r\n")))
			}
			if alive = err == nil; alive {
				held = held[1:]
			}
		}
		check(t, l.Close())
	}
	await(t, s, "the answers", func() bool { return s.Figures().Answered >= n })
	var has []string
	answered := 0
	for _, p := range s.Device("1").Packets {
		has = append(has, string(p.Frame))
		if p.Answered {
			answered++
		}
	}
	if f := s.Figures(); f.Answered != answered || f.Connections <= kills {
		t.Errorf("%d answered, %+v", answered, f)
	}
	slices.Sort(has)
	for _, text := range sent {
		if _, found := slices.BinarySearch(has, text); !found {
			t.Errorf("%q is lost", text)
		}
	}
}
