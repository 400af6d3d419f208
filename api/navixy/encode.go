package navixy

import (
	"strconv"
	"unicode/utf8"

	"trackchat/queue"
)

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string (RFC 8259 §7). What is not UTF-8 becomes U+FFFD, so that
// the answer is JSON whatever a device sent.
func AppendString(dst []byte, s string) []byte {
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

// AppendMessage appends the message object: always the same seven keys in the same order, nulls
// explicit.
func AppendMessage(dst []byte, m *queue.Message, c Clock) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, m.ID, 10)
	dst = append(dst, `,"submit_time":`...)
	dst = c.AppendTime(dst, m.SubmitMs)
	dst = append(dst, `,"update_time":`...)
	if m.Status.Done() {
		dst = c.AppendTime(dst, m.UpdateMs)
	} else {
		dst = append(dst, `null`...)
	}
	dst = append(dst, `,"text":`...)
	dst = AppendString(dst, m.Text)
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

// AppendStrings appends a JSON array of strings.
func AppendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, s)
	}
	return append(dst, ']')
}

// AppendIDs appends a JSON array of ids; none is an empty array.
func AppendIDs(dst []byte, ids []queue.TrackerID) []byte {
	dst = append(dst, '[')
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(id), 10)
	}
	return append(dst, ']')
}

// AppendKey appends the id as the name of an object's member, after a comma unless it is the first
// one.
func AppendKey(dst []byte, id queue.TrackerID) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = strconv.AppendInt(dst, int64(id), 10)
	return append(dst, '"', ':')
}

// StateOf names the state of an outgoing message as of now, in Unix milliseconds. A message whose
// time has run out is expired from that moment, whether the store has noted it yet or not.
func StateOf(m *queue.Message, now int64) string {
	switch m.Status {
	case queue.StatusDelivered:
		return "DELIVERED"
	case queue.StatusOpened:
		return "READ"
	case queue.StatusFailed:
		return "FAILED"
	case queue.StatusExpired:
		return "EXPIRED"
	case queue.StatusCancelled:
		return "CANCELLED"
	case queue.StatusSent:
		return "SENT"
	default:
		if m.Overdue(now) {
			return "EXPIRED"
		}
		return "QUEUED"
	}
}

// appendDelivery appends the delivery object of a message as of now, null for one from the device:
// the same seven keys in the same order, then how often the device was handed a pending one without
// an answer, or how many characters it could not show, if there are any. A text is one part until a
// longer one has been cut for its device.
func appendDelivery(dst []byte, m *queue.Message, c Clock, now int64) []byte {
	if m.Status.Incoming() {
		return append(dst, `null`...)
	}
	parts, acked, deliveredMs := progressOf(m)
	dst = append(dst, `{"state":"`...)
	dst = append(dst, StateOf(m, now)...)
	dst = append(dst, `","parts":`...)
	dst = strconv.AppendInt(dst, int64(parts), 10)
	dst = append(dst, `,"parts_acked":`...)
	dst = strconv.AppendInt(dst, int64(acked), 10)
	dst = append(dst, `,"delivered_at":`...)
	dst = c.AppendTime(dst, deliveredMs)
	dst = append(dst, `,"read_at":`...)
	dst = c.AppendTime(dst, m.ReadMs)
	dst = append(dst, `,"expires_at":`...)
	dst = c.AppendTime(dst, m.ExpiresMs)
	dst = append(dst, `,"reason":`...)
	if m.Reason == queue.ReasonNone {
		dst = append(dst, `null`...)
	} else {
		dst = AppendString(dst, m.Reason.String())
	}
	if m.Tries > 0 && !m.Overdue(now) {
		dst = append(dst, `,"tries":`...)
		dst = strconv.AppendInt(dst, int64(m.Tries), 10)
		dst = append(dst, `,"unanswered_since":`...)
		dst = c.AppendTime(dst, m.TriedMs)
	}
	if m.Replaced > 0 {
		dst = append(dst, `,"replaced":`...)
		dst = strconv.AppendInt(dst, int64(m.Replaced), 10)
	}
	return append(dst, '}')
}

// progressOf is how far an outgoing message has come.
func progressOf(m *queue.Message) (parts, acked int, deliveredMs int64) {
	parts, acked = max(m.Parts, 1), m.Acked
	if m.Status.Acknowledged() {
		acked, deliveredMs = parts, m.UpdateMs
	}
	return parts, acked, deliveredMs
}

// AppendDetail appends the message object with what AppendMore says.
func AppendDetail(dst []byte, m *queue.Message, c Clock, now int64) []byte {
	dst = AppendMessage(dst, m, c)
	return append(AppendMore(dst[:len(dst)-1], m, c, now), '}')
}

// AppendMore appends the members that say more about a message than its object: its delivery,
// its choices, what it answers and who wrote it where it has any, and whether it is urgent where it
// is.
func AppendMore(dst []byte, m *queue.Message, c Clock, now int64) []byte {
	dst = append(dst, `,"delivery":`...)
	dst = appendDelivery(dst, m, c, now)
	if len(m.Choices) > 0 {
		dst = AppendStrings(append(dst, `,"choices":`...), m.Choices)
	}
	if m.ReplyTo != 0 {
		dst = append(dst, `,"reply_to":`...)
		dst = strconv.AppendInt(dst, m.ReplyTo, 10)
	}
	if m.Author != nil {
		dst = AppendAuthor(append(dst, `,"author":`...), m.Author)
	}
	if m.Urgent {
		dst = append(dst, `,"urgent":true`...)
	}
	return dst
}

// AppendAuthor appends who wrote a message.
func AppendAuthor(dst []byte, a *queue.Author) []byte {
	dst = AppendString(append(dst, `{"id":`...), a.ID)
	dst = AppendString(append(dst, `,"name":`...), a.Name)
	dst = AppendString(append(dst, `,"kind":`...), a.Kind.String())
	return append(dst, '}')
}
