package api

import (
	"net/http"
	"strconv"

	"trackchat/queue"
)

const (
	// what net/http holds back until the handler returns; of an answer within it, it tells the
	// length by itself.
	shortBuf = 2048
	flushAt  = 64 << 10  // bytes after which an answer is written out as it grows
	keepBuf  = 256 << 10 // greatest buffer that is used again
)

// response is the answer to one request, encoded into buf. A short one is written at once with its
// length; of a long one no more than about flushAt is held.
type response struct {
	w       http.ResponseWriter
	buf     []byte
	told    bool            // the log says why it failed
	account queue.AccountID // the caller's, 0 unknown
	head    bool            // only the header is asked for
	cut     bool            // the answer failed after started
	started bool            // the header is out: no refusal can replace the answer any more
	err     error           // of the first write that failed; later ones are not tried
}

// flushLong writes out what there is, once that is much.
func (o *response) flushLong() {
	if len(o.buf) < flushAt {
		return
	}
	if !o.started {
		o.start(http.StatusOK)
	}
	o.write()
}

// finish writes the rest.
func (o *response) finish(status int) {
	if !o.started {
		if len(o.buf) > shortBuf || o.head {
			// a ninth header makes maps grow, here and in net/http.
			o.w.Header()["Content-Length"] = []string{strconv.Itoa(len(o.buf))}
		}
		o.start(status)
	}
	o.write()
}

func (o *response) start(status int) {
	o.started = true
	o.w.WriteHeader(status)
}

func (o *response) write() {
	if o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	o.buf = o.buf[:0]
}
