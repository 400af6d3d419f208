package wialon

import (
	"bytes"
	"fmt"
	"time"

	"trackchat/protocol"
)

// Fields of a record, in the order of #SD#; #D# goes on behind fieldSats.
const (
	fieldDate = iota
	fieldTime
	fieldLat
	fieldLatSign
	fieldLon
	fieldLonSign
	fieldSpeed
	fieldCourse
	fieldAltitude
	fieldSats
	fieldHDOP
	fieldInputs
	fieldOutputs
	fieldADC
	fieldIButton
	fieldParams

	shortFields    = fieldSats + 1
	extendedFields = fieldParams + 1
)

// record is one position, taken apart. The parameters are the last field because a text in them may
// hold semicolons.
type record struct {
	f [extendedFields][]byte
	n int
}

func parseRecord(b []byte) (r record) {
	r.n = split(b, r.f[:])
	return r
}

// check returns answerOne for a record that can be taken, else what is wrong with it in the words
// of #ASD# and #AD#. It is as strict as the specification asks and no stricter: an empty field
// counts as NA, and a decimal comma as a point.
func (r *record) check() answer {
	f := &r.f
	switch {
	case r.n != shortFields && r.n != extendedFields:
		return answerStructure
	case !validDate(f[fieldDate], f[fieldTime]):
		return answerZero
	case !validDegrees(f[fieldLat], f[fieldLatSign], 'N', 'S', 90), !validDegrees(f[fieldLon],
		f[fieldLonSign], 'E', 'W', 180):
		return answerPlace
	case !isNumber(f[fieldSpeed]), !isNumber(f[fieldCourse]), !isNumber(f[fieldAltitude]):
		return answerMotion
	case !isNumber(f[fieldSats]):
		return answerSats
	case r.n == shortFields:
		return answerOne
	case !isNumber(f[fieldHDOP]):
		return answerSats
	case !isNumber(f[fieldInputs]), !isNumber(f[fieldOutputs]):
		return answerInOut
	case !validADC(f[fieldADC]):
		return answerADC
	}
	return answerOne
}

// wrongPosition says in words what check and texts found.
func wrongPosition(a answer) string {
	switch a {
	case answerZero:
		return "wrong time"
	case answerPlace:
		return "wrong coordinates"
	case answerMotion:
		return "wrong speed, course or altitude"
	case answerSats:
		return "wrong satellites or HDOP"
	case answerInOut:
		return "wrong inputs or outputs"
	case answerADC:
		return "wrong analog inputs"
	case answerParams:
		return "wrong parameters"
	default:
		return "wrong number of fields"
	}
}

// position decodes #SD# and #D#.
func (d *decoding) position() error {
	p := d.packet
	most, wrongCRC := shortFields, answerShortCRC
	if p.typ == typeD {
		most, wrongCRC = extendedFields, answerCRC
	}
	msg, err := withoutCRC(p.msg, ';', p.version, bytes.Count(p.msg, []byte{';'}) >= most)
	if err != nil {
		return d.refuse(wrongCRC, err)
	}
	r := parseRecord(msg)
	verdict := r.check()
	if r.n != most {
		verdict = answerStructure
	}
	texts, readable := d.texts(&r)
	if verdict == answerOne && !readable {
		verdict = answerParams
	}
	if verdict != answerOne && len(texts) == 0 {
		return d.refuse(verdict, fmt.Errorf("%w: position: %s", protocol.ErrMalformed,
			wrongPosition(verdict)))
	}
	// What the driver wrote beside a mistake is taken, and the answer says so: refused, it would
	// come with the same mistake again.
	for _, e := range d.recordTexts(nil, &r, texts) {
		d.out(e)
	}
	d.out(protocol.Event{Kind: protocol.KindPosition, Count: 1})
	return nil
}

// blackBox decodes #B#record|record[|CRC]. Records are those of #SD# or #D#. The answer counts all
// of them, also those that cannot be read, as reference servers do: a device that reads a smaller
// number than it sent sends them all again, with the same mistakes, and never what stands behind
// them.
func (d *decoding) blackBox() error {
	p := d.packet
	last := p.msg[bytes.LastIndexByte(p.msg, '|')+1:]
	msg, err := withoutCRC(p.msg, '|', p.version, bytes.IndexByte(last, ';') < 0)
	if err != nil {
		return d.refuse(answerNothing, err)
	}
	readable, records := 0, uint32(0)
	var said []protocol.Event
	for len(msg) > 0 {
		var b []byte
		if b, msg, _ = bytes.Cut(msg, []byte{'|'}); len(b) == 0 {
			continue
		}
		records++
		r := parseRecord(b)
		texts, legible := d.texts(&r)
		if legible && r.check() == answerOne || len(texts) > 0 {
			readable++
			said = d.recordTexts(said, &r, texts)
		}
	}
	if records == 0 {
		return d.refuse(answerZero, fmt.Errorf("%w: empty black box", protocol.ErrMalformed))
	}
	for _, e := range said {
		d.out(e)
	}
	e := protocol.Event{Kind: protocol.KindPosition, Count: readable, Aux: aux(answerCount,
		records)}
	if readable == 0 {
		e.Kind = protocol.KindOther
		err = fmt.Errorf("%w: black box without a record", protocol.ErrMalformed)
	}
	d.out(e)
	return err
}

// validDate checks DDMMYY and HHMMSS[.fraction], in UTC. Both are NA where the device has no clock.
func validDate(date, clock []byte) bool {
	if isNA(date) && isNA(clock) {
		return true
	}
	clock, fraction, _ := bytes.Cut(clock, []byte{'.'})
	day, month, year, ok := threePairs(date)
	hour, minute, second, ok2 := threePairs(clock)
	if _, digits := parseUint(fraction, 0); len(fraction) > 0 && !digits {
		return false
	}
	return ok && ok2 && month >= 1 && month <= 12 && day >= 1 && hour < 24 && minute < 60 &&
		second <= 60 &&
		day <= time.Date(2000+year, time.Month(month+1), 0, 0, 0, 0, 0, time.UTC).Day()
}

func threePairs(b []byte) (x, y, z int, ok bool) {
	n, digits := parseUint(b, 999_999)
	return int(n / 10_000), int(n / 100 % 100), int(n % 100), digits && len(b) == 6
}

// validDegrees checks DDMM.MMMM or DDDMM.MMMM and its letter. Minutes past 60 only add up, as
// reference servers take them: a black box with one such record would come again and again.
func validDegrees(b, sign []byte, plus, minus byte, most uint32) bool {
	if isNA(b) {
		return isNA(sign) || isLetter(sign, plus, minus)
	}
	whole, fraction := decimal(b)
	n, digits := parseUint(whole, 100_000)
	m, digits2 := parseUint(fraction, 1)
	minutes := n/100*60 + n%100
	inside := minutes < most*60 || minutes == most*60 && m == 0
	return digits && (len(fraction) == 0 || digits2) && inside && isLetter(sign, plus, minus)
}

func isLetter(b []byte, x, y byte) bool {
	return len(b) == 1 && (b[0]&^0x20 == x || b[0]&^0x20 == y)
}

// decimal cuts a number at its point, or comma.
func decimal(b []byte) (whole, fraction []byte) {
	if i := bytes.IndexAny(b, ".,"); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// isNumber accepts an optional sign, digits, and a decimal fraction, or NA.
func isNumber(b []byte) bool {
	if isNA(b) {
		return true
	}
	if b[0] == '-' || b[0] == '+' {
		b = b[1:]
	}
	whole, fraction := decimal(b)
	_, digits := parseUint(whole, 0)
	_, digits2 := parseUint(fraction, 0)
	return (digits || len(whole) == 0) && (digits2 || len(fraction) == 0) && (digits || digits2)
}

// validADC checks voltages separated by commas.
func validADC(b []byte) bool {
	for more := true; more; {
		var v []byte
		v, b, more = bytes.Cut(b, []byte{','})
		if !isNumber(v) {
			return false
		}
	}
	return true
}
