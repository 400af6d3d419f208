package api

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"trackchat/queue"
)

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
