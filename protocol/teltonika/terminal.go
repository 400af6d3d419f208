package teltonika

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"trackchat/protocol"
)

const (
	mostLine = 4096        // bytes from a terminal without the end of a line
	lineWait = time.Second // after its last packet, a line is whole without an end

	// a line without a time that comes over another connection is the same one for so long.
	againWindow  = 10 * time.Second
	storedWindow = 24 * time.Hour // one with a time
)

// terminal is a display with keys on the tracker's serial port, which exchanges lines. The tracker
// passes bytes on in packets as they come, so lines may be cut anywhere.
type terminal struct {
	charset   protocol.Charset
	pattern   *regexp.Regexp // nil: no acks
	eol       string
	open      []openLine // unfinished, one a packet type
	partBytes int
	prefix    bool
}

// openLine is a line whose end has not come. Packets of another type do not belong to it: type 06
// may be the tracker's own answer to somebody's command, which ends without CR LF.
type openLine struct {
	bytes    []byte
	until    time.Time // it is whole then
	msg      uint32    // Event.Msg of its last packet
	time     uint32    // of that packet, 0 none
	typ      byte
	fresh    bool // a packet has come since until was set
	skipping bool // too long: only its end is looked for
}

func (c *codec) newTerminal() *terminal {
	o := c.options()
	eol, _ := parseEOL(c.settings.String(settingEOL)) // checked
	return &terminal{
		charset: c.shared.fmi.Charset(c.settings), prefix: o.Prefix, eol: eol,
		pattern:   c.patterns.Get(c.settings.String(settingAckPattern)),
		partBytes: min(max(c.settings.Int(settingPartBytes), leastPart), mostPart),
	}
}

func (t *terminal) caps() protocol.TextCaps {
	caps := protocol.TextCaps{
		PartBytes: t.partBytes - len(t.eol), Charset: t.charset,
		Prefix: t.prefix, Silent: true,
	}
	if t.pattern != nil {
		caps.Silent = false
	}
	if t.numbered() {
		caps.RefBits = refBits
		caps.PartBytes -= numberLetters + numberDigits
	}
	return caps
}

// numbered reports whether acks name the text that they are about.
func (t *terminal) numbered() bool { return t.pattern != nil && t.pattern.NumSubexp() == 1 }

// append writes one line. What would end it earlier becomes a space.
func (t *terminal) append(dst []byte, v *envelope, text protocol.Text) ([]byte, error) {
	start := len(dst)
	out := v.Begin(dst)
	if t.numbered() {
		out = append(out, 'M')
		out = append(strconv.AppendUint(out, text.Ref, 10), ':')
	}
	body := len(out)
	if t.prefix {
		out = protocol.AppendPrefix(out, text)
	}
	out = t.charset.Append(out, text.Body)
	if n := len(out) - body; n > t.caps().PartBytes {
		return dst, fmt.Errorf("%w: %d bytes", protocol.ErrNotText, n)
	}
	for i, b := range out[body:] {
		if b == '\r' || b == '\n' || b == 0 {
			out[body+i] = ' '
		}
	}
	out = append(out, t.eol...)
	for end := len(out) - len(t.eol); t.eol != ""; {
		i := body + bytes.Index(out[body:], []byte(t.eol))
		if i >= end {
			break
		}
		out[i] = ' '
	}
	return v.End(out, start), nil
}

// take returns the unfinished line of a packet type, which is no longer kept then.
func (t *terminal) take(typ byte) (l openLine) {
	for i := range t.open {
		if l = t.open[i]; l.typ == typ {
			t.open = slices.Delete(t.open, i, i+1)
			return l
		}
	}
	return openLine{typ: typ}
}

// isOpen reports whether a line of a packet type is unfinished.
func (t *terminal) isOpen(typ byte) bool {
	return slices.ContainsFunc(t.open, func(l openLine) bool { return l.typ == typ })
}

// receive takes the bytes of one packet and emits the lines that are whole now, at least one event:
// e where there is none.
func (t *terminal) receive(s *shared, item command, e protocol.Event, emit func(*protocol.Event)) {
	l, b := t.take(item.typ), item.payload
	if len(l.bytes) > 0 {
		b = append(l.bytes, b...)
	}
	emitted := false
	for {
		end, width := t.end(b)
		if end < 0 {
			break
		}
		event, ok := t.read(bytes.TrimSpace(b[:end]), item.time, e)
		if ok && !l.skipping {
			emitted = true
			s.events.Emit(emit, event)
		}
		b, l.skipping = b[end+width:], false
	}
	if len(b) > mostLine || l.skipping {
		b, l.skipping = b[max(len(b)-len(t.eol), 0):], true // where the end may begin
	}
	if len(b) > 0 || l.skipping {
		l.bytes, l.msg, l.time, l.fresh = bytes.Clone(b), e.Msg, item.time, true
		t.open = append(t.open, l)
	} else if len(t.open) == 0 {
		t.open = nil
	}
	if !emitted {
		s.events.Emit(emit, e)
	}
}

// wait returns when the first unfinished line is whole without its end, the zero time where there
// is none, or next if that is earlier.
func (t *terminal) wait(now, next time.Time) time.Time {
	for i := range t.open {
		l := &t.open[i]
		if l.fresh {
			l.until, l.fresh = now.Add(lineWait), false
		}
		if next.IsZero() || l.until.Before(next) {
			next = l.until
		}
	}
	return next
}

// release emits the lines that are whole without their end.
func (t *terminal) release(s *shared, now time.Time, end bool, emit func(*protocol.Event)) {
	whole := func(l openLine) bool { return end || !l.fresh && !now.Before(l.until) }
	for i := range t.open {
		l := &t.open[i]
		if !whole(*l) || l.skipping {
			continue
		}
		e := protocol.Event{Kind: protocol.KindOther, Msg: l.msg}
		if event, ok := t.read(bytes.TrimSpace(l.bytes), l.time, e); ok {
			s.events.Emit(emit, event)
		}
	}
	if t.open = slices.DeleteFunc(t.open, whole); len(t.open) == 0 {
		t.open = nil
	}
}

// end finds the end of a line, -1 for none. Where that is made of CR and LF either of them ends it,
// because some terminals send only one.
func (t *terminal) end(b []byte) (at, width int) {
	switch {
	case t.eol == "" && len(b) > 0:
		return len(b), 0
	case t.eol == "":
		return -1, 0
	case strings.Trim(t.eol, "\r\n") == "":
		return bytes.IndexAny(b, "\r\n"), 1
	default:
		return bytes.Index(b, []byte(t.eol)), len(t.eol)
	}
}

// read says what a line means; ok is false for one with nothing in it.
func (t *terminal) read(line []byte, at uint32, e protocol.Event) (protocol.Event, bool) {
	if len(line) == 0 {
		return e, false
	}
	if t.pattern != nil {
		found := t.pattern.FindSubmatchIndex(line)
		switch {
		case found == nil:
		case !t.numbered():
			e.Kind, e.Outcome = protocol.KindAck, protocol.AckDelivered
			return e, true
		default:
			n, ok := number(line[max(found[2], 0):max(found[3], 0)])
			if ok {
				e.Kind, e.Outcome, e.Ref = protocol.KindAck, protocol.AckDelivered, n
			}
			return e, true
		}
	}
	text, err := t.charset.Decode(line)
	if err != nil {
		text = strings.ToValidUTF8(string(line), "?")
	}
	if protocol.Blank(text) {
		return e, false
	}
	e.Kind, e.Text, e.Across, e.Window = protocol.KindText, text, true, againWindow
	h := uint64(hashSeed)
	if at != 0 {
		e.Window = storedWindow
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], at)
		h = hash(h, b[:])
	}
	e.Key = max(hash(h, line), 1)
	return e, true
}

// number reads the number of a text.
func number(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + uint64(c-'0'); n >= 1<<refBits {
			return 0, false
		}
	}
	return n, len(b) > 0
}

// The hash is FNV-1a of 64 bits: the same on every node and after every restart.
const (
	hashSeed  = 14695981039346656037
	hashPrime = 1099511628211
)

func hash(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * hashPrime
	}
	return h
}
