package egts

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"trackchat/protocol"

	"golang.org/x/text/encoding/charmap"
)

// Values of DeviceConfig.Variant.
const (
	variantAuth = "auth" // the terminal names itself with TERM_IDENTITY
	variantOID  = "oid"  // it never authenticates: its records name it
)

const maxUnconfirmed = 256 // texts of the driver that wait for their word; the oldest is forgotten

// device is the terminal's side.
type device struct {
	*shared
	settings protocol.Settings
	tid      uint32
	imei     string // empty: TID is enough
	oid      uint32 // of every record; 0: the terminal authenticates
	pid, rn  uint16 // of its next packet and record
	cid      uint32 // of its newest text
	login    uint16 // PID of the packet that logs in
	awaiting bool   // its outcome is not known
	shown    shown
	texts    []said
}

// shown is the newest text that arrived: what an answer to its packet or record, instead of a
// confirmation, can be about.
type shown struct {
	cid, sid uint32
	pid, rn  uint16
	is       bool
}

// said is a text of the driver on its way.
type said struct {
	rn  uint16
	cid uint32
}

// newDevice makes the terminal of number c.ID, or of that IMEI where it is no 32-bit number or the
// gateway wants IMEIs.
func newDevice(s *shared, c protocol.DeviceConfig) *device {
	d := &device{shared: s, settings: c.Settings}
	id := c.ID[:min(len(c.ID), imeiDigits)]
	if n, err := strconv.ParseUint(c.ID, 10, 32); err == nil {
		d.tid = uint32(n)
	}
	if d.tid == 0 || c.Settings.String(settingLoginBy) == loginByIMEI {
		d.imei = strings.Repeat("0", imeiDigits-len(id)) + id
	}
	if c.Variant == variantOID {
		d.oid = d.tid
	}
	return d
}

// begin starts a packet with one record of one subrecord of n bytes and returns the numbers of
// both.
func (d *device) begin(dst []byte, service, sub byte, n int) (out []byte, start int) {
	dst, start = begin(dst, route{}, d.pid, typeAppData)
	dst = appendRecord(dst, record{number: d.rn, oid: d.oid, service: service}, fromDevice, sub, n)
	d.pid++
	d.rn++
	return dst, start
}

// AppendLogin sends TERM_IDENTITY, or the first record with an OID.
func (d *device) AppendLogin(dst []byte) []byte {
	d.login, d.awaiting = d.pid, true
	if d.oid != 0 {
		return d.AppendHeartbeat(dst)
	}
	flags, n := byte(identityBS), 5+2
	if d.imei != "" {
		flags, n = flags|identityIMEI, n+imeiDigits
	}
	dst, start := d.begin(dst, serviceAuth, subTermIdentity, n)
	dst = append(binary.LittleEndian.AppendUint32(dst, d.tid), flags)
	dst = append(dst, d.imei...)
	return finish(binary.LittleEndian.AppendUint16(dst, defaultBS), start)
}

// AppendAck confirms a text: CT_DELIV, CT_MSGCONF where the driver has opened it or will later, or
// a refusal of the packet or the record if it was the newest text.
func (d *device) AppendAck(dst []byte, e protocol.DeviceEvent, o protocol.Outcome) []byte {
	newest := d.shown.is && uint64(d.shown.cid) == e.Ref
	kind, confirmed := byte(messageDelivered), byte(confirmedOK)
	switch o {
	case protocol.AckDelivered:
	case protocol.AckOpened:
		kind = messageConfirmed
	case protocol.AckLater:
		kind, confirmed = messageConfirmed, confirmedInProgress
	case protocol.AckDamaged:
		if newest {
			return d.appendResponse(dst, d.shown.pid, codeDataCRC)
		}
		confirmed = confirmedError
	case protocol.AckUnsupported:
		if newest {
			return d.appendResponse(dst, d.shown.pid, codeOK, confirmation{
				d.shown.rn,
				serviceCommands, codeServiceOff,
			})
		}
		confirmed = confirmedError
	case protocol.AckRejected:
		confirmed = confirmedIllegal
	default:
		confirmed = confirmedError
	}
	dst, start := d.begin(dst, serviceCommands, subCommand, commandHead+1)
	dst = appendCommandHead(dst, kind, confirmed, uint32(e.Ref), d.shown.sid)
	return finish(append(dst, 0), start)
}

// appendResponse answers a packet.
func (d *device) appendResponse(dst []byte, answered uint16, result code,
	records ...confirmation,
) []byte {
	dst, start := beginResponse(dst, route{}, d.pid, answered, result)
	d.pid++
	for _, r := range records {
		dst = appendConfirmation(dst, d.rn, fromDevice, r)
		d.rn++
	}
	return finish(dst, start)
}

// AppendText sends CT_MSGFROM to nobody in particular (SID 0), in Windows-1251 if that can carry
// all of it, else in UTF-16.
func (d *device) AppendText(dst []byte, text string) ([]byte, error) {
	cs := d.charset(d.settings)
	var body []byte
	if in1251(text) {
		body = cs.appendText(appendCharset(nil, false), text, false)
	} else {
		body = appendUTF16(nil, text, cs == &d.be)
	}
	if n := len(body); n+textOverhead > maxFrame {
		return dst, fmt.Errorf("%w: %d bytes", protocol.ErrTextTooLong, n)
	}
	if d.cid++; d.cid == 0 {
		d.cid = 1 // 0 is the number of those who do not count
	}
	if len(d.texts) == maxUnconfirmed {
		d.texts = slices.Delete(d.texts, 0, 1)
	}
	d.texts = append(d.texts, said{d.rn, d.cid})
	dst, start := d.begin(dst, serviceCommands, subCommand, commandHead+len(body))
	dst = appendCommandHead(dst, messageFrom, 0, d.cid, 0)
	return finish(append(dst, body...), start), nil
}

func in1251(text string) bool {
	for _, r := range text {
		if _, ok := charmap.Windows1251.EncodeRune(r); r >= utf8.RuneSelf && !ok {
			return false
		}
	}
	return true
}

// AppendChoice appends nothing: EGTS has no questions.
func (d *device) AppendChoice(dst []byte, _ protocol.DeviceEvent, _ int) []byte { return dst }

// AppendHeartbeat sends STATE_DATA: mode, voltages in 0.1 V, flags. The standard has nothing
// shorter that means no more than that the terminal lives.
func (d *device) AppendHeartbeat(dst []byte) []byte {
	dst, start := d.begin(dst, serviceTeleData, subState, 5)
	return finish(append(dst, 2, 255, 0, 41, 4), start)
}

// Flags of POS_DATA.
const (
	positionValid = 1 << 0
	positionFixed = 1 << 1
	positionSouth = 1 << 5
	positionWest  = 1 << 6
)

// AppendPosition sends POS_DATA: NTM seconds since 2010, LAT and LONG as shares of 90° and 180°,
// flags, speed, course, odometer, inputs, source.
func (d *device) AppendPosition(dst []byte, lat, lon float64, at time.Time) []byte {
	flags := byte(positionValid | positionFixed)
	if lat < 0 {
		flags |= positionSouth
	}
	if lon < 0 {
		flags |= positionWest
	}
	dst, start := d.begin(dst, serviceTeleData, subPosition, 21)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(at.Unix()-time.Date(2010, 1, 1, 0, 0, 0, 0,
		time.UTC).Unix()))
	dst = binary.LittleEndian.AppendUint32(dst, share(lat, 90))
	dst = binary.LittleEndian.AppendUint32(dst, share(lon, 180))
	return finish(append(dst, flags, 0, 0, 0, 0, 0, 0, 0, 0), start)
}

func share(degrees, whole float64) uint32 {
	return uint32(math.Round(min(math.Abs(degrees)/whole, 1) * math.MaxUint32))
}
