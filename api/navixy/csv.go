package navixy

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"trackchat/queue"
)

// Row is a message in a table, with what is known of its tracker.
type Row struct {
	Tracker queue.TrackerID
	Label   string // of the tracker
	Message *queue.Message
	Clock   Clock
	Now     int64 // Unix milliseconds: states are as of then
}

// csvColumns are those of the table of messages, in order.
//
//nolint:gochecknoglobals // a table, never changed
var csvColumns = [...]struct {
	name   string
	append func(dst []byte, r *Row) []byte
}{
	{"tracker_id", func(dst []byte, r *Row) []byte {
		return strconv.AppendInt(dst, int64(r.Tracker), 10)
	}},
	{"tracker", func(dst []byte, r *Row) []byte { return appendCell(dst, r.Label) }},
	{"id", func(dst []byte, r *Row) []byte { return strconv.AppendInt(dst, r.Message.ID, 10) }},
	{"type", func(dst []byte, r *Row) []byte {
		if r.Message.Status.Incoming() {
			return append(dst, "INCOMING"...)
		}
		return append(dst, "OUTGOING"...)
	}},
	{"submit_time", func(dst []byte, r *Row) []byte {
		return r.Clock.appendPlain(dst, r.Message.SubmitMs)
	}},
	{"update_time", func(dst []byte, r *Row) []byte {
		if !r.Message.Status.Done() {
			return dst
		}
		return r.Clock.appendPlain(dst, r.Message.UpdateMs)
	}},
	{"status", func(dst []byte, r *Row) []byte {
		if r.Message.Status.Done() {
			return append(dst, "DELIVERED"...)
		}
		return append(dst, "PENDING"...)
	}},
	{"employee_id", func(dst []byte, r *Row) []byte { return appendCount(dst, r.Message.Employee) }},
	{"text", func(dst []byte, r *Row) []byte { return appendCell(dst, r.Message.Text) }},
	{"state", outgoing(func(dst []byte, r *Row) []byte {
		return append(dst, StateOf(r.Message, r.Now)...)
	})},
	{"parts", outgoing(func(dst []byte, r *Row) []byte {
		parts, _, _ := progressOf(r.Message)
		return strconv.AppendInt(dst, int64(parts), 10)
	})},
	{"parts_acked", outgoing(func(dst []byte, r *Row) []byte {
		_, acked, _ := progressOf(r.Message)
		return strconv.AppendInt(dst, int64(acked), 10)
	})},
	{"delivered_at", outgoing(func(dst []byte, r *Row) []byte {
		_, _, ms := progressOf(r.Message)
		return r.Clock.appendPlain(dst, ms)
	})},
	{"read_at", outgoing(func(dst []byte, r *Row) []byte {
		return r.Clock.appendPlain(dst, r.Message.ReadMs)
	})},
	{"expires_at", outgoing(func(dst []byte, r *Row) []byte {
		return r.Clock.appendPlain(dst, r.Message.ExpiresMs)
	})},
	{"reason", outgoing(func(dst []byte, r *Row) []byte {
		if r.Message.Reason == queue.ReasonNone {
			return dst
		}
		return appendCell(dst, r.Message.Reason.String())
	})},
	{"replaced", outgoing(func(dst []byte, r *Row) []byte {
		return appendCount(dst, int64(r.Message.Replaced))
	})},
	{"choices", func(dst []byte, r *Row) []byte {
		return appendCell(dst, strings.Join(r.Message.Choices, "\n"))
	}},
	{"reply_to", func(dst []byte, r *Row) []byte { return appendCount(dst, r.Message.ReplyTo) }},
	{"author", authored(func(a *queue.Author) string { return a.Name })},
	{"author_kind", authored(func(a *queue.Author) string { return a.Kind.String() })},
	{"author_id", authored(func(a *queue.Author) string { return a.ID })},
}

// outgoing leaves a column empty for messages from devices.
func outgoing(f func([]byte, *Row) []byte) func([]byte, *Row) []byte {
	return func(dst []byte, r *Row) []byte {
		if r.Message.Status.Incoming() {
			return dst
		}
		return f(dst, r)
	}
}

// authored leaves a column empty for messages of which it is not known who wrote them.
func authored(f func(*queue.Author) string) func([]byte, *Row) []byte {
	return func(dst []byte, r *Row) []byte {
		if r.Message.Author == nil {
			return dst
		}
		return appendCell(dst, f(r.Message.Author))
	}
}

// AppendCSVHeader appends the byte order mark, without which spreadsheets take UTF-8 for their own
// character set, and the names of the columns.
func AppendCSVHeader(dst []byte) []byte {
	dst = append(dst, byteOrderMark...)
	for i, c := range csvColumns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, c.name...)
	}
	return append(dst, '\r', '\n')
}

// AppendCSV appends a message as a line of a table (RFC 4180).
func AppendCSV(dst []byte, r *Row) []byte {
	for i := range csvColumns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = csvColumns[i].append(dst, r)
	}
	return append(dst, '\r', '\n')
}

// AppendNDJSON appends a message as a line of JSON, in the form in which the live feed tells it.
func AppendNDJSON(dst []byte, r *Row) []byte {
	dst = append(dst, `{"tracker_id":`...)
	dst = strconv.AppendInt(dst, int64(r.Tracker), 10)
	dst = append(dst, `,"message":`...)
	dst = AppendMessage(dst, r.Message, r.Clock)
	dst = AppendMore(dst, r.Message, r.Clock, r.Now)
	return append(dst, '}', '\n')
}

// appendCell appends a text that somebody wrote, in quotes. What a spreadsheet would take for a
// formula gets an apostrophe before it, which makes it a text there: at the beginning, and, as some
// take these for the end of a cell also within quotes, after a line break, a tab or a semicolon.
func appendCell(dst []byte, s string) []byte {
	if s == "" {
		return dst
	}
	dst = append(dst, '"')
	begins := true // a cell, as some see it
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		if begins && strings.ContainsRune("=+-@\t\r", r) {
			dst = append(dst, '\'')
		}
		if r == '"' {
			dst = append(dst, '"')
		}
		dst = utf8.AppendRune(dst, r)
		begins = strings.ContainsRune(";\t\r\n", r) || begins && r == ' '
	}
	return append(dst, '"')
}

// appendCount appends a number, 0 as nothing.
func appendCount(dst []byte, n int64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(dst, n, 10)
}
