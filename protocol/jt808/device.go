package jt808

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"trackchat/protocol"
)

// Variants of the terminal: the edition it follows.
const (
	variant2011 = "2011"
	variant2013 = "2013"
	variant2019 = "2019"
)

const (
	maxUnanswered = 256  // texts of the driver that wait for their answer; the oldest is forgotten
	partBytes     = 1000 // of a body that does not fit one message
)

// device is the terminal's side.
type device struct {
	*shared
	self       address
	charset    protocol.Charset
	variant    string
	id         string
	code       string // authentication code; empty: register first
	serial     uint16
	request    uint16   // serial of the registration or authentication that waits for its answer
	registered bool     // this connection has registered
	texts      []uint16 // serials of the driver's texts that wait for their answer
}

// newDevice makes the terminal of phone c.ID. A longer id than the header has room for (an IMEI in
// twelve digits) keeps its last ones.
func newDevice(s *shared, c protocol.DeviceConfig) *device {
	d := &device{shared: s, variant: c.Variant, id: c.ID, code: c.Password}
	d.charset = s.charset(c.Settings)
	d.self.long = c.Variant == variant2019
	if d.self.long {
		d.self.version = 1
	}
	digits := strings.Repeat("0", 2*longPhone) + strings.ToLower(c.ID)
	digits = digits[len(digits)-2*len(d.self.digits()):]
	for i, b := range d.self.digits() {
		d.self.digits()[i] = b | nibble(digits[2*i])<<4 | nibble(digits[2*i+1])
	}
	return d
}

// nibble reads a hexadecimal digit; anything else is 0.
func nibble(digit byte) byte {
	return byte(max(strings.IndexByte("0123456789abcdef", digit), 0))
}

func (d *device) begin(dst []byte, id uint16) ([]byte, int) {
	dst, start := begin(dst, &d.self, id, d.serial)
	d.serial++
	return dst, start
}

// AppendLogin registers without a code, else authenticates with it.
func (d *device) AppendLogin(dst []byte) []byte {
	d.registered = false
	if d.code == "" {
		return d.appendRegister(dst)
	}
	return d.appendAuth(dst)
}

// fixed appends text cut or padded to n bytes.
func fixed(dst []byte, text string, n int, pad byte) []byte {
	for i := range n {
		if i < len(text) {
			dst = append(dst, text[i])
			continue
		}
		dst = append(dst, pad)
	}
	return dst
}

// appendRegister: province WORD, city WORD, maker, model and terminal id in the widths of the
// edition, plate colour BYTE, plate (8.5).
func (d *device) appendRegister(dst []byte) []byte {
	d.request, d.registered = d.serial, true
	maker, model, id, pad := 5, 20, 7, byte(0)
	switch d.variant {
	case variant2011:
		model, pad = 8, ' '
	case variant2019:
		maker, model, id = 11, 30, 30
	}
	dst, start := d.begin(dst, msgRegister)
	dst = append(dst, 0, 31, 0, 115)
	dst = fixed(dst, "TRCHT", maker, pad)
	dst = fixed(dst, "SIM-1", model, pad)
	dst = fixed(dst, d.id[max(0, len(d.id)-7):], id, pad)
	return finish(append(dst, 1, 'T', '1'), start)
}

// appendAuth: the code; in 2019 length BYTE, code, IMEI BYTE[15], software version BYTE[20].
func (d *device) appendAuth(dst []byte) []byte {
	d.request = d.serial
	code := d.code[:min(len(d.code), 0xFF)]
	dst, start := d.begin(dst, msgAuth)
	if d.self.long {
		dst = append(append(dst, byte(len(code))), code...)
		dst = fixed(dst, d.id, 15, 0)
		return finish(fixed(dst, "V1.0", 20, 0), start)
	}
	return finish(append(dst, code...), start)
}

func (d *device) appendReply(dst []byte, serial, id uint16, result byte) []byte {
	dst, start := d.begin(dst, msgReply)
	dst = binary.BigEndian.AppendUint16(dst, serial)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return finish(append(dst, result), start)
}

// AppendAck answers a text or a question with 0x0001. An outcome that is still to come appends
// nothing.
func (d *device) AppendAck(dst []byte, e protocol.DeviceEvent, o protocol.Outcome) []byte {
	id, result := uint16(msgShow), byte(resultFailed)
	if e.Choices != nil {
		id = msgAsk
	}
	switch o {
	case protocol.AckLater:
		return dst
	case protocol.AckDelivered, protocol.AckOpened:
		result = resultOK
	case protocol.AckDamaged, protocol.AckRejected:
		result = resultMalformed
	case protocol.AckUnsupported:
		result = resultUnsupported
	default:
	}
	return d.appendReply(dst, uint16(e.Ref), id, result)
}

// AppendText sends 0x6006 in UTF-16, in subpackages where one message cannot hold it.
func (d *device) AppendText(dst []byte, text string) ([]byte, error) {
	body := []byte{encodingUnicode}
	for _, unit := range utf16.Encode([]rune(text)) {
		body = binary.BigEndian.AppendUint16(body, unit)
	}
	if len(body) > maxTextBytes {
		return dst, fmt.Errorf("%w: %d bytes", protocol.ErrTextTooLong, len(body))
	}
	if len(body) <= maxBody {
		var start int
		dst, start = d.begin(dst, msgText)
		dst = finish(append(dst, body...), start)
	} else {
		total := uint16((len(body) + partBytes - 1) / partBytes)
		number := uint16(0)
		for part := range slices.Chunk(body, partBytes) {
			var start int
			number++
			dst, start = d.begin(dst, msgText)
			dst[start+3] |= attrSubpackage >> 8
			dst = binary.BigEndian.AppendUint16(dst, total)
			dst = binary.BigEndian.AppendUint16(dst, number)
			dst = finish(append(dst, part...), start)
		}
	}
	// The answer to the last part is the one that counts: the gateway answers it when it has stored
	// the text.
	if len(d.texts) == maxUnanswered {
		d.texts = slices.Delete(d.texts, 0, 1)
	}
	d.texts = append(d.texts, d.serial-1)
	return dst, nil
}

// AppendChoice sends 0x0302: serial of the question WORD, answer BYTE.
func (d *device) AppendChoice(dst []byte, e protocol.DeviceEvent, choice int) []byte {
	if e.Choices == nil {
		return dst
	}
	dst, start := d.begin(dst, msgAnswer)
	dst = binary.BigEndian.AppendUint16(dst, uint16(e.Ref))
	return finish(append(dst, byte(choice)), start)
}

// AppendHeartbeat sends 0x0002.
func (d *device) AppendHeartbeat(dst []byte) []byte {
	dst, start := d.begin(dst, msgHeartbeat)
	return finish(dst, start)
}

// Status bits of a position (8.12).
const (
	statusACC   = 1 << 0
	statusFixed = 1 << 1
	statusSouth = 1 << 2
	statusWest  = 1 << 3
)

// AppendPosition sends 0x0200 with the fixed part only: alarm, status, latitude, longitude DWORD,
// altitude, speed, course WORD, time BCD[6] at GMT+8.
func (d *device) AppendPosition(dst []byte, lat, lon float64, at time.Time) []byte {
	status := uint32(statusACC | statusFixed)
	if lat < 0 {
		status |= statusSouth
	}
	if lon < 0 {
		status |= statusWest
	}
	dst, start := d.begin(dst, msgPosition)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, status)
	dst = binary.BigEndian.AppendUint32(dst, uint32(math.Round(math.Abs(lat)*1e6)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(math.Round(math.Abs(lon)*1e6)))
	dst = append(dst, 0, 50, 0, 0, 0, 0)
	return finish(appendBCDTime(dst, at.UTC().Add(8*time.Hour)), start)
}

// errUnreadable marks a text or a question that the terminal cannot read and refuses by itself.
var errUnreadable = errors.New("unreadable")
