package protocol

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Fitter is a Charset in which the room that a character takes depends on the others of the same
// part. Its RuneLen is the most that one can take.
type Fitter interface {
	Charset
	// Fit returns how many bytes of folded text, in whole characters, make the longest part of at
	// most room bytes.
	Fit(text string, room int) int
}

// MaxParts is the greatest number of parts a text is cut into.
const MaxParts = 9_999

// Split cuts text into parts of at most c.PartBytes bytes each in c.Charset, on code-point
// boundaries and, where one lies in the last 15 % of a part, after a space or a newline. With
// c.Prefix the room for "(n/m) " is kept free. The parts are slices of the text as Fold makes it
// and together are the whole of that. ErrTextTooLong: more than MaxParts would be needed.
func Split(text string, c TextCaps) ([]string, error) {
	text, _ = Fold(c.Charset, text)
	if isWhole(text, c) {
		return []string{text}, nil
	}
	if !c.Prefix {
		return cut(text, c.Charset, c.PartBytes, MaxParts)
	}
	for digits, most := 1, 9; most <= MaxParts; digits, most = digits+1, most*10+9 {
		if parts, err := cut(text, c.Charset, prefixed(c.PartBytes, digits), most); err == nil {
			return parts, nil
		}
	}
	return nil, ErrTextTooLong
}

// Asks says why a device would lose canned answers to a text, or a part of one; nil: it does not.
func Asks(c Codec, text string, choices []string) error {
	a, ok := c.(Asker)
	if !ok || len(choices) == 0 {
		return nil
	}
	parts, err := Split(text, c.Caps())
	if err != nil {
		return err
	}
	last := len(parts) - 1
	return a.Asks(Text{Part: last, Parts: len(parts), Body: parts[last], Choices: choices})
}

// Longest returns how many characters of its charset a text can have and be certain to fit.
func Longest(c TextCaps) int {
	widest := 1
	for _, r := range [...]rune{'я', '好', '🦕'} { // of two, three and four bytes in UTF-8
		if !lacks(c.Charset, r) {
			widest = max(widest, c.Charset.RuneLen(r))
		}
	}
	longest := max(c.PartBytes/widest, 0)
	if !c.Prefix {
		return max(longest, leastIn(c.PartBytes, widest, MaxParts))
	}
	for digits, most := 1, 9; most <= MaxParts; digits, most = digits+1, most*10+9 {
		longest = max(longest, leastIn(prefixed(c.PartBytes, digits), widest, most))
	}
	return longest
}

// leastIn returns how many characters of widest bytes at most stand in that many parts at least. A
// part may end at a space in its last 15 %, or where the next character has no room.
func leastIn(room, widest, parts int) int {
	if room < utf8.UTFMax {
		return 0
	}
	bytes := min((room*85+99)/100, room-widest+1)
	return parts * ((bytes + widest - 1) / widest)
}

// prefixed is the room that "(n/m) " with so many digits for both leaves.
func prefixed(room, digits int) int { return room - len("(/) ") - 2*digits }

// AppendPrefix appends "(2/7) " for part 1 of 7 (parts count from 0 in t), nothing for a text of a
// single part.
func AppendPrefix(dst []byte, t Text) []byte {
	if t.Parts < 2 {
		return dst
	}
	return fmt.Appendf(dst, "(%d/%d) ", t.Part+1, t.Parts)
}

func cut(text string, cs Charset, room, most int) ([]string, error) {
	if room < utf8.UTFMax {
		return nil, ErrTextTooLong
	}
	var parts []string
	for len(text) > 0 {
		if len(parts) == most {
			return nil, ErrTextTooLong
		}
		n := fit(text, cs, room)
		parts = append(parts, text[:n])
		text = text[n:]
	}
	return parts, nil
}

func isWhole(text string, c TextCaps) bool {
	if f, ok := c.Charset.(Fitter); ok {
		return f.Fit(text, c.PartBytes) == len(text)
	}
	whole := 0
	for _, r := range text {
		whole += c.Charset.RuneLen(r)
	}
	return whole <= c.PartBytes
}

// fit returns how many bytes of text make the next part.
func fit(text string, cs Charset, room int) int {
	if f, ok := cs.(Fitter); ok {
		n := f.Fit(text, room)
		if space := strings.LastIndexAny(text[:n], " \n") + 1; n < len(text) && space*100 >= n*85 {
			return space
		}
		return n
	}
	used, space := 0, 0
	for i, r := range text {
		n := cs.RuneLen(r)
		if used+n > room {
			if space > 0 {
				return space
			}
			return i
		}
		used += n
		if (r == ' ' || r == '\n') && used*100 >= room*85 {
			space = i + 1
		}
	}
	return len(text)
}
