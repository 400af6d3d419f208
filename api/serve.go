package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"trackchat/api/audit"
	"trackchat/api/auth"
	"trackchat/api/navixy"
	"trackchat/queue"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// ServeHTTP answers any path and method in the API's own form.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == openAPIPath && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		a.serveOpenAPI(w, r)
		return
	}
	if a.console.Serves(r) {
		a.console.ServeHTTP(w, r)
		return
	}
	if op, err := a.route(r); err == nil && op != nil && op.live {
		a.answer(w, r) // what is compressed waits for more
		return
	}
	a.zipped.ServeHTTP(w, r)
}

// answer is ServeHTTP for the operations.
func (a *API) answer(w http.ResponseWriter, r *http.Request) {
	begin := a.now()
	h := w.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = a.jsonType, a.noStore,
		a.noSniff
	a.cors.apply(h, r)
	x := &exchange{id: [1]string{a.requests.of(r.Header)}, load: a.newLoad(w, r)}
	id := x.id[0]
	h["X-Request-Id"] = x.id[:]

	buf, _ := a.answers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	out := &x.out
	out.w, out.buf, out.head = w, (*buf)[:0], r.Method == http.MethodHead
	op, err := a.route(r)
	if op != nil && op.stream {
		out.buf = nil // a stream would keep it
	}
	route := routeOther
	if op != nil {
		route = op.route
	}
	if err == nil && op != nil {
		err = a.serve(r, op, x)
	} else if err == nil {
		out.buf = append(out.buf, navixy.Success...)
	}
	a.record(op, &x.call, err)
	c := a.finish(out, op, err, id)
	if cap(out.buf) <= keepBuf {
		*buf = out.buf
		a.answers.Put(buf)
	}
	took := a.now().Sub(begin)
	// how long a stream takes is its client's affair.
	streamed := op != nil && op.stream && out.started && c == navixy.CodeOK
	switch {
	case streamed:
	case c == navixy.CodeOK && op != nil:
		op.succeeded().Observe(took.Seconds())
	default:
		a.metrics.observe(route, c, err, took)
	}
	a.logRequest(r, out, requestLine{
		id: id, route: route, code: c, took: took,
		slow: took >= slowRequest && !streamed,
	})
	if out.cut {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
}

// exchange is what one request needs, in one piece of memory.
type exchange struct {
	id   [1]string // as a header's values
	load load
	out  response
	call call
	read navixy.Reader
}

// route finds the operation of a request; neither an operation nor an error means OPTIONS.
func (a *API) route(r *http.Request) (*operation, error) {
	if r.Method == http.MethodOptions {
		return nil, nil //nolint:nilnil // said above
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	for _, prefix := range [...]string{"v2/", "api-v2/"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			path = rest
			break
		}
	}
	path = strings.TrimSuffix(path, "/")
	i := strings.LastIndexByte(path, '/')
	actions, ok := a.routes[path[:max(i, 0)]]
	if !ok {
		return nil, navixy.Refuse(navixy.CodeWrongHandler)
	}
	op, ok := actions[path[i+1:]]
	if !ok {
		return nil, navixy.Refuse(navixy.CodeWrongMethod)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return op, navixy.Refuse(navixy.CodeWrongMethod)
	}
	return op, nil
}

// serve runs an operation. The order of the checks is part of the API: format, hash, rate,
// parameters, and what the operation itself finds.
func (a *API) serve(r *http.Request, op *operation, x *exchange) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a.metrics.panics.Inc()
			a.log.Error("panic in a handler", zap.String("request", x.id[0]), zap.String("route",
				op.route), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = navixy.Refuse(navixy.CodeUnexpected)
		}
	}()
	defer x.load.leave()
	body, err := a.body(r, &x.load)
	if body != nil && !op.stream { // the parameters refer to it
		defer a.keepBody(body)
	}
	if err != nil {
		return err
	}
	c := &x.call
	*c = call{
		snap: a.directory.Current(), read: &x.read, out: &x.out, header: r.Header,
		client: a.clients.of(r), request: x.id[0], framed: r.ProtoAtLeast(1, 1),
	}
	if op.action != "" {
		c.trail = &audit.Event{Action: op.action, Remote: c.client.remote, Request: c.request}
	}
	c.read.Clock.Zone = time.UTC
	if c.read.Params, err = readParams(r, body); err != nil {
		return err
	}
	if err := a.within(r, op, c); err != nil || !op.stream {
		return err
	}
	return op.run(r.Context(), c)
}

func readParams(r *http.Request, body *[]byte) (navixy.Params, error) {
	if body == nil {
		return navixy.ParseParams("", nil, r.URL.RawQuery)
	}
	return navixy.ParseParams(r.Header.Get("Content-Type"), *body, r.URL.RawQuery)
}

// within does what has to be done in the time of one request: all of it, except for a stream.
func (a *API) within(r *http.Request, op *operation, c *call) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	c.now = a.now()
	if op.open { // takes a place itself, once it needs the store
		return op.run(ctx, c)
	}
	if err := a.identify(ctx, c, r.Header); err != nil {
		return err
	}
	c.out.account = c.account.ID
	if !c.role().May(op.need) {
		return navixy.Refuse(navixy.CodeNotPermitted)
	}
	c.read.Clock.Zone = a.zones.find(c.account.TimeZone)
	c.read.Clock.ISO = c.read.Flag("iso_datetime", false) ||
		isTrue(r.Header.Get("NVX-ISO-DateTime"))
	if op.stream {
		return nil
	}
	if err := enter(ctx, a.places.running); err != nil {
		return err
	}
	defer a.places.running.Release()
	c.now = a.now()
	return op.run(ctx, c)
}

// identify finds out who is calling, and whether not too often.
func (a *API) identify(ctx context.Context, c *call, h http.Header) (err error) {
	if c.hash, err = callerHash(&c.read.Params, h); err != nil {
		return err
	}
	if c.caller, err = a.caller(ctx, c.snap, c.hash, c.now); err != nil {
		return err
	}
	auth.Known(ctx, accountPlace(c.account.ID))
	if d := a.limiter.Wait(c.hash, c.now); d > 0 {
		return &navixy.Refusal{Code: navixy.CodeTooMany, Retry: retryAfter(d)}
	}
	return nil
}

// retryAfter is a wait in the whole seconds of the header.
func retryAfter(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

func isTrue(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// record tells the audit what became of an operation that it has, unless it is not known who asked.
func (a *API) record(op *operation, c *call, err error) {
	if c.trail == nil {
		return
	}
	if c.account != nil {
		c.trail.Actor = c.actor()
	}
	if c.trail.Kind == "" {
		return
	}
	if err != nil {
		c.trail.Code = op.refusal(err).Code
	}
	a.audit.Write(*c.trail)
}

// actor is the caller as the audit names him.
func (c *call) actor() audit.Actor {
	actor := audit.Actor{Account: c.account.ID, Kind: audit.User, Name: c.account.Login}
	switch {
	case c.key != nil:
		actor.Kind, actor.ID, actor.Name = audit.Key, c.key.ID(), c.key.Name
	case c.user != nil:
		actor.ID, actor.Name = strconv.FormatInt(c.user.ID, 10), c.user.Login
	}
	return actor
}

// refusal is the answer to an error.
func (op *operation) refusal(err error) *navixy.Refusal {
	if r, ok := errors.AsType[*navixy.Refusal](err); ok {
		return r
	}
	return &navixy.Refusal{Code: op.offline} // a failure of the store
}

// finish writes the answer and returns its code.
func (a *API) finish(out *response, op *operation, err error, id string) navixy.Code {
	if err == nil {
		out.finish(http.StatusOK)
		return navixy.CodeOK
	}
	if _, ok := errors.AsType[*navixy.Refusal](err); !ok {
		out.told = a.logFailure(op.route, id, out, err)
	}
	answer := op.refusal(err)
	if out.started {
		out.cut = true
		return answer.Code
	}
	if answer.Retry > 0 {
		out.w.Header()["Retry-After"] = []string{strconv.Itoa(answer.Retry)}
	}
	out.buf = answer.Append(out.buf[:0])
	_, status := answer.Code.Answer()
	out.finish(status)
	return answer.Code
}

// logFailure notes a failed store call and reports whether it did; one that ended because the
// client went away is no failure.
func (a *API) logFailure(route, id string, out *response, err error) bool {
	log := a.log.With(zap.String("request", id), zap.String("route", route), zap.Int64("account",
		int64(out.account)))
	switch {
	case errors.Is(err, context.Canceled):
		log.Debug("client went away")
		return false
	case errors.Is(err, queue.ErrCorrupt):
		log.Error("store holds unreadable data", zap.Error(err))
	default:
		log.Warn("store call failed", zap.Error(err))
	}
	return true
}

const maxRequestID = 64

// requestIDs names requests in answers and logs, so that a client's complaint finds its line.
type requestIDs struct {
	run  string // of this process
	last atomic.Uint64
}

func newRequestIDs() *requestIDs { return &requestIDs{run: auth.NewKey()[:8] + "-"} }

// of returns the name that the client or a proxy gave, if it is one that can be put into a header
// and a log, else a new one.
func (r *requestIDs) of(h http.Header) string {
	if id := h.Get("X-Request-Id"); id != "" && len(id) <= maxRequestID && isToken(id) {
		return id
	}
	var buf [32]byte
	return string(strconv.AppendUint(append(buf[:0], r.run...), r.last.Add(1), 36))
}

func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_',
			c == '.':
		default:
			return false
		}
	}
	return true
}

// slowRequest is from where on a request is worth a line by itself.
const slowRequest = time.Second

// requestLine is what the access log tells of a request beyond the request itself.
type requestLine struct {
	id    string
	route string
	code  navixy.Code
	took  time.Duration
	slow  bool
}

// logRequest writes the access log: every request at debug, at info those that were slow or failed
// on this side, unless the log says already why. It names neither parameters nor paths, which may
// hold keys and texts.
func (a *API) logRequest(r *http.Request, out *response, l requestLine) {
	level := zapcore.DebugLevel
	failed := slices.Contains([]navixy.Code{
		navixy.CodeUnexpected, navixy.CodeQueueService, navixy.CodeDatabase,
	}, l.code)
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
