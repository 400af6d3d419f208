package wialon

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"trackchat/protocol"
)

// Values of DeviceConfig.Variant: versions.
const (
	variant1 = "1.1"
	variant2 = "2.0"
)

var _ protocol.Device = (*device)(nil)

// device is the tracker's side of one connection.
type device struct {
	id, password string
	version      version
	charset      protocol.Charset
}

func newDevice(s *shared, c protocol.DeviceConfig) *device {
	d := &device{
		id: c.ID, password: cmp.Or(c.Password, "NA"), version: version2,
		charset: s.charset(c.Settings),
	}
	if c.Variant == variant1 {
		d.version = version1
	}
	return d
}

func (d *device) AppendLogin(dst []byte) []byte {
	dst = append(dst, "#L#"...)
	body := len(dst)
	if d.version == version2 {
		dst = append(dst, "2.0;"...)
	}
	dst = append(dst, d.id...)
	dst = append(dst, ';')
	dst = append(dst, d.password...)
	return endLine(dst, body, d.version)
}

// Feed: A message whose CRC is wrong is answered at once.
func (d *device) Feed(dst, in []byte, emit func(protocol.DeviceEvent)) (out []byte, consumed int,
	err error,
) {
	for consumed < len(in) {
		end := bytes.IndexByte(in[consumed:], '\n')
		if end < 0 {
			if len(in)-consumed >= maxFrame {
				return dst, consumed, fmt.Errorf("%w: %d bytes without a line's end",
					protocol.ErrTooLong, len(in)-consumed)
			}
			break
		}
		line := trimEnd(in[consumed : consumed+end+1])
		consumed += end + 1
		p, ok := parsePacket(line)
		if !ok {
			return dst, consumed, fmt.Errorf("%w: no packet", protocol.ErrGarbage)
		}
		if p.typ == typeM {
			dst = d.message(dst, p.msg, emit)
			continue
		}
		emit(answered(p, line))
	}
	return dst, consumed, nil
}

func (d *device) message(dst, msg []byte, emit func(protocol.DeviceEvent)) []byte {
	text, err := withoutCRC(msg, ';', d.version, false)
	if err != nil {
		emit(protocol.DeviceEvent{Kind: protocol.DeviceOther, Body: "message with a wrong CRC"})
		return append(dst, "#AM#01\r\n"...)
	}
	body, err := d.charset.Decode(text)
	if err != nil {
		emit(protocol.DeviceEvent{Kind: protocol.DeviceOther, Body: "message in another charset"})
		return append(dst, "#AM#0\r\n"...)
	}
	emit(protocol.DeviceEvent{Kind: protocol.DeviceText, Body: body})
	return dst
}

// answered says what an answer of the server means.
func answered(p packet, line []byte) protocol.DeviceEvent {
	yes := string(p.msg) == "1"
	switch {
	case p.typ == typeAL && yes:
		return protocol.DeviceEvent{Kind: protocol.DeviceLoggedIn}
	case p.typ == typeAL:
		return protocol.DeviceEvent{
			Kind: protocol.DeviceRefused,
			Body: string(bytes.ToValidUTF8(p.msg, nil)),
		}
	case p.typ == typeAM && yes:
		return protocol.DeviceEvent{Kind: protocol.DeviceTextAck}
	case p.typ == typeAM:
		return protocol.DeviceEvent{
			Kind: protocol.DeviceTextNak,
			Body: string(bytes.ToValidUTF8(p.msg, nil)),
		}
	default: // AP, ASD, AD, AB and commands that a simulated tracker does not carry out
		return protocol.DeviceEvent{Kind: protocol.DeviceOther, Body: string(bytes.ToValidUTF8(line,
			nil))}
	}
}

// AppendAck: The answer names no message.
func (d *device) AppendAck(dst []byte, _ protocol.DeviceEvent, o protocol.Outcome) []byte {
	switch o {
	case protocol.AckDelivered, protocol.AckOpened:
		return append(dst, "#AM#1\r\n"...)
	case protocol.AckDamaged:
		return append(dst, "#AM#01\r\n"...)
	case protocol.AckFailed, protocol.AckRejected, protocol.AckUnsupported, protocol.AckStorage:
		return append(dst, "#AM#0\r\n"...)
	default: // AckLater: the verdict follows
		return dst
	}
}

func (d *device) AppendText(dst []byte, text string) ([]byte, error) {
	if strings.Trim(text, "\r\n") == "" {
		return dst, fmt.Errorf("%w: it is empty", protocol.ErrNotText)
	}
	dst = append(dst, "#M#"...)
	body := len(dst)
	return endMessage(d.charset.Append(dst, text), body, d.version), nil
}

// AppendChoice: Wialon IPS has no questions.
func (d *device) AppendChoice(dst []byte, _ protocol.DeviceEvent, _ int) []byte { return dst }

func (d *device) AppendHeartbeat(dst []byte) []byte { return append(dst, "#P#\r\n"...) }

// AppendPosition: with a #SD# that knows neither speed, course nor altitude.
func (d *device) AppendPosition(dst []byte, lat, lon float64, at time.Time) []byte {
	dst = append(dst, "#SD#"...)
	body := len(dst)
	dst = at.UTC().AppendFormat(dst, "020106;150405;")
	dst = appendDegrees(dst, lat, 2, 'N', 'S')
	dst = appendDegrees(dst, lon, 3, 'E', 'W')
	dst = append(dst, "NA;NA;NA;NA"...)
	return endLine(dst, body, d.version)
}

// appendDegrees appends degrees (in the given number of digits), minutes with four decimals, and
// the letter of the sign.
func appendDegrees(dst []byte, v float64, digits int, plus, minus byte) []byte {
	const perMinute = 10_000
	if v < 0 {
		plus = minus
	}
	n := int(math.Round(math.Abs(v) * 60 * perMinute))
	// DDMM and the four decimals, as one number.
	n = n/(60*perMinute)*100*perMinute + n%(60*perMinute)
	for unit := int(math.Pow10(digits + 5)); unit > 0; unit /= 10 {
		if unit == perMinute/10 {
			dst = append(dst, '.')
		}
		dst = append(dst, '0'+byte(n/unit%10))
	}
	return append(dst, ';', plus, ';')
}
