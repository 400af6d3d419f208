package api

import (
	"strconv"
	"unicode/utf8"

	"trackchat/queue"
)

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259 §7). What is not UTF-8 becomes U+FFFD, so that
// the answer is JSON whatever a device sent.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		if b >= ' ' && b != '"' && b != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendMessage appends the message object: always the same seven keys in the same order, nulls
// explicit.
func appendMessage(dst []byte, m *queue.Message, c clock) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, m.ID, 10)
	dst = append(dst, `,"submit_time":`...)
	dst = c.appendTime(dst, m.SubmitMs)
	dst = append(dst, `,"update_time":`...)
	if m.Status.Done() {
		dst = c.appendTime(dst, m.UpdateMs)
	} else {
		dst = append(dst, `null`...)
	}
	dst = append(dst, `,"text":`...)
	dst = appendString(dst, m.Text)
	if m.Status.Incoming() {
		dst = append(dst, `,"type":"INCOMING"`...)
	} else {
		dst = append(dst, `,"type":"OUTGOING"`...)
	}
	if m.Status.Done() {
		dst = append(dst, `,"status":"DELIVERED"`...)
	} else {
		dst = append(dst, `,"status":"PENDING"`...)
	}
	dst = append(dst, `,"employee_id":`...)
	if m.Employee != 0 {
		dst = strconv.AppendInt(dst, m.Employee, 10)
	} else {
		dst = append(dst, `null`...)
	}
	return append(dst, '}')
}

// appendIDs appends a JSON array of ids; none is an empty array.
func appendIDs(dst []byte, ids []queue.TrackerID) []byte {
	dst = append(dst, '[')
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(id), 10)
	}
	return append(dst, ']')
}

// appendKey appends the id as the name of an object's member, after a comma unless it is the first
// one.
func appendKey(dst []byte, id queue.TrackerID) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = strconv.AppendInt(dst, int64(id), 10)
	return append(dst, '"', ':')
}
