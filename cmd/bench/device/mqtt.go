package device

import (
	"bytes"
	"context"
	"net"
	"strconv"

	"trackchat/cmd/bench/mqtt"
)

// mqttSide subscribes to t/<device> with QoS 1 in a persistent session. A text is "<id> <text>";
// its acknowledgement goes to a/<device> and holds the id. One of QoS 1 is sent again after a
// reconnect as long as the broker has not taken it, as any client library does.
type mqttSide struct {
	d *device
	// waiting holds the ids of acknowledgements that the broker has not taken, by packet number.
	waiting map[uint16]string
	number  uint16
	out     []byte
	acks    []int64
}

const (
	// mostWaiting bounds the acknowledgements that are repeated after a reconnect.
	mostWaiting = 1024
	// firstNumber begins the device's own packet numbers where those of a broker do not come soon:
	// mochi 2.7.9 takes the two for the same and forgets its text when ours has its number.
	firstNumber = 1 << 15
)

func (s *mqttSide) talk(_ context.Context, c net.Conn, in func()) error {
	index := strconv.Itoa(s.d.index)
	out := mqtt.AppendConnect(nil, "d"+index)
	if _, err := c.Write(mqtt.AppendSubscribe(out, "t/"+index, 1)); err != nil {
		return err
	}
	r := mqtt.NewReader(c, readBuffer)
	for {
		p, err := r.Next()
		if err != nil {
			return err
		}
		s.out, s.acks = s.out[:0], s.acks[:0]
		if err := s.packet(index, p, in); err != nil {
			return err
		}
		if p.Type == mqtt.SubAck && s.d.deaf() {
			return nil
		}
		if len(s.out) == 0 {
			continue
		}
		if _, err := c.Write(s.out); err != nil {
			return err
		}
		s.d.acked(s.acks)
	}
}

// packet answers one packet.
func (s *mqttSide) packet(index string, p mqtt.Packet, in func()) error {
	switch p.Type {
	case mqtt.ConnAck, mqtt.SubAck:
		if p.Refused() {
			return errRefused
		}
		if p.Type == mqtt.SubAck {
			in()
			s.repeat(index)
		}
	case mqtt.PubAck:
		n, err := p.Number()
		if err != nil {
			return err
		}
		delete(s.waiting, n)
	case mqtt.Publish:
		return s.text(index, p)
	}
	return nil
}

// text answers one text with the broker's and the application's acknowledgement.
func (s *mqttSide) text(index string, p mqtt.Packet) error {
	_, number, payload, err := p.Publication()
	if err != nil {
		return err
	}
	if number != 0 {
		s.out = mqtt.AppendPubAck(s.out, number)
	}
	id, text, found := bytes.Cut(payload, []byte{' '})
	if !found {
		return nil
	}
	seq, ours := s.d.arrive(text)
	if !ours {
		return nil
	}
	var own uint16
	if s.d.fleet.o.AckQoS > 0 {
		own = s.take(string(id))
	}
	s.out = mqtt.AppendPublish(s.out, "a/"+index, own, false, id)
	s.acks = append(s.acks, seq)
	return nil
}

// take numbers an acknowledgement.
func (s *mqttSide) take(id string) uint16 {
	for {
		s.number = max(s.number+1, firstNumber)
		if _, taken := s.waiting[s.number]; !taken {
			break
		}
	}
	if len(s.waiting) < mostWaiting {
		s.waiting[s.number] = id
	}
	return s.number
}

func (s *mqttSide) repeat(index string) {
	for number, id := range s.waiting {
		s.out = mqtt.AppendPublish(s.out, "a/"+index, number, true, []byte(id))
	}
}
