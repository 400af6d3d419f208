package galileosky

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

// deviceNumber is what the simulated device is called in tag 04.
const deviceNumber = 50

var _ protocol.Device = (*device)(nil)

// device is the tracker's side, with the navigator that hangs on it. DeviceConfig.Variant is what
// the navigator speaks: a602, a604, a611 (default).
type device struct {
	*shared
	imei      []byte
	settings  protocol.Settings
	charset   protocol.Charset
	navigator *fmi.Client // chat: fmi
	commands  bool        // chat: command
	login     uint16      // CRC of the head packet that waits to be confirmed
	waiting   bool
	record    uint16
}

func newDevice(s *shared, c protocol.DeviceConfig) *device {
	digits := strings.Repeat("0", imeiDigits) + c.ID
	d := &device{
		shared: s, imei: []byte(digits[len(digits)-imeiDigits:]), settings: c.Settings,
		charset: s.fmi.Charset(c.Settings),
	}
	switch c.Settings.String(settingChat) {
	case chatCommand:
		d.commands = true
	case chatNone:
	default:
		d.navigator = s.fmi.NewClient(fmi.ParseVersion(c.Variant), d.charset)
	}
	return d
}

// AppendLogin: with a head packet.
func (d *device) AppendLogin(dst []byte) []byte {
	if d.navigator != nil {
		d.navigator.Reset()
	}
	start := len(dst)
	dst = append(begin(dst, headTags), tagHardware, 0x82, tagFirmware, 0x10)
	dst = finish(appendWho(dst, d.imei, deviceNumber), start)
	d.waiting, d.login = true, binary.LittleEndian.Uint16(dst[len(dst)-crcBytes:])
	return dst
}

// Feed: Damaged packets are dropped, as devices do.
func (d *device) Feed(dst, in []byte, emit func(protocol.DeviceEvent)) (out []byte, consumed int,
	err error,
) {
	for consumed < len(in) {
		b := in[consumed:]
		if b[0] == headConfirm || b[0] == headPhoto {
			if len(b) < 1+crcBytes {
				return dst, consumed, nil
			}
			consumed += 1 + crcBytes
			d.confirmed(b[0], binary.LittleEndian.Uint16(b[1:]), emit)
			continue
		}
		n, _, err := cut(b, 0)
		if err != nil || n == 0 {
			return dst, consumed, err
		}
		consumed += n
		body, _, err := inner(b[:n])
		switch {
		case err != nil:
		case b[0] == headFMI && d.navigator != nil:
			dst = d.navigator.Feed(dst, tunnel{}, body, emit)
		default:
			d.command(b[0], body, emit)
		}
	}
	return dst, consumed, nil
}

func (d *device) confirmed(head byte, crc uint16, emit func(protocol.DeviceEvent)) {
	e := protocol.DeviceEvent{Kind: protocol.DeviceOther}
	if head == headConfirm && d.waiting && crc == d.login {
		d.waiting = false
		e.Kind = protocol.DeviceLoggedIn
	}
	emit(e)
}

// command takes a command; one that shows a text is a text.
func (d *device) command(head byte, body []byte, emit func(protocol.DeviceEvent)) {
	t := parse(body)
	prefix := d.settings.String(settingCommandPrefix)
	if head != headTags || !d.commands || !t.hasText || string(t.imei) != string(d.imei) ||
		!strings.HasPrefix(string(t.command), prefix) {
		emit(protocol.DeviceEvent{Kind: protocol.DeviceOther})
		return
	}
	text, err := d.charset.Decode(t.command[len(prefix):])
	if err != nil {
		emit(protocol.DeviceEvent{Kind: protocol.DeviceOther})
		return
	}
	emit(protocol.DeviceEvent{Kind: protocol.DeviceText, Ref: uint64(t.number), Body: text})
}

// AppendAck: The answer to a command says that it was read.
func (d *device) AppendAck(dst []byte, e protocol.DeviceEvent, o protocol.Outcome) []byte {
	switch {
	case d.navigator != nil:
		return d.navigator.AppendAck(dst, tunnel{}, e, o)
	case !d.commands || o != protocol.AckDelivered && o != protocol.AckOpened:
		return dst
	}
	const answer = "OK"
	start := len(dst)
	dst = append(appendWho(begin(dst, headTags), d.imei, deviceNumber), tagNumber)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.Ref))
	dst = append(dst, tagCommand, byte(len(answer)))
	return finish(append(dst, answer...), start)
}

func (d *device) AppendText(dst []byte, text string) ([]byte, error) {
	if d.navigator == nil {
		return dst, fmt.Errorf("%w: nothing to write it on", protocol.ErrNotText)
	}
	return d.navigator.AppendText(dst, tunnel{}, text)
}

func (d *device) AppendChoice(dst []byte, e protocol.DeviceEvent, choice int) []byte {
	if d.navigator == nil {
		return dst
	}
	return d.navigator.AppendChoice(dst, tunnel{}, e, choice)
}

// AppendHeartbeat: with a packet that says nothing but who the device is.
func (d *device) AppendHeartbeat(dst []byte) []byte {
	start := len(dst)
	return finish(appendWho(begin(dst, headTags), d.imei, deviceNumber), start)
}

// AppendPosition: number of the record u16, time u32, satellites u8 with latitude and longitude s32
// in 1e-6 degrees, speed and course u16.
func (d *device) AppendPosition(dst []byte, lat, lon float64, at time.Time) []byte {
	d.record++
	start := len(dst)
	dst = append(begin(dst, headTags), tagID, deviceNumber, 0, tagRecord)
	dst = binary.LittleEndian.AppendUint16(dst, d.record)
	dst = binary.LittleEndian.AppendUint32(append(dst, tagTime), uint32(at.Unix()))
	dst = binary.LittleEndian.AppendUint32(append(dst, tagPosition, 9),
		uint32(int32(math.Round(lat*1e6))))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(int32(math.Round(lon*1e6))))
	dst = append(dst, tagSpeed, 0, 0, 0, 0)
	return finish(dst, start)
}
