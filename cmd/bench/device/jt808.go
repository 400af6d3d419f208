package device

import (
	"context"
	"errors"
	"fmt"
	"net"

	"trackchat/protocol"
	"trackchat/protocol/jt808"
)

// jtt808Side is a terminal of JT/T 808: it registers, logs in, and answers 0x8300 with 0x0001.
type jtt808Side struct {
	d      *device
	side   protocol.Device
	buf    []byte
	out    []byte
	events []protocol.DeviceEvent
	acks   []int64
}

var errTooLong = errors.New("a frame without an end")

func newJTT808(d *device) (*jtt808Side, error) {
	p := jt808.New()
	settings, err := p.NewSettings()
	if err != nil {
		return nil, fmt.Errorf("settings of a device: %w", err)
	}
	side := p.NewDevice(protocol.DeviceConfig{ID: ID(d.index), Settings: settings})
	return &jtt808Side{d: d, side: side}, nil
}

func (s *jtt808Side) talk(_ context.Context, c net.Conn, in func()) error {
	if _, err := c.Write(s.side.AppendLogin(nil)); err != nil {
		return err
	}
	if s.buf == nil {
		s.buf = make([]byte, readBuffer)
	}
	emit := func(e protocol.DeviceEvent) { s.events = append(s.events, e) }
	have := 0
	for {
		if have == len(s.buf) {
			return errTooLong
		}
		n, err := c.Read(s.buf[have:])
		if err != nil {
			return err
		}
		have += n
		var used int
		s.out, used, err = s.side.Feed(s.out[:0], s.buf[:have], emit)
		if err != nil {
			return err
		}
		have = copy(s.buf, s.buf[used:have])
		entered, err := s.handle(in)
		if err != nil {
			return err
		}
		if len(s.out) > 0 {
			if _, err := c.Write(s.out); err != nil {
				return err
			}
		}
		s.d.acked(s.acks)
		if entered && s.d.deaf() {
			return nil
		}
	}
}

// handle deals with what came in; entered says that the device is logged in now.
func (s *jtt808Side) handle(in func()) (entered bool, err error) {
	s.acks = s.acks[:0]
	for i := range s.events {
		e := &s.events[i]
		switch e.Kind {
		case protocol.DeviceLoggedIn:
			entered = true
			in()
		case protocol.DeviceRefused:
			err = errRefused
		case protocol.DeviceText:
			if seq, ours := s.d.arrive([]byte(e.Body)); ours && !s.d.deaf() {
				s.out = s.side.AppendAck(s.out, *e, protocol.AckDelivered)
				s.acks = append(s.acks, seq)
			}
		default:
		}
	}
	clear(s.events)
	s.events = s.events[:0]
	return entered, err
}
