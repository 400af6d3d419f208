package api

import (
	"net/http"
	"strconv"
)

// code is a number of the error table; codeOK stands for success and is never written.
type code int

// The numbers are the platform's: clients compare them.
const (
	codeOK             code = 0
	codeWrongHash      code = 3
	codeUnknownHash    code = 4
	codeWrongFormat    code = 5
	codeUnexpected     code = 6
	codeInvalid        code = 7
	codeQueueService   code = 8
	codeTooLarge       code = 9
	codeDenied         code = 11
	codeNotPermitted   code = 13
	codeDatabase       code = 14
	codeTooMany        code = 15
	codeWrongLogin     code = 102
	codeLoginAttempts  code = 105
	codeWrongHandler   code = 111
	codeWrongMethod    code = 112
	codeNotFound       code = 201
	codeBlocked        code = 208
	codeUnsupported    code = 214
	codeNonexistent    code = 217
	codeDeviceLimit    code = 221
	codeTariff         code = 236
	codeTooManyEntries code = 267
)

// successAnswer is the body of an answer that has nothing to tell.
const successAnswer = `{"success":true}`

// answer returns the description and the HTTP status of a code: the whole error table.
func (c code) answer() (description string, status int) {
	switch c {
	case codeOK:
		return "", http.StatusOK
	case codeWrongHash:
		return "Wrong hash", http.StatusBadRequest
	case codeUnknownHash:
		return "User or API key not found or session ended", http.StatusBadRequest
	case codeWrongFormat:
		return "Wrong request format", http.StatusBadRequest
	case codeInvalid:
		return "Invalid parameters", http.StatusBadRequest
	case codeQueueService:
		return "Queue service error, try again later", http.StatusServiceUnavailable
	case codeTooLarge:
		return "Too large request", http.StatusPreconditionFailed
	case codeDenied:
		return "Access denied", http.StatusForbidden
	case codeNotPermitted:
		return "Operation not permitted", http.StatusForbidden
	case codeDatabase:
		return "Database unavailable", http.StatusServiceUnavailable
	case codeTooMany:
		return "Too many requests (rate limit exceeded)", http.StatusTooManyRequests
	case codeWrongLogin:
		return "Wrong login or password", http.StatusBadRequest
	case codeLoginAttempts:
		return "Login attempts limit exceeded, try again later", http.StatusBadRequest
	case codeWrongHandler:
		return "Wrong handler", http.StatusBadRequest
	case codeWrongMethod:
		return "Wrong method", http.StatusBadRequest
	case codeNotFound:
		return "Not found in database", http.StatusBadRequest
	case codeBlocked:
		return "Device blocked", http.StatusForbidden
	case codeUnsupported:
		return "Requested operation or parameters are not supported by the device",
			http.StatusBadRequest
	case codeNonexistent:
		return "List contains nonexistent entities", http.StatusBadRequest
	case codeDeviceLimit:
		return "Device limit exceeded", http.StatusForbidden
	case codeTariff:
		return "Feature unavailable due to tariff restrictions", http.StatusPaymentRequired
	case codeTooManyEntries:
		return "Too many entities", http.StatusBadRequest
	default:
		return "Unexpected error", http.StatusInternalServerError
	}
}

// refusal is an answer of the error table. Every other error that an operation returns is a failure
// of the store.
type refusal struct {
	code   code
	params problems // with codeInvalid
	reason string   // that metrics name it by, with codeTooMany; empty: the rate limit
	retry  int      // seconds for Retry-After, with codeTooMany and codeLoginAttempts
}

func (r *refusal) Error() string {
	description, _ := r.code.answer()
	return description + " (" + strconv.Itoa(int(r.code)) + ")"
}

// refuse is the refusal that a code says all about.
func refuse(c code) error { return &refusal{code: c} }

// invalid refuses one parameter, or one part of an object.
func invalid(parameter, problem string) error {
	return problems{{Parameter: parameter, Error: problem}}.err()
}

// Problem says what is wrong with one parameter, or with a part of an object.
type Problem struct {
	Parameter string `json:"parameter"`
	Error     string `json:"error"`
}

// problems collects what is wrong with a request, so that one answer names it all.
type problems []Problem

func (ps *problems) add(parameter, problem string) {
	*ps = append(*ps, Problem{parameter, problem})
}

// err is the refusal of everything that is wrong, or nil.
func (ps problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return &refusal{code: codeInvalid, params: ps}
}

// append appends the body of the answer.
func (r *refusal) append(dst []byte) []byte {
	description, _ := r.code.answer()
	dst = append(dst, `{"success":false,"status":{"code":`...)
	dst = strconv.AppendInt(dst, int64(r.code), 10)
	dst = append(dst, `,"description":`...)
	dst = appendString(dst, description)
	dst = append(dst, '}')
	if len(r.params) > 0 {
		dst = append(dst, `,"errors":[`...)
		for i, p := range r.params {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"parameter":`...)
			dst = appendString(dst, p.Parameter)
			dst = append(dst, `,"error":`...)
			dst = appendString(dst, p.Error)
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// write answers with the refusal.
func (r *refusal) write(w http.ResponseWriter) {
	_, status := r.code.answer()
	writeJSON(w, status, r.append(nil))
}

// writeJSON answers with a body that is there as a whole.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the peer is gone, and there is nobody left to tell
}
