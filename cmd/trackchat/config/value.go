package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written as "10s", "15m", "2160h" or "0".
type Duration time.Duration

// D returns the duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String gives the shortest form that UnmarshalText reads back.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if d == 0 {
		return "0"
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New("is not a duration such as 500ms, 10s, 15m or 2160h")
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written plainly or in KiB, MiB or GiB.
type Size int64

// sizeUnits are the units of Size, greatest first.
func sizeUnits() []sizeUnit {
	return []sizeUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

type sizeUnit struct {
	name  string
	bytes int64
}

// String gives the shortest exact form.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func (s *Size) UnmarshalText(text []byte) error {
	digits, factor := string(text), int64(1)
	for _, u := range sizeUnits() {
		if d, ok := strings.CutSuffix(digits, u.name); ok {
			digits, factor = strings.TrimRight(d, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/factor || n < math.MinInt64/factor {
		return errors.New("is not a size such as 65536, 64KiB, 1MiB or 2GiB")
	}
	*s = Size(n * factor)
	return nil
}
