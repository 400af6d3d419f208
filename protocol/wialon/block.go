package wialon

import (
	"fmt"
	"math"

	"trackchat/protocol"
)

// image decodes #I#sz;ind;count;date;time;name[;CRC] and its raw bytes, of which the CRC is. Blocks
// count from 0, count is the number of the last one. Images mean nothing for chat, but a device
// that gets no answer sends them for ever.
func (d *decoding) image() error {
	var f [8][]byte
	n := split(d.packet.msg, f[:])
	ind, ok := parseUint(f[1], math.MaxUint32)
	last, ok2 := parseUint(f[2], math.MaxUint32)
	if n < 6 || n > 7 || !ok || !ok2 || !d.sized(f[0]) {
		return d.refuse(answerBlockUnknown, fmt.Errorf("%w: block of an image",
			protocol.ErrMalformed))
	}
	if err := d.checkBlock(f[6], n == 7); err != nil {
		return d.refuseBlock(ind, err)
	}
	d.taken(ind, ind >= last)
	return nil
}

// tachographInfo decodes #IT#date;time;driverid;code;count;CRC, which announces a tachograph file
// whose last block is count.
func (d *decoding) tachographInfo() error {
	msg, err := withoutCRC(d.packet.msg, ';', d.packet.version, true)
	if err != nil {
		return d.refuse(answerDamaged, err)
	}
	var f [6][]byte
	n := split(msg, f[:])
	last, ok := parseUint(f[4], math.MaxUint32)
	if n != 5 || !ok || !validDate(f[0], f[1]) {
		return d.refuse(answerZero, fmt.Errorf("%w: announcement of a tachograph file",
			protocol.ErrMalformed))
	}
	d.lastBlock, d.announced = last, true
	d.out(protocol.Event{Kind: protocol.KindOther, Aux: aux(answerOne, 0)})
	return nil
}

// tachograph decodes #T#code;sz;ind;CRC and its raw bytes.
func (d *decoding) tachograph() error {
	var f [5][]byte
	n := split(d.packet.msg, f[:])
	ind, ok := parseUint(f[2], math.MaxUint32)
	if n < 3 || n > 4 || !ok || !d.sized(f[1]) {
		return d.refuse(answerBlockUnknown, fmt.Errorf("%w: block of a tachograph file",
			protocol.ErrMalformed))
	}
	if err := d.checkBlock(f[3], n == 4); err != nil {
		return d.refuseBlock(ind, err)
	}
	last := d.announced && ind >= d.lastBlock
	d.announced = d.announced && !last
	d.taken(ind, last)
	return nil
}

func (d *decoding) sized(field []byte) bool {
	size, ok := parseUint(field, maxFrame)
	return ok && int(size) == len(d.block)
}

// checkBlock compares the CRC of the raw bytes, which 1.1 does not have.
func (d *decoding) checkBlock(field []byte, given bool) error {
	if !given && d.packet.version != version2 {
		return nil
	}
	want, ok := parseCRC(field)
	if have := protocol.CRC16(0, d.block); !ok || have != want {
		return fmt.Errorf("%w: %q instead of %04X", protocol.ErrChecksum, field, have)
	}
	return nil
}

func (d *decoding) refuseBlock(ind uint32, err error) error {
	d.out(protocol.Event{Kind: protocol.KindRefused, Aux: aux(answerBlockDamaged, ind)})
	return err
}

func (d *decoding) taken(ind uint32, last bool) {
	a := aux(answerBlock, ind)
	if last {
		a = aux(answerOne, ind)
	}
	d.out(protocol.Event{Kind: protocol.KindOther, Aux: a})
}
