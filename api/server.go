package api

import (
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Limits of a server. A text of 20,000 characters of four bytes, percent-encoded, takes 240,000
// bytes of a query and so of the header.
const (
	maxHeader     = 512 << 10
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second // header and body
	writeTimeout  = 60 * time.Second // a handler that streams for longer sets its own deadline
	idleTimeout   = 2 * time.Minute
)

// NewServer returns a server for h whose clients cannot hold a connection or memory for ever. A nil
// log drops what the server has to say.
func NewServer(h http.Handler, log *zap.Logger) *http.Server {
	if log == nil {
		log = zap.NewNop()
	}
	// Everything it says is about some client's connection, so it is no error of ours.
	logger, err := zap.NewStdLogAt(log, zap.DebugLevel)
	if err != nil {
		logger = zap.NewStdLog(log)
	}
	return &http.Server{
		Handler:                      begun(h),
		ConnContext:                  withConn,
		ConnState:                    connState,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     logger,
	}
}
