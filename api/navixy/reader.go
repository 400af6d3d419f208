package navixy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/queue"
)

// Reader takes typed parameters out of a set and collects what is wrong with them, so that one
// answer names it all.
type Reader struct {
	Params Params
	Clock  Clock
	wrong  Problems
}

// Fail notes what is wrong with a parameter, of several problems of one the first.
func (r *Reader) Fail(name, problem string) {
	if !slices.ContainsFunc(r.wrong, func(p Problem) bool { return p.Parameter == name }) {
		r.wrong.Add(name, problem)
	}
}

// Done returns the refusal of everything that was wrong, or nil.
func (r *Reader) Done() error { return r.wrong.Err() }

const maxKey = 255 // characters of an idempotency key

// ProblemNull is said of a parameter that is missing.
const ProblemNull = "must not be null"

const problemInteger = "must be an integer"

// ID reads a required int64.
func (r *Reader) ID(name string) int64 {
	n, given := r.OptionalID(name)
	if !given {
		r.Fail(name, ProblemNull)
	}
	return n
}

// OptionalID reads an int64; given is also true for what is none.
func (r *Reader) OptionalID(name string) (n int64, given bool) {
	v, given := r.Params.find(name)
	if !given {
		return 0, false
	}
	n, ok := v.integer()
	if !ok {
		r.Fail(name, problemInteger)
	}
	return n, true
}

// Within reads an optional integer between low and high.
func (r *Reader) Within(name string, fallback, low, high int) int {
	v, given := r.Params.find(name)
	if !given {
		return fallback
	}
	n, ok := v.integer()
	if !ok {
		r.Fail(name, problemInteger)
		return fallback
	}
	if n < int64(low) || n > int64(high) {
		r.Fail(name, fmt.Sprintf("must be between %d and %d", low, high))
		return fallback
	}
	return int(n)
}

// Flag reads an optional boolean.
func (r *Reader) Flag(name string, fallback bool) bool {
	v, given := r.Params.find(name)
	if !given {
		return fallback
	}
	is, ok := v.boolean()
	if !ok {
		r.Fail(name, "must be a boolean")
	}
	return is
}

// Moment reads an optional time into Unix seconds. late chooses the second of two equal local
// times.
func (r *Reader) Moment(name string, fallback int64, late bool) int64 {
	v, given := r.Params.find(name)
	if !given {
		return fallback
	}
	if s, ok := v.scalar(); ok {
		if unix, ok := r.Clock.Parse(s, late); ok {
			return unix
		}
	}
	r.Fail(name, "must be a date and time like "+plainTime+" or "+time.RFC3339[:len(plainTime)]+"+00:00")
	return fallback
}

// IDs reads a list of int64 and leaves out repeated ones; given is also true for what is no list.
// An empty list is not nil.
func (r *Reader) IDs(name string) (ids []int64, given bool) {
	v, given := r.Params.findList(name)
	if !given {
		return nil, false
	}
	all, ok := v.integers()
	if !ok {
		r.Fail(name, "must be a list of integers")
		return nil, true
	}
	return distinct(all), true
}

// RequiredIDs reads a list of at least one int64.
func (r *Reader) RequiredIDs(name string, most int) []int64 {
	ids, given := r.IDs(name)
	switch {
	case !given:
		r.Fail(name, ProblemNull)
	case ids != nil && len(ids) == 0:
		r.Fail(name, SizeProblem(most))
	}
	return ids
}

// SizeProblem is said of a list that is empty or has more than most elements.
func SizeProblem(most int) string { return fmt.Sprintf("size must be between 1 and %d", most) }

// Message reads the required text of a message.
func (r *Reader) Message(name string) string {
	v, given := r.Params.findText(name)
	if !given {
		r.Fail(name, ProblemNull)
		return ""
	}
	s, ok := v.scalar()
	if !ok {
		r.Fail(name, "must be a string of valid Unicode")
		return ""
	}
	text, problem := normalizeText(s)
	if problem != "" {
		r.Fail(name, problem)
	}
	return text
}

// Words reads a required text of 1 to most characters that is not blank.
func (r *Reader) Words(name string, most int) string {
	before := len(r.wrong)
	s := r.Text(name)
	if len(r.wrong) > before {
		return ""
	}
	if n := utf8.RuneCountInString(s); n > most || strings.TrimSpace(s) == "" {
		r.Fail(name, fmt.Sprintf("length must be between 1 and %d, and not all blank", most))
	}
	return s
}

// OneOf reads an optional text that is one of some, by default the first of them.
func (r *Reader) OneOf(name string, known ...string) string {
	v, given := r.Params.find(name)
	if !given {
		return known[0]
	}
	if s, ok := v.scalar(); ok && slices.Contains(known, s) {
		return s
	}
	r.Fail(name, "must be one of "+strings.Join(known, ", "))
	return known[0]
}

// Labels reads an optional list of different texts of 1 to longest characters, lower case.
func (r *Reader) Labels(name string, most, longest int) []string {
	v, given := r.Params.findList(name)
	if !given {
		return nil
	}
	list, ok := v.strings()
	switch {
	case !ok:
		r.Fail(name, "must be a list of strings")
		return nil
	case len(list) == 0 || len(list) > most:
		r.Fail(name, SizeProblem(most))
		return nil
	}
	seen := make(map[string]struct{}, len(list))
	for i, s := range list {
		if n := utf8.RuneCountInString(s); n == 0 || n > longest {
			r.Fail(name, fmt.Sprintf("length of each must be between 1 and %d", longest))
			return nil
		}
		if _, ok := seen[s]; ok {
			r.Fail(name, "must not contain duplicates")
			return nil
		}
		seen[s] = struct{}{}
		list[i] = strings.ToLower(s)
	}
	return list
}

// Text reads a required text as it is.
func (r *Reader) Text(name string) string {
	v, given := r.Params.findText(name)
	if !given {
		r.Fail(name, ProblemNull)
		return ""
	}
	s, ok := v.scalar()
	if !ok {
		r.Fail(name, "must be a string")
	}
	return s
}

// TextInto reads a text into dst, which stays as it is where there is none. An empty text is one.
func (r *Reader) TextInto(name string, dst *string) {
	v, given := r.Params.first(name, never)
	if !given {
		return
	}
	if s, ok := v.scalar(); ok && !v.null() {
		*dst = s
		return
	}
	r.Fail(name, "must be a string")
}

// Strings reads a list of texts that may be absent.
func (r *Reader) Strings(name string) []string {
	v, given := r.Params.findList(name)
	if !given {
		return nil
	}
	list, ok := v.strings()
	if !ok {
		r.Fail(name, "must be a list of strings")
		return nil
	}
	return list
}

// OptionalText reads a text that may be absent; an empty one is none.
func (r *Reader) OptionalText(name string) (s string, given bool) {
	s, given, ok := r.Params.Scalar(name)
	if !ok {
		r.Fail(name, "must be a string")
	}
	return s, given
}

// Only refuses parameters that are none of names, nor of those that every operation has: who
// administers is told of what would be ignored.
func (r *Reader) Only(names ...string) {
	common := []string{"hash", "session_key", "iso_datetime"}
	for _, name := range r.Params.names() {
		if !slices.Contains(names, name) && !slices.Contains(common, name) {
			r.Fail(name, "is unknown")
		}
	}
}

// distinct removes repeated ids in place and keeps the order of the first ones.
func distinct(ids []int64) []int64 {
	seen := make(map[int64]struct{}, len(ids))
	kept := ids[:0]
	for _, id := range ids {
		if _, ok := seen[id]; !ok {
			seen[id] = struct{}{}
			kept = append(kept, id)
		}
	}
	if kept == nil {
		return []int64{}
	}
	return kept
}

// IdempotencyKey reads an optional idempotency key, of the parameter or else of the header.
func (r *Reader) IdempotencyKey(name string, h http.Header) string {
	v, given := r.Params.find(name)
	if list := h.Values("Idempotency-Key"); !given && len(list) > 0 {
		v = value{texts: list}
	} else if !given {
		return ""
	}
	key, ok := v.scalar()
	if !ok {
		r.Fail(name, "must be a string")
		return ""
	}
	if n := utf8.RuneCountInString(key); n == 0 || n > maxKey {
		r.Fail(name, fmt.Sprintf("length must be between 1 and %d", maxKey))
	}
	if !utf8.ValidString(key) ||
		strings.ContainsFunc(key, func(c rune) bool { return !unicode.IsPrint(c) }) {
		r.Fail(name, "must consist of printable characters")
	}
	return key
}

// Choices reads the optional canned answers. An empty list is none.
func (r *Reader) Choices(name string) []string {
	v, given := r.Params.findList(name)
	if !given {
		return nil
	}
	list, ok := v.strings()
	switch {
	case !ok:
		r.Fail(name, "must be a list of strings")
		return nil
	case len(list) > queue.MaxChoices:
		r.Fail(name, fmt.Sprintf("size must be at most %d", queue.MaxChoices))
		return nil
	}
	seen := make(map[string]struct{}, len(list))
	for i, s := range list {
		text, problem := normalizeText(strings.TrimSpace(s))
		switch _, twice := seen[text]; {
		case problem != "":
		case utf8.RuneCountInString(text) > queue.MaxChoice:
			problem = fmt.Sprintf("length of each must be between 1 and %d", queue.MaxChoice)
		case strings.ContainsAny(text, "\n\t"):
			problem = "must not contain control characters"
		case twice:
			problem = "must not contain duplicates"
		}
		if problem != "" {
			r.Fail(name, problem)
			return nil
		}
		seen[text] = struct{}{}
		list[i] = text
	}
	return list
}

// normalizeText brings a message's text to the form it is stored in, or says what is wrong with it.
func normalizeText(s string) (text, problem string) {
	if !utf8.ValidString(s) {
		return "", "must be valid Unicode"
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	if strings.TrimSpace(s) == "" {
		return "", "must not be blank"
	}
	if queue.TextTooLong(s) {
		return "", fmt.Sprintf("length must be between 1 and %d", queue.MaxText)
	}
	for _, r := range s {
		if r >= ' ' && r <= '~' || r == '\n' || r == '\t' {
			continue
		}
		if unicode.IsControl(r) {
			return "", "must not contain control characters"
		}
		if unicode.Is(unicode.Co, r) {
			return "", "must not contain private use characters"
		}
	}
	return s, ""
}
