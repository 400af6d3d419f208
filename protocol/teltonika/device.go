package teltonika

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/fmi"
)

const imeiDigits = 15

var (
	_ protocol.Device     = (*device)(nil)
	_ protocol.Unanswered = (*device)(nil)
)

// device is the tracker's side, with the navigator or terminal that hangs on it.
// DeviceConfig.Variant is what the navigator speaks: a602, a604, a611 (default).
type device struct {
	*shared
	id        string
	codec     *codec // for its settings
	up        envelope
	navigator *fmi.Client
	terminal  *terminal
	line      []byte // unfinished, to the terminal
	waiting   bool   // for the answer to the login
	last      [record]byte
}

// record is the size of a record of codec 8E without inputs and outputs: time, priority, fix[15],
// event, seven counts.
const record = 8 + 1 + 15 + 2 + 6*2

func newDevice(s *shared, cfg protocol.DeviceConfig) *device {
	c := newCodec(s, cfg.Settings)
	id := cfg.ID
	if missing := imeiDigits - len(id); missing > 0 {
		id = strings.Repeat("0", missing) + id
	}
	d := &device{shared: s, id: id[max(0, len(id)-maxID):], codec: c}
	d.up.codec, d.up.typ = codec12, typeResponse
	for typ := range byte(mostType + 1) {
		if c.upTypes&(1<<typ) != 0 && c.upTypes&(1<<typeResponse) == 0 {
			d.up.typ = typ
			break
		}
	}
	switch c.chat {
	case withFMI:
		d.navigator = s.fmi.NewClient(fmi.ParseVersion(cfg.Variant), s.fmi.Charset(cfg.Settings))
	case withSerial:
		d.terminal = c.newTerminal()
	case withNone:
	}
	return d
}

func (d *device) AppendLogin(dst []byte) []byte {
	d.waiting = true
	if d.navigator != nil {
		d.navigator.Reset()
	}
	if d.terminal != nil {
		d.line = nil
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.id)))
	return append(dst, d.id...)
}

// AppendAck: Terminals can only say that they have a text.
func (d *device) AppendAck(dst []byte, e protocol.DeviceEvent, o protocol.Outcome) []byte {
	switch {
	case d.navigator != nil:
		return d.navigator.AppendAck(dst, &d.up, e, o)
	case d.terminal == nil || d.terminal.pattern == nil ||
		(o != protocol.AckDelivered && o != protocol.AckOpened):
		return dst
	}
	line := ackLine(d.terminal.pattern, e.Ref)
	if line == "" {
		return dst
	}
	start := len(dst)
	dst = append(d.up.Begin(dst), line...)
	return d.up.End(append(dst, d.terminal.eol...), start)
}

// ackLine makes a line that the pattern takes for the ack of text n, if the pattern is literal but
// for its group. A pattern without a group acknowledges whatever text.
func ackLine(pattern *regexp.Regexp, n uint64) string {
	v := pattern.String()
	if pattern.NumSubexp() == 0 {
		if line := strings.TrimSuffix(strings.TrimPrefix(v, "^"), "$"); pattern.MatchString(line) {
			return line
		}
		return ""
	}
	from, to := strings.Index(v, "("), strings.LastIndex(v, ")")
	if from < 0 || to < from {
		return ""
	}
	line := strings.TrimPrefix(v[:from], "^") + strconv.FormatUint(n, 10) +
		strings.TrimSuffix(v[to+1:], "$")
	if found := pattern.FindStringSubmatch(line); found == nil ||
		found[1] != strconv.FormatUint(n, 10) {
		return ""
	}
	return line
}

func (d *device) AppendText(dst []byte, text string) ([]byte, error) {
	switch {
	case d.navigator != nil:
		return d.navigator.AppendText(dst, &d.up, text)
	case d.terminal == nil:
		return dst, fmt.Errorf("%w: nothing to write it on", protocol.ErrNotText)
	}
	start := len(dst)
	text = strings.NewReplacer("\r", " ", "\n", " ").Replace(text)
	dst = d.terminal.charset.Append(d.up.Begin(dst), text)
	return d.up.End(append(dst, d.terminal.eol...), start), nil
}

// Unanswered: nothing answers the lines of a terminal.
func (d *device) Unanswered() bool { return d.terminal != nil }

func (d *device) AppendChoice(dst []byte, e protocol.DeviceEvent, choice int) []byte {
	if d.navigator == nil {
		return dst
	}
	return d.navigator.AppendChoice(dst, &d.up, e, choice)
}

// AppendHeartbeat: with a keep-alive.
func (d *device) AppendHeartbeat(dst []byte) []byte { return append(dst, keepAlive) }

// AppendPosition: with one record of codec 8E: time u64 in ms, priority u8, longitude and latitude
// s32 in 1e-7 degrees, altitude s16, angle u16, satellites u8, speed u16.
func (d *device) AppendPosition(dst []byte, lat, lon float64, at time.Time) []byte {
	r := d.last[:]
	binary.BigEndian.PutUint64(r, uint64(max(at.UnixMilli(), 0)))
	binary.BigEndian.PutUint32(r[9:], uint32(int32(math.Round(lon*1e7))))
	binary.BigEndian.PutUint32(r[13:], uint32(int32(math.Round(lat*1e7))))
	r[21] = 9
	return d.appendRecord(dst)
}

// appendRecord sends the last position.
func (d *device) appendRecord(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, head)...)
	dst = append(dst, codec8E, 1)
	dst = append(dst, d.last[:]...)
	return finish(append(dst, 1), start)
}
