package api

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
)

// zipFrom is the shortest answer, in bytes, that is compressed.
const zipFrom = 2048

// zipped compresses the longer answers of next for clients that take gzip.
func zipped(next http.HandlerFunc) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(zipFrom), gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.EnableZstd(false), gzhttp.ContentTypes([]string{"application/json"}))
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
			return nil, refuse(codeWrongFormat)
		}
		return z, nil
	default:
		return nil, refuse(codeWrongFormat)
	}
}
