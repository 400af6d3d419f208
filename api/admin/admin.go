// Package admin answers the admin listener: metrics, health, and what administrators ask of
// accounts, trackers, webhooks and nodes.
package admin

import (
	"context"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"trackchat/api/audit"
	"trackchat/api/console"
	"trackchat/api/navixy"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// DefaultReadyTimeout is the time that Ready may take.
const DefaultReadyTimeout = 3 * time.Second

// Options configure the admin listener. Gatherer, Store, Webhooks, Sync and Now are required.
type Options struct {
	Gatherer prometheus.Gatherer
	// nil: always ready. Each of joined errors is named by itself.
	Ready        func(context.Context) error
	ReadyTimeout time.Duration // 0: DefaultReadyTimeout
	// of /admin and /debug; empty: /admin only for this machine, no /debug.
	Token string

	Store queue.LiveDirectory
	// brings this node's directory to what the store holds.
	Sync func(context.Context) error
	// what is wrong with a tracker's protocol, device id and settings; nil: nothing.
	Devices func(*queue.Tracker) []navixy.Problem
	Fleet   Fleet // nil: no nodes to be asked
	// the last warnings and errors of the log, newest first; nil: not to be had.
	Recent func() []Trouble
	// devices that are refused or do not acknowledge; nil: there are none.
	Trouble      func() DeviceTrouble
	Webhooks     queue.WebhookStore
	AllowPrivate bool // webhooks may point into private networks
	Now          func() time.Time
	Logger       *zap.Logger // nil: none
	Audit        *audit.Log  // nil: none
}

// New returns the handler of the admin listener: /metrics, /healthz, /readyz and the
// operations view at / for everybody, /admin/ for administrators, /debug/pprof/ for those with a
// token. The view is files only; what it shows beyond /metrics it asks /admin/ for, as any
// administrator does.
func New(o Options) http.Handler {
	if o.ReadyTimeout <= 0 {
		o.ReadyTimeout = DefaultReadyTimeout
	}
	debug := http.NewServeMux()
	debug.HandleFunc("/debug/pprof/", pprof.Index)
	debug.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	debug.HandleFunc("/debug/pprof/profile", pprof.Profile)
	debug.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	debug.HandleFunc("/debug/pprof/trace", pprof.Trace)
	notFound := func(w http.ResponseWriter, _ *http.Request) {
		(&navixy.Refusal{Code: navixy.CodeWrongHandler}).Write(w)
	}

	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		navixy.WriteJSON(w, http.StatusOK, []byte(`{"alive":true}`))
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) { serveReady(w, r, &o) })
	mux.Handle("/debug/pprof/", newDebugAuth(&o, debug))
	mux.Handle("/admin/", newTokenAuth(&o, newAdministration(&o, notFound)))
	view := console.NewOperations()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if view.Serves(r) {
			view.ServeHTTP(w, r)
			return
		}
		notFound(w, r)
	})
	return unkept(mux)
}

// unkept lets no answer be kept by anybody or taken for another type than it says.
func unkept(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// newAdministration returns the handler of /admin/.
func newAdministration(o *Options, notFound http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", notFound)
	a := &administration{
		store: o.Store, sync: o.Sync, devices: o.Devices, now: o.Now,
		log: o.Logger, hooks: o.Webhooks, audit: o.Audit,
	}
	if a.log == nil {
		a.log = zap.NewNop()
	}
	a.routes().register(mux)
	(&webhookAdmin{a, o.AllowPrivate}).routes().register(mux)
	if o.Recent != nil {
		(&troubleAdmin{a, o.Recent, o.Trouble}).routes().register(mux)
	}
	if o.Audit != nil {
		(&auditAdmin{a}).routes().register(mux)
	}
	if o.Fleet != nil {
		(&fleetAdmin{a, o.Fleet}).routes().register(mux)
	}
	return mux
}

// serveReady answers {"ready":true}, or 503 and {"ready":false,"problems":["…"]}.
func serveReady(w http.ResponseWriter, r *http.Request, o *Options) {
	ctx, cancel := context.WithTimeout(r.Context(), o.ReadyTimeout)
	defer cancel()
	var err error
	if o.Ready != nil {
		err = o.Ready(ctx)
	}
	if err == nil {
		navixy.WriteJSON(w, http.StatusOK, []byte(`{"ready":true}`))
		return
	}
	body := []byte(`{"ready":false,"problems":[`)
	for i, problem := range unjoin(err) {
		if i > 0 {
			body = append(body, ',')
		}
		body = navixy.AppendString(body, strings.TrimSpace(problem.Error()))
	}
	navixy.WriteJSON(w, http.StatusServiceUnavailable, append(body, `]}`...))
}

// unjoin returns the errors that errors.Join put together.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
