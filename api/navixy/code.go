// Package navixy is the dialect of the platform that the clients of the API were written for: the
// error table, the spellings of parameters, and how times and messages are written.
package navixy

import (
	"net/http"
	"strconv"
)

// Code is a number of the error table; CodeOK stands for success and is never written.
type Code int

// The numbers are the platform's: clients compare them.
const (
	CodeOK             Code = 0
	CodeWrongHash      Code = 3
	CodeUnknownHash    Code = 4
	CodeWrongFormat    Code = 5
	CodeUnexpected     Code = 6
	CodeInvalid        Code = 7
	CodeQueueService   Code = 8
	CodeTooLarge       Code = 9
	CodeDenied         Code = 11
	CodeNotPermitted   Code = 13
	CodeDatabase       Code = 14
	CodeTooMany        Code = 15
	CodeWrongLogin     Code = 102
	CodeLoginAttempts  Code = 105
	CodeWrongHandler   Code = 111
	CodeWrongMethod    Code = 112
	CodeNotFound       Code = 201
	CodeBlocked        Code = 208
	CodeUnsupported    Code = 214
	CodeNonexistent    Code = 217
	CodeDeviceLimit    Code = 221
	CodeTariff         Code = 236
	CodeTooManyEntries Code = 267
)

// Success is the body of an answer that has nothing to tell.
const Success = `{"success":true}`

// Answer returns the description and the HTTP status of a code: the whole error table.
func (c Code) Answer() (description string, status int) {
	switch c {
	case CodeOK:
		return "", http.StatusOK
	case CodeWrongHash:
		return "Wrong hash", http.StatusBadRequest
	case CodeUnknownHash:
		return "User or API key not found or session ended", http.StatusBadRequest
	case CodeWrongFormat:
		return "Wrong request format", http.StatusBadRequest
	case CodeInvalid:
		return "Invalid parameters", http.StatusBadRequest
	case CodeQueueService:
		return "Queue service error, try again later", http.StatusServiceUnavailable
	case CodeTooLarge:
		return "Too large request", http.StatusPreconditionFailed
	case CodeDenied:
		return "Access denied", http.StatusForbidden
	case CodeNotPermitted:
		return "Operation not permitted", http.StatusForbidden
	case CodeDatabase:
		return "Database unavailable", http.StatusServiceUnavailable
	case CodeTooMany:
		return "Too many requests (rate limit exceeded)", http.StatusTooManyRequests
	case CodeWrongLogin:
		return "Wrong login or password", http.StatusBadRequest
	case CodeLoginAttempts:
		return "Login attempts limit exceeded, try again later", http.StatusBadRequest
	case CodeWrongHandler:
		return "Wrong handler", http.StatusBadRequest
	case CodeWrongMethod:
		return "Wrong method", http.StatusBadRequest
	case CodeNotFound:
		return "Not found in database", http.StatusBadRequest
	case CodeBlocked:
		return "Device blocked", http.StatusForbidden
	case CodeUnsupported:
		return "Requested operation or parameters are not supported by the device",
			http.StatusBadRequest
	case CodeNonexistent:
		return "List contains nonexistent entities", http.StatusBadRequest
	case CodeDeviceLimit:
		return "Device limit exceeded", http.StatusForbidden
	case CodeTariff:
		return "Feature unavailable due to tariff restrictions", http.StatusPaymentRequired
	case CodeTooManyEntries:
		return "Too many entities", http.StatusBadRequest
	default:
		return "Unexpected error", http.StatusInternalServerError
	}
}

// Refusal is an answer of the error table. Every other error that an operation returns is a failure
// of the store.
type Refusal struct {
	Code     Code
	Problems Problems // with CodeInvalid
	Reason   string   // that metrics name it by, with CodeTooMany; empty: the rate limit
	Retry    int      // seconds for Retry-After, with CodeTooMany and CodeLoginAttempts
}

func (r *Refusal) Error() string {
	description, _ := r.Code.Answer()
	return description + " (" + strconv.Itoa(int(r.Code)) + ")"
}

// Refuse is the refusal that a code says all about.
func Refuse(c Code) error { return &Refusal{Code: c} }

// Invalid refuses one parameter, or one part of an object.
func Invalid(parameter, problem string) error {
	return Problems{{Parameter: parameter, Error: problem}}.Err()
}

// Problem says what is wrong with one parameter, or with a part of an object.
type Problem struct {
	Parameter string `json:"parameter"`
	Error     string `json:"error"`
}

// Problems collects what is wrong with a request, so that one answer names it all.
type Problems []Problem

// Add notes one more.
func (ps *Problems) Add(parameter, problem string) {
	*ps = append(*ps, Problem{parameter, problem})
}

// Err is the refusal of everything that is wrong, or nil.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return &Refusal{Code: CodeInvalid, Problems: ps}
}

// Append appends the body of the answer.
func (r *Refusal) Append(dst []byte) []byte {
	description, _ := r.Code.Answer()
	dst = append(dst, `{"success":false,"status":{"code":`...)
	dst = strconv.AppendInt(dst, int64(r.Code), 10)
	dst = append(dst, `,"description":`...)
	dst = AppendString(dst, description)
	dst = append(dst, '}')
	if len(r.Problems) > 0 {
		dst = append(dst, `,"errors":[`...)
		for i, p := range r.Problems {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"parameter":`...)
			dst = AppendString(dst, p.Parameter)
			dst = append(dst, `,"error":`...)
			dst = AppendString(dst, p.Error)
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// Write answers with the refusal.
func (r *Refusal) Write(w http.ResponseWriter) {
	_, status := r.Code.Answer()
	WriteJSON(w, status, r.Append(nil))
}

// WriteJSON answers with a body that is there as a whole.
func WriteJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the peer is gone, and there is nobody left to tell
}
