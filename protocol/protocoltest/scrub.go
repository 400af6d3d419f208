package protocoltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"
	"unicode/utf8"
)

// Scrubber overwrites what a frame says of strangers with invented values. What it invents follows
// from the frame's id, so that every run writes the same. All methods write in place: the length of
// a frame and where its fields lie stay as they are. A field of zeros says nothing and stays too.
type Scrubber struct {
	rnd *rand.Rand
	// Keep holds the bytes that stay where they are and come up nowhere else, such as those that a
	// protocol escapes.
	Keep string
}

func newScrubber(id string, attempt int) *Scrubber {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s %d", id, attempt))
	return &Scrubber{rnd: rand.New(rand.NewChaCha8(seed))}
}

func (s *Scrubber) kept(b byte) bool { return bytes.IndexByte([]byte(s.Keep), b) >= 0 }

// from picks one of the bytes from lo to hi.
func (s *Scrubber) from(lo, hi byte) byte { return lo + byte(s.rnd.IntN(int(hi-lo)+1)) }

func blank(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// Noise replaces all bytes but 00, FF and those to keep.
func (s *Scrubber) Noise(b []byte) {
	for i, c := range b {
		if c == 0 || c == 0xFF || s.kept(c) {
			continue
		}
		for b[i] = s.from(1, 0xFE); s.kept(b[i]); {
			b[i] = s.from(1, 0xFE)
		}
	}
}

// Text replaces letters by letters and digits by digits; other characters of ASCII stay. Characters
// of two bytes in GBK and UTF-8 become others of two bytes; anything else is noise.
func (s *Scrubber) Text(b []byte) {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case '0' <= c && c <= '9':
			b[i] = s.from('0', '9')
		case 'a' <= c && c <= 'z':
			b[i] = s.from('a', 'z')
		case 'A' <= c && c <= 'Z':
			b[i] = s.from('A', 'Z')
		case c < utf8.RuneSelf:
		case c == 0xD0 || c == 0xD1 && i+1 < len(b) && utf8.Valid(b[i:i+2]): // Cyrillic
			b[i], b[i+1] = 0xD0, s.from(0x90, 0xBF)
			i++
		case i+1 < len(b) && b[i+1] >= 0x40: // GBK
			b[i] = s.from(0xB0, 0xCF)
			if !s.kept(b[i+1]) {
				b[i+1] = s.from(0xA1, 0xFE)
			}
			i++
		default:
			s.Noise(b[i : i+1])
		}
	}
}

// Mixed is for what is not known field by field: it takes runs of characters for text, the rest for
// noise.
func (s *Scrubber) Mixed(b []byte) {
	const least = 5
	for len(b) > 0 {
		n, word := 0, 0
		for n < len(b) && (b[n] >= ' ' && b[n] <= '~' || b[n] == '\r' || b[n] == '\n') {
			if c := b[n] | 0x20; b[n] >= '0' && b[n] <= '9' || c >= 'a' && c <= 'z' {
				word++
			}
			n++
		}
		if n >= least && word*2 > n {
			s.Text(b[:n])
		} else {
			n = max(n, 1)
			s.Noise(b[:n])
		}
		b = b[n:]
	}
}

// BCD replaces each half of a byte: digits by digits, the others by others. Leading zeros stay.
func (s *Scrubber) BCD(b []byte) {
	leading := true
	half := func(h byte) byte {
		switch {
		case h == 0 && leading:
			return 0
		case h > 9:
			leading = false
			return s.from(0xA, 0xF)
		case leading:
			leading = false
			return s.from(1, 9)
		}
		return s.from(0, 9)
	}
	for i, c := range b {
		if !s.kept(c) {
			b[i] = half(c>>4)<<4 | half(c&0xF)
		}
	}
}

// Digits replaces the digits of an id in ASCII. The last one of an IMEI fits as well as it did.
func (s *Scrubber) Digits(b []byte) {
	const imeiDigits = 15
	off := byte(0)
	if len(b) == imeiDigits {
		off = luhn(b)
	}
	for i := range b {
		if b[i] = s.from('0', '9'); i == 0 && b[i] == '0' {
			b[i] = s.from('1', '9')
		}
	}
	if len(b) == imeiDigits {
		last := len(b) - 1
		b[last] = '0'
		b[last] += (10 - luhn(b) + off) % 10
	}
}

// luhn is the last digit of Luhn's sum, 0 for an IMEI that is right.
func luhn(digits []byte) byte {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if d <<= i % 2; d > 9 {
			d -= 9
		}
		sum += d
	}
	return byte(sum % 10)
}

// PackedIMEI replaces an IMEI in BCD: a zero and fifteen digits.
func (s *Scrubber) PackedIMEI(b []byte) {
	digits := fmt.Appendf(nil, "%x", b)
	s.Digits(digits[1:])
	for i := range b {
		b[i] = (digits[2*i]-'0')<<4 | digits[2*i+1] - '0'
	}
}

// Number replaces an unsigned number by one from lo to hi, the bytes to keep in their places.
func (s *Scrubber) Number(b []byte, order binary.ByteOrder, lo, hi uint64) {
	const tries = 100_000
	if blank(b) {
		return
	}
	wide := make([]byte, 8)
	for range tries {
		n := lo + s.rnd.Uint64N(hi-lo+1)
		order.PutUint64(wide, n)
		low := wide[:len(b)]
		if order == binary.ByteOrder(binary.BigEndian) {
			low = wide[8-len(b):]
		}
		fits := true
		for i, c := range b {
			fits = fits && (s.kept(c) || s.kept(low[i])) == (c == low[i] && s.kept(c))
		}
		if fits {
			copy(b, low)
			return
		}
	}
	s.Noise(b)
}

// Moments of invented times.
func earliest() time.Time { return time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC) }

const span = 18 * 365 * 24 * time.Hour

// Clock replaces a time that counts units since epoch.
func (s *Scrubber) Clock(b []byte, order binary.ByteOrder, epoch time.Time, unit time.Duration) {
	lo := uint64(earliest().Sub(epoch) / unit)
	s.Number(b, order, lo, lo+uint64(span/unit))
}

// Date returns an invented time in the given layout.
func (s *Scrubber) Date(layout string) string {
	return earliest().Add(time.Duration(s.rnd.Int64N(int64(span)))).Format(layout)
}

// Decimal replaces the digits of a number in ASCII. A number of three digits stays one of degrees.
func (s *Scrubber) Decimal(b []byte) {
	if len(bytes.Trim(b, "+-0.,")) == 0 {
		return
	}
	whole := bytes.IndexAny(b, ".,")
	if whole < 0 {
		whole = len(b)
	}
	s.Text(b)
	first := bytes.IndexFunc(b[:whole], func(r rune) bool { return r >= '0' && r <= '9' })
	switch {
	case first >= 0 && whole-first == 3:
		b[first] = s.from('1', '2')
	case first >= 0 && whole-first > 1:
		b[first] = s.from('1', '9')
	}
}
