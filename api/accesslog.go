package api

import (
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slowRequest is from where on a request is worth a line by itself.
const slowRequest = time.Second

// requestLine is what the access log tells of a request beyond the request itself.
type requestLine struct {
	id    string
	route string
	code  code
	took  time.Duration
	slow  bool
}

// logRequest writes the access log: every request at debug, at info those that were slow or failed
// on this side, unless the log says already why. It names neither parameters nor paths, which may
// hold keys and texts.
func (a *API) logRequest(r *http.Request, out *response, l requestLine) {
	level := zapcore.DebugLevel
	failed := l.code == codeUnexpected || l.code == codeQueueService || l.code == codeDatabase
	if (l.slow || failed) && !out.told {
		level = zapcore.InfoLevel
	}
	entry := a.log.Check(level, "request")
	if entry == nil {
		return
	}
	entry.Write(zap.String("request", l.id), zap.String("route", l.route), zap.String("method",
		r.Method), zap.Int("code", int(l.code)),
		zap.Int64("account", int64(out.account)), zap.Duration("took", l.took), zap.String("remote",
			a.clients.of(r).remote), zap.NamedError("write_error", out.err))
}
