package api

import (
	"compress/gzip"
	_ "embed"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"trackchat/api/navixy"
	"trackchat/queue"

	"github.com/klauspost/compress/gzhttp"
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

// maxAsked bounds, in bytes, the names of headers that a preflight asks for.
const maxAsked = 4096

// cors allows pages of other origins to call the API and to read its answers, refusals included.
type cors struct {
	any     bool
	origins []string
	star    []string
	methods []string
	headers []string
	exposed []string
	maxAge  []string
}

func newCORS(origins []string) *cors {
	return &cors{
		any:     origins == nil || slices.Contains(origins, "*"),
		origins: origins,
		star:    []string{"*"},
		methods: []string{"GET, POST, OPTIONS"},
		headers: []string{"Content-Type, Authorization, NVX-ISO-DateTime, Last-Event-ID, " +
			"Idempotency-Key, X-Requested-With"},
		exposed: []string{"Retry-After, X-Request-Id"},
		maxAge:  []string{"600"},
	}
}

// apply sets the headers. The slices are shared by all answers: nothing may append to them.
func (c *cors) apply(h http.Header, r *http.Request) {
	if c.any {
		h["Access-Control-Allow-Origin"] = c.star
	} else {
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(c.origins, origin) {
			return
		}
		h["Access-Control-Allow-Origin"] = []string{origin}
	}
	h["Access-Control-Allow-Methods"] = c.methods
	h["Access-Control-Allow-Headers"] = c.headers
	h["Access-Control-Expose-Headers"] = c.exposed
	if r.Method == http.MethodOptions {
		asked := r.Header.Get("Access-Control-Request-Headers")
		if asked != "" && len(asked) <= maxAsked {
			h["Access-Control-Allow-Headers"] = []string{c.headers[0] + ", " + asked}
		}
		h["Access-Control-Max-Age"] = c.maxAge
	}
}

// zipFrom is the shortest answer, in bytes, that is compressed.
const zipFrom = 2048

// zipped compresses the longer answers of next for clients that take gzip.
func zipped(next http.HandlerFunc) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(zipFrom), gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.EnableZstd(false), gzhttp.ContentTypes([]string{
			"application/json", exportCSV, exportNDJSON,
		}))
	if err != nil {
		panic(err) // the options are constants
	}
	return wrap(next)
}

// inflated is the body of a request without its compression. How much of it may be read is up to
// the caller.
func inflated(r *http.Request) (io.Reader, error) {
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
		return r.Body, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, navixy.Refuse(navixy.CodeWrongFormat)
		}
		return z, nil
	default:
		return nil, navixy.Refuse(navixy.CodeWrongFormat)
	}
}

// openAPI describes every operation (OpenAPI 3.1).
//
//go:embed openapi.json
var openAPI []byte

// openAPIPath is where it is served, for everybody.
const openAPIPath = "/openapi.json"

// serveOpenAPI answers GET and HEAD; a browser's page of another origin may read it too.
func (a *API) serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	a.cors.apply(w.Header(), r)
	navixy.WriteJSON(w, http.StatusOK, openAPI)
}
