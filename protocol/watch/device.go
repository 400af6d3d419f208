package watch

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"trackchat/protocol"
)

// Values of DeviceConfig.Variant: the prefixes of the forms.
const (
	variant3G = "3g" // plain
	variantZJ = "zj" // numbered
	variantYW = "yw" // numbered; its INIT asks for raw UTF-8
)

var _ protocol.Device = (*device)(nil)

// device is the tracker's side. The wearer can only speak, so that a text of the driver is a
// recording, and words take the place of its sound.
type device struct {
	peer     peer
	mode     byte // of INIT, 0: it is left out
	charset  protocol.Charset
	count    uint16 // of its frames
	said     uint16 // recordings
	loggedIn bool
}

func newDevice(c protocol.DeviceConfig) *device {
	d := &device{}
	prefix := "3G"
	switch c.Variant {
	case variantZJ:
		prefix, d.peer.numbered = "ZJ", true
	case variantYW:
		prefix, d.peer.numbered, d.mode = "YW", true, '1'
	}
	copy(d.peer.prefix[:], prefix)
	d.peer.idLength = uint8(copy(d.peer.id[:], c.ID))
	m := modeCharacters
	if d.mode != 0 {
		m = modeBytes
	}
	d.charset = encodingOf(c.Settings.String(settingText)).with(m).charset()
	return d
}

// begin begins a frame under the device's next number; end completes it.
func (d *device) begin(dst []byte) (out []byte, start int) {
	d.count++
	dst = d.peer.begin(dst, digitsOf(d.count))
	return dst, len(dst)
}

func (d *device) appendFrame(dst []byte, content string) []byte {
	dst, start := d.begin(dst)
	return end(append(dst, content...), start)
}

// AppendLogin: An LK names the device, in the numbered form an INIT.
func (d *device) AppendLogin(dst []byte) []byte {
	d.loggedIn = false
	if !d.peer.numbered {
		return d.AppendHeartbeat(dst)
	}
	dst, start := d.begin(dst)
	dst = append(dst, "INIT,19900000000,1,S1_V1.0,0000,0000"...)
	if d.mode != 0 {
		dst = append(dst, ',', d.mode)
	}
	return end(dst, start)
}

// Feed: Devices look neither at the prefix nor at the id, and drop a frame whose length is wrong.
func (d *device) Feed(dst, in []byte, emit func(protocol.DeviceEvent)) (out []byte, consumed int,
	err error,
) {
	for consumed < len(in) {
		n, _, err := cut(in[consumed:], 0)
		if err != nil || n == 0 {
			return dst, consumed, err
		}
		frame := in[consumed : consumed+n]
		consumed += n
		h, m := parseHeader(frame)
		switch {
		case m != matchWhole: // garbage
		case h.content+h.length != n-1:
			emit(protocol.DeviceEvent{
				Kind: protocol.DeviceOther, Body: "frame with a wrong length",
			})
		default:
			dst = d.content(dst, frame[h.content:n-1], emit)
		}
	}
	return dst, consumed, nil
}

func (d *device) content(dst, content []byte, emit func(protocol.DeviceEvent)) []byte {
	name, params, given := bytes.Cut(content, []byte{','})
	e := protocol.DeviceEvent{
		Kind: protocol.DeviceOther,
		Body: string(bytes.ToValidUTF8(content, nil)),
	}
	switch w := wordOf(name); {
	case w == wordMESSAGE && given:
		text, err := d.charset.Decode(params)
		if err != nil {
			emit(e)
			return d.appendFrame(dst, message+",0")
		}
		e = protocol.DeviceEvent{Kind: protocol.DeviceText, Body: text}
	case w == wordINIT && string(params) == "0":
		e.Kind = protocol.DeviceRefused
	case (w == wordLK || w == wordINIT) && !d.loggedIn:
		d.loggedIn = true
		e.Kind = protocol.DeviceLoggedIn
	case (w == wordTK || w == wordTK2) && string(params) == "1":
		e.Kind = protocol.DeviceTextAck
	case (w == wordTK || w == wordTK2) && string(params) == "0":
		e.Kind = protocol.DeviceTextNak
	}
	emit(e)
	return dst
}

// AppendAck: The echo names no text.
func (d *device) AppendAck(dst []byte, _ protocol.DeviceEvent, o protocol.Outcome) []byte {
	switch o {
	case protocol.AckDelivered, protocol.AckOpened:
		return d.appendFrame(dst, message)
	case protocol.AckLater: // the verdict follows
		return dst
	default:
		return d.appendFrame(dst, message+",0")
	}
}

func (d *device) AppendText(dst []byte, text string) ([]byte, error) {
	if protocol.Blank(text) {
		return dst, fmt.Errorf("%w: it is empty", protocol.ErrNotText)
	}
	d.said++
	dst, start := d.begin(dst)
	dst = append(dst, "TK,"...)
	if d.peer.numbered {
		dst = append(dst, "0,v_"...)
		dst = strconv.AppendUint(dst, uint64(d.said), 10)
		dst = append(dst, ".amr,1,1,"...)
	}
	dst = append(dst, "#!AMR\n"...)
	dst = appendEscaped(dst, string([]byte{byte(d.said >> 8), byte(d.said)}))
	return end(appendEscaped(dst, text), start), nil
}

// appendEscaped appends binary data; what a frame is made of takes two bytes.
func appendEscaped(dst []byte, data string) []byte {
	const escape = '}'
	for _, c := range []byte(data) {
		if i := bytes.IndexByte([]byte("}[],*"), c); i >= 0 {
			dst = append(dst, escape, byte(i+1))
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendChoice: There are no questions.
func (d *device) AppendChoice(dst []byte, _ protocol.DeviceEvent, _ int) []byte { return dst }

// AppendHeartbeat: with steps, tumbles and battery; in the numbered form with the battery alone.
func (d *device) AppendHeartbeat(dst []byte) []byte {
	if d.peer.numbered {
		return d.appendFrame(dst, "LK,64")
	}
	return d.appendFrame(dst, "LK,0,0,64")
}

// AppendPosition: with speed, course and altitude 0, one cell of the network and no network of
// another kind.
func (d *device) AppendPosition(dst []byte, lat, lon float64, at time.Time) []byte {
	dst, start := d.begin(dst)
	dst = at.UTC().AppendFormat(append(dst, "UD,"...), "020106,150405,A,")
	dst = appendDegrees(dst, lat, 'N', 'S')
	dst = appendDegrees(dst, lon, 'E', 'W')
	dst = append(dst, "0.00,0.0,0.0,9,100,64,0,0,00000000,1,0,1,1,1,1,100,0,5.0"...)
	return end(dst, start)
}

// appendDegrees appends degrees without a sign, and its letter.
func appendDegrees(dst []byte, v float64, plus, minus byte) []byte {
	if v < 0 {
		plus = minus
	}
	dst = strconv.AppendFloat(dst, math.Abs(v), 'f', 6, 64)
	return append(dst, ',', plus, ',')
}
