package navixy

import (
	"strconv"
	"strings"
	"time"
)

// plainTime is how times are written where nobody asks for time.RFC3339.
const plainTime = "2006-01-02 15:04:05"

// Clock reads and writes times as the caller of one request wants them.
type Clock struct {
	Zone *time.Location
	ISO  bool
}

// AppendTime appends UTC milliseconds as a JSON string, 0 as null.
func (c Clock) AppendTime(dst []byte, ms int64) []byte {
	if ms == 0 {
		return append(dst, `null`...)
	}
	dst = append(dst, '"')
	dst = c.appendPlain(dst, ms)
	return append(dst, '"')
}

// appendPlain appends UTC milliseconds without quotes, 0 as nothing.
func (c Clock) appendPlain(dst []byte, ms int64) []byte {
	if ms == 0 {
		return dst
	}
	layout := plainTime
	if c.ISO {
		layout = time.RFC3339
	}
	return time.UnixMilli(ms).In(c.Zone).AppendFormat(dst, layout)
}

// Parse reads a time in any form of ISO 8601 that clients write into Unix seconds: a date, T or a
// space, and a time to the second, or finer; then the
// distance from UTC, or none for the account's zone. A local time that occurs twice is the later
// one if late.
func (c Clock) Parse(s string, late bool) (int64, bool) {
	const date, seconds = len("2006-01-02"), len("2006-01-02 15:04:05")
	s = strings.TrimSpace(s)
	// time.Parse also reads hours of one digit; the fixed places of the separators rule them out.
	if len(s) < seconds || s[date] != ' ' && s[date] != 'T' && s[date] != 't' ||
		s[seconds-3] != ':' {
		return 0, false
	}
	t, err := time.Parse(plainTime, s[:date]+" "+s[date+1:seconds])
	if err != nil {
		return 0, false
	}
	rest := s[seconds:]
	if fraction, ok := strings.CutPrefix(rest, "."); ok {
		rest = strings.TrimLeft(fraction, "0123456789")
		if len(rest) == len(fraction) {
			return 0, false
		}
	}
	if rest == "" {
		return c.fromLocal(t.Unix(), late), true
	}
	offset, ok := parseOffset(rest)
	return t.Unix() - offset, ok
}

// parseOffset reads the distance from UTC in seconds: Z, +07:00, +0700 or +07, spaces before it. A
// query's plus arrives as a space.
func parseOffset(s string) (int64, bool) {
	text := strings.TrimLeft(s, " ")
	if text == "Z" || text == "z" {
		return 0, true
	}
	sign := int64(1)
	switch {
	case text[0] == '+':
		text = text[1:]
	case text[0] == '-':
		sign, text = -1, text[1:]
	case len(text) == len(s):
		return 0, false
	}
	hours, minutes, colon := strings.Cut(text, ":")
	if !colon && len(text) == len("0700") {
		hours, minutes = text[:2], text[2:]
	} else if !colon {
		minutes = "00"
	}
	if len(hours) != 2 || len(minutes) != 2 {
		return 0, false
	}
	h, err := strconv.ParseUint(hours, 10, 8)
	m, err2 := strconv.ParseUint(minutes, 10, 8)
	if err != nil || err2 != nil || h > 23 || m > 59 {
		return 0, false
	}
	return sign * int64(h*3600+m*60), true
}

// fromLocal turns seconds on the zone's wall clock into Unix seconds. A wall time that the clocks
// skipped moves forward by what they skipped.
func (c Clock) fromLocal(wall int64, late bool) int64 {
	// No zone is 24 hours from UTC, so these are the offsets well before and well after; zones do
	// not change twice within two days.
	const day = 24 * 60 * 60
	before, after := c.offset(wall-day), c.offset(wall+day)
	first, second := wall-before, wall-after
	if before == after {
		return first
	}
	switch inFirst, inSecond := c.offset(first) == before, c.offset(second) == after; {
	case inFirst && inSecond && late:
		return second
	case !inFirst && inSecond:
		return second
	default:
		return first
	}
}

func (c Clock) offset(unix int64) int64 {
	_, seconds := time.Unix(unix, 0).In(c.Zone).Zone()
	return int64(seconds)
}
