package wialon

import (
	"bytes"
	"fmt"

	"trackchat/protocol"
)

// decoding is one call of Decode.
type decoding struct {
	*codec
	emit    func(*protocol.Event)
	packet  packet
	block   []byte // the raw bytes behind the line
	started bool   // an event of this frame went out
	login   bool   // the packet names the device and nobody logged in before: that is a login
	relay   *relay // nil: there is no tracking server behind us
	packed  bool   // with relay: the frame is a container
	ours    bool   // with relay: the frame answers a text of ours
	kept    bool   // with relay: the frame does not go on to the server
}

func (c *codec) Decode(frame []byte, emit func(*protocol.Event)) error {
	d := decoding{codec: c, emit: emit}
	if isContainer(frame) {
		return c.shared.inflaters.inflate(frame[containerHeader:], d.line)
	}
	return d.plain(frame)
}

// plain decodes a frame that is no container.
func (d *decoding) plain(frame []byte) error {
	if bytes.IndexByte(frame, '\n') < 0 {
		return fmt.Errorf("%w: %d bytes without a line's end", protocol.ErrGarbage, len(frame))
	}
	return d.line(frame)
}

// line decodes a line and the raw bytes behind it. An empty line means nothing and is no error:
// some devices end their raw bytes with one.
func (d *decoding) line(frame []byte) error {
	line := frame
	if lf := bytes.IndexByte(frame, '\n'); lf >= 0 {
		line, d.block = trimEnd(frame[:lf+1]), frame[lf+1:]
	}
	if len(line) == 0 && len(d.block) == 0 {
		return nil
	}
	p, ok := parsePacket(line)
	if !ok {
		return fmt.Errorf("%w: no packet", protocol.ErrGarbage)
	}
	if size, sure := blockSize(line); size != len(d.block) && (sure || len(d.block) > 0) {
		return fmt.Errorf("%w: %d bytes behind a line that announces %d", protocol.ErrGarbage,
			len(d.block), size)
	}
	d.packet = p
	if p.typ == typeL {
		return d.logIn()
	}
	if err := d.identify(); err != nil {
		return err
	}
	return d.body()
}

// identify deals with the device id in front of a packet, and puts the version that holds for this
// packet into d.packet.
func (d *decoding) identify() error {
	p := &d.packet
	switch {
	case p.id == nil:
		p.version = d.version
	case d.device == 0:
		d.login = true
	case hashID(p.id) != d.device:
		if d.relay != nil {
			d.relay.named = false // whom the server accepts cannot be told any more
		}
		return d.refuse(notLoggedIn(p.typ), fmt.Errorf("%w: it names another device",
			protocol.ErrMalformed))
	case p.version == version1: // the short form says nothing
		p.version = d.version
	}
	return nil
}

func (d *decoding) body() error {
	switch d.packet.typ {
	case typeP:
		d.out(protocol.Event{Kind: protocol.KindHeartbeat})
	case typeSD, typeD:
		return d.position()
	case typeB:
		return d.blackBox()
	case typeM:
		return d.message()
	case typeAM:
		return d.ack()
	case typeI:
		return d.image()
	case typeIT:
		return d.tachographInfo()
	case typeT:
		return d.tachograph()
	default:
		d.out(protocol.Event{Kind: protocol.KindUnknown})
	}
	return nil
}

// out emits an event, and before the first one of a valid frame what the frame means by itself:
// that a text has arrived (ack: next_frame) and who speaks.
func (d *decoding) out(e protocol.Event) {
	first := !d.started && e.Kind != protocol.KindRefused
	d.started = true
	e.Msg = d.packet.typ
	if d.relay != nil {
		d.relay.look(d, &e, first)
	}
	if first && d.unanswered {
		d.unanswered = false
		if d.packet.typ != typeAM { // that has its own word
			d.send(protocol.Event{
				Kind:    protocol.KindAck,
				Outcome: protocol.AckDelivered, Msg: d.packet.typ,
			})
		}
	}
	if first && d.login {
		d.device, d.version = hashID(d.packet.id), d.packet.version
		d.send(protocol.Event{
			Kind: protocol.KindLogin, Msg: d.packet.typ,
			DeviceID: string(d.packet.id),
		})
	}
	d.send(e)
}

func (d *decoding) send(e protocol.Event) {
	e.Passed = d.relay != nil && !d.kept
	d.shared.events.Emit(d.emit, e)
}

// refuse emits the answer to a frame that is wrong and returns err.
func (d *decoding) refuse(a answer, err error) error {
	d.out(protocol.Event{Kind: protocol.KindRefused, Aux: uint64(a)})
	return err
}

// logIn decodes #L#imei;password and #L#2.x;imei;password;CRC.
func (d *decoding) logIn() error {
	var f [5][]byte
	msg, v := d.packet.msg, version1
	n := split(msg, f[:])
	id, secret := f[0], f[1]
	if n == 4 && isVersion2(f[0]) {
		v, id, secret = version2, f[1], f[2]
		if _, err := withoutCRC(msg, ';', v, true); err != nil {
			return d.refuse(answerLoginCRC, err)
		}
	} else if n != 2 {
		return d.refuse(answerZero, fmt.Errorf("%w: a login of %d fields", protocol.ErrMalformed,
			n))
	}
	if !validID(id) || (d.packet.id != nil && hashID(d.packet.id) != hashID(id)) {
		return d.refuse(answerZero, fmt.Errorf("%w: wrong device id", protocol.ErrMalformed))
	}
	if isNA(secret) {
		secret = nil
	}
	d.device, d.version = hashID(id), v
	d.out(protocol.Event{Kind: protocol.KindLogin, DeviceID: string(id), Secret: string(secret)})
	return nil
}

// split cuts msg at its semicolons and returns the number of fields; the last element of f takes
// all that is left.
func split(msg []byte, f [][]byte) int {
	n := 0
	for ; n < len(f)-1; n++ {
		i := bytes.IndexByte(msg, ';')
		if i < 0 {
			break
		}
		f[n], msg = msg[:i], msg[i+1:]
	}
	f[n] = msg
	return n + 1
}

// isNA reports whether a field says that there is no value; some devices leave it empty instead.
func isNA(b []byte) bool { return len(b) == 0 || string(b) == "NA" }

// ack decodes the device's word about our #M#: #AM#1, #AM#0, #AM#01. In 2.0 some append a CRC.
func (d *decoding) ack() error {
	code, _, _ := bytes.Cut(d.packet.msg, []byte{';'})
	var outcome protocol.Outcome
	switch string(code) {
	case "1":
		outcome = protocol.AckDelivered
	case "0":
		outcome = protocol.AckRejected
	case "01":
		outcome = protocol.AckDamaged
	default:
		return fmt.Errorf("%w: unknown answer to a message", protocol.ErrMalformed)
	}
	d.out(protocol.Event{Kind: protocol.KindAck, Outcome: outcome})
	return nil
}
