package navixy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func (v value) null() bool { return string(v.raw) == "null" }

// absent reports a JSON null or one of the texts that clients send for it.
func (v *value) absent() bool {
	if v.odd || v.listed {
		return false
	}
	if v.raw != nil {
		switch string(v.raw) {
		case "null", `"null"`, `"undefined"`:
			return true
		}
		return false
	}
	return len(v.texts) == 1 && (v.texts[0] == "null" || v.texts[0] == "undefined")
}

// empty reports an empty text.
func (v *value) empty() bool {
	if v.odd {
		return false
	}
	return string(v.raw) == `""` || len(v.texts) == 1 && v.texts[0] == ""
}

// scalar returns the value as text, false if it is none: an array, an object, or a string that is
// not Unicode. Of a repeated name the first value counts.
func (v value) scalar() (string, bool) {
	if v.odd || len(v.numbered) > 0 {
		return "", false
	}
	if v.raw == nil {
		return v.texts[0], true
	}
	switch v.raw[0] {
	case '"':
		return unquote(v.raw)
	case '[', '{':
		return "", false
	default:
		return string(v.raw), true
	}
}

// unquote decodes a valid JSON string. It reports false where encoding/json would silently put
// U+FFFD: for what is not UTF-8 and for lone surrogates.
func unquote(raw []byte) (string, bool) {
	if !utf8.Valid(raw) {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	if loneSurrogate(raw) {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// loneSurrogate looks for a \u escape of half a surrogate pair in a valid JSON string.
func loneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			i++
			continue
		}
		first, ok := escaped(raw[i:])
		switch {
		case !ok:
			i += len(`\n`)
		case !utf16.IsSurrogate(first):
			i += len(`\u0000`)
		default:
			i += len(`\u0000`)
			second, _ := escaped(raw[i:])
			if utf16.DecodeRune(first, second) == utf8.RuneError {
				return true
			}
			i += len(`\u0000`)
		}
	}
	return false
}

// escaped reads a \u escape at the beginning of raw.
func escaped(raw []byte) (rune, bool) {
	if len(raw) < len(`\u0000`) || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	return rune(n), err == nil
}

// integer reads a decimal int64.
func (v value) integer() (int64, bool) {
	s, ok := v.scalar()
	if !ok {
		return 0, false
	}
	return parseInteger(s)
}

// parseInteger reads a decimal int64, also one that was written as a float: 5.0. Other fractions,
// and exponents, are none, so that no id is ever rounded.
func parseInteger(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	if i := strings.IndexByte(s, '.'); i >= 0 && i < len(s)-1 && strings.Trim(s[i+1:], "0") == "" {
		s = s[:i]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func (v value) boolean() (is, ok bool) {
	s, ok := v.scalar()
	switch {
	case !ok:
		return false, false
	case s == "1" || strings.EqualFold(s, "true"):
		return true, true
	case s == "0" || strings.EqualFold(s, "false"):
		return false, true
	default:
		return false, false
	}
}

// integers reads a list of int64 in any spelling: a JSON array of numbers or strings, such an array
// in a text, a comma list, repeated texts, or a single number. Empty texts are no elements; one
// with an index would be, and is no integer.
func (v value) integers() ([]int64, bool) {
	if v.odd {
		return nil, false
	}
	if v.raw == nil {
		var ids []int64
		for _, text := range v.texts {
			if len(v.numbered) > 0 && strings.TrimSpace(text) == "" {
				return nil, false
			}
			var ok bool
			if ids, ok = appendIntegers(ids, text); !ok {
				return nil, false
			}
		}
		return ids, true
	}
	if v.raw[0] == '[' {
		return appendElements(nil, string(v.raw))
	}
	s, ok := v.scalar()
	if !ok {
		return nil, false
	}
	return appendIntegers(nil, s)
}

// strings reads a list of texts in the same spellings as integers; texts with commas need JSON,
// repeated names, or names with brackets.
func (v value) strings() ([]string, bool) {
	if v.odd {
		return nil, false
	}
	if v.listed {
		return slices.Clone(v.texts), true
	}
	if v.raw != nil && v.raw[0] == '[' {
		return appendTexts(nil, v.raw)
	}
	texts := v.texts
	if v.raw != nil {
		s, ok := v.scalar()
		if !ok {
			return nil, false
		}
		texts = []string{s}
	}
	var list []string
	for _, text := range texts {
		switch trimmed := strings.TrimSpace(text); {
		case trimmed == "":
		case trimmed[0] == '[':
			var ok bool
			if list, ok = appendTexts(list, []byte(trimmed)); !ok {
				return nil, false
			}
		case len(texts) > 1:
			list = append(list, text)
		default:
			list = append(list, strings.Split(text, ",")...)
		}
	}
	return list, true
}

// appendTexts reads a JSON array of strings.
func appendTexts(dst []string, array []byte) ([]string, bool) {
	var elements []json.RawMessage
	if err := json.Unmarshal(array, &elements); err != nil {
		return nil, false
	}
	for _, e := range elements {
		if e[0] != '"' {
			return nil, false
		}
		s, ok := unquote(e)
		if !ok {
			return nil, false
		}
		dst = append(dst, s)
	}
	return dst, true
}

// appendIntegers reads a comma list or a JSON array.
func appendIntegers(dst []int64, s string) ([]int64, bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return dst, true
	}
	if s[0] == '[' {
		if !json.Valid([]byte(s)) {
			return nil, false
		}
		return appendElements(dst, s)
	}
	for text := range strings.SplitSeq(s, ",") {
		n, ok := parseInteger(text)
		if !ok {
			return nil, false
		}
		dst = append(dst, n)
	}
	return dst, true
}

// appendElements reads a valid JSON array. Numbers hold neither commas nor brackets, so everything
// that is no number fails to parse.
func appendElements(dst []int64, array string) ([]int64, bool) {
	inner := strings.TrimSpace(array[1 : len(array)-1])
	if inner == "" {
		return dst, true
	}
	for text := range strings.SplitSeq(inner, ",") {
		text = strings.TrimSpace(text)
		if len(text) > 2 && text[0] == '"' && text[len(text)-1] == '"' {
			text = strings.TrimSpace(text[1 : len(text)-1])
		}
		n, ok := parseInteger(text)
		if !ok {
			return nil, false
		}
		dst = append(dst, n)
	}
	return dst, true
}
