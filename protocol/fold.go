package protocol

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold returns text in characters that cs carries, and how many of its characters are replaced.
// What cs lacks becomes, in this order: nothing where it has no look of its own (joiners, variation
// selectors, skin tones), which does not count as replaced; one character with the letter before it
// where cs has the two as one; what the table of look-alikes says; its letter without the accents
// that cs lacks, or its compatible form (Unicode NFKD); '?', and then it is lost.
func Fold(cs Charset, text string) (folded string, replaced int) {
	first := strings.IndexFunc(text, func(r rune) bool { return lacks(cs, r) })
	if first < 0 {
		return text, 0
	}
	const more = 16 // a few words longer than what they stand for
	out := append(make([]byte, 0, len(text)+more), text[:first]...)
	for _, r := range text[first:] {
		switch {
		case !lacks(cs, r):
			out = utf8.AppendRune(out, r)
		case looksLikeNothing(r):
		default:
			joined := false
			if isMark(r) {
				out, joined = appendJoined(out, cs, r)
			}
			if joined {
				continue
			}
			replaced++
			before := len(out)
			var ok bool
			if out, ok = appendLookalike(out, cs, r); !ok {
				out = append(out[:before], '?')
			}
		}
	}
	if len(out) == 0 { // nothing to see, but still a text, and some devices refuse empty ones
		out = append(out, '?')
	}
	return string(out), replaced
}

// Lost reports whether a device with this charset shows '?' for r, because there is neither r nor
// anything like it.
func Lost(cs Charset, r rune) bool {
	if !lacks(cs, r) || looksLikeNothing(r) {
		return false
	}
	var room [32]byte
	_, ok := appendLookalike(room[:0], cs, r)
	return !ok
}

// lacks reports whether cs cannot carry r. Every charset has ASCII.
func lacks(cs Charset, r rune) bool { return r >= utf8.RuneSelf && cs.Lossy(r) }

func isMark(r rune) bool { return unicode.In(r, unicode.Mn, unicode.Me) }

// looksLikeNothing reports what only changes how its neighbours are drawn.
func looksLikeNothing(r rune) bool {
	const lightSkin, darkSkin = 0x1F3FB, 0x1F3FF
	return unicode.In(r, unicode.Cf, unicode.Variation_Selector) || r >= lightSkin && r <= darkSkin
}

// appendLookalike appends what stands for r, which cs lacks; ok is false where something of it has
// no look-alike. It ends because no look-alike of the table has one itself.
func appendLookalike(dst []byte, cs Charset, r rune) (out []byte, ok bool) {
	const firstFlag, lastFlag = 0x1F1E6, 0x1F1FF // letters whose pairs are flags
	switch s, found := lookalike(r); {
	case found:
		return appendLookalikes(dst, cs, s)
	case r >= firstFlag && r <= lastFlag:
		return append(dst, 'A'+byte(r-firstFlag)), true
	case r == '\u2028' || r == '\u2029': // line and paragraph separator
		return append(dst, '\n'), true
	case isMark(r): // an accent alone is no reason for a question mark
		out, _ = appendJoined(dst, cs, r)
		return out, true
	}
	var room [utf8.UTFMax]byte
	s := norm.NFKD.Properties(utf8.AppendRune(room[:0], r)).Decomposition()
	return appendLookalikes(dst, cs, string(s))
}

// appendLookalikes appends what stands for all of s; nothing stands for an empty one.
func appendLookalikes(dst []byte, cs Charset, s string) (out []byte, ok bool) {
	for _, r := range s {
		switch {
		case !lacks(cs, r):
			dst = utf8.AppendRune(dst, r)
		case looksLikeNothing(r):
		default:
			if dst, ok = appendLookalike(dst, cs, r); !ok {
				return dst, false
			}
		}
	}
	return dst, s != ""
}

// appendJoined replaces the last character of dst by the one that it makes with the accent r, if cs
// has that.
func appendJoined(dst []byte, cs Charset, r rune) (out []byte, joined bool) {
	last, size := utf8.DecodeLastRune(dst)
	if size == 0 {
		return dst, false
	}
	one, n := utf8.DecodeRuneInString(norm.NFC.String(string([]rune{last, r})))
	if n == 0 || one == last || lacks(cs, one) {
		return dst, false
	}
	return utf8.AppendRune(dst[:len(dst)-size], one), true
}

// lookalike finds r in the table; most letters are of scripts that it has nothing for.
func lookalike(r rune) (string, bool) {
	if unicode.IsLetter(r) &&
		!unicode.In(r, unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Common) {
		return "", false
	}
	at := strings.IndexRune(lookalikes, r)
	if at < 0 {
		return "", false
	}
	line := lookalikes[strings.LastIndexByte(lookalikes[:at], '\n')+1 : at]
	s, _, found := strings.Cut(line, "\t")
	return s, found // not found: r stands before the tab, as what others look like
}
