// Package api is the HTTP side of trackchat: it turns requests into calls of a queue.Messages and
// answers in the form that clients of the platform expect.
package api

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"trackchat/api/audit"
	"trackchat/api/auth"
	"trackchat/api/console"
	"trackchat/api/live"
	"trackchat/api/navixy"
	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Defaults of Options.
const (
	DefaultMaxBody = 1 << 20
	DefaultTimeout = 5 * time.Second

	DefaultSessionLife = 30 * 24 * time.Hour
)

// Options configure an API. Store, Sessions, Feed, Directory and Now are required.
type Options struct {
	Store       queue.Messages // has to return soon after its context is done
	Directory   *queue.Directory
	Sessions    queue.SessionStore
	Feed        live.Store
	Now         func() time.Time
	Logger      *zap.Logger           // nil: none
	Audit       *audit.Log            // nil: none
	Registerer  prometheus.Registerer // nil: figures are kept but not registered
	RateLimit   float64               // requests a second for each key; 0: no limit
	MaxBody     int64                 // bytes; 0: DefaultMaxBody
	Timeout     time.Duration         // of the store in one request; 0: DefaultTimeout
	SessionLife time.Duration         // of a login; 0: DefaultSessionLife
	Full        func() bool           // reports that memory is short: no new texts then; nil: never
	// bytes of the process, of which requests and logins get a share; 0: not known.
	MemoryLimit int64
	// all but one of them may verify passwords; 0: those that Go uses.
	Processors  int
	CORSOrigins []string // nil or containing "*": every origin; empty: none
	// TrustedProxies are the networks of those whose X-Forwarded-For and Forwarded are believed.
	TrustedProxies []netip.Prefix
	FeedBuffer     int // events that one slow client may lag behind; 0: 1024
	// Capabilities says what a tracker's device can be sent; false: nothing. It is safe for
	// concurrent use. nil: of no device it is known.
	Capabilities func(t *queue.Tracker) (Capabilities, bool)
}

// API answers the operations. It is safe for concurrent use. One with a live feed is to be closed.
type API struct {
	store     queue.Messages
	directory *queue.Directory
	now       func() time.Time
	log       *zap.Logger
	audit     *audit.Log
	limiter   *auth.Limiter
	sessions  *auth.Sessions
	logins    *auth.LoginLimiter
	clients   *clients
	places    admission
	room      *auth.FairShare // for requests in memory, in bytes
	feed      *live.Feed
	requests  *requestIDs
	maxBody   int64
	timeout   time.Duration
	full      func() bool
	can       func(t *queue.Tracker) (Capabilities, bool)
	cors      *cors
	metrics   *metrics
	zones     zones
	routes    routes
	console   *console.Site
	zipped    http.Handler // answer, compressed
	bodies    sync.Pool    // *[]byte
	answers   sync.Pool    // *[]byte

	// Header values shared by all answers.
	jsonType, noStore, noSniff []string
}

var _ http.Handler = (*API)(nil)

// New returns the API as a handler for the root of a listener.
func New(o Options) *API {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.SessionLife <= 0 {
		o.SessionLife = DefaultSessionLife
	}
	if o.Full == nil {
		o.Full = func() bool { return false }
	}
	if o.Capabilities == nil {
		o.Capabilities = func(*queue.Tracker) (Capabilities, bool) { return Capabilities{}, false }
	}
	a := &API{
		store:     o.Store,
		directory: o.Directory,
		now:       o.Now,
		log:       o.Logger,
		audit:     o.Audit,
		limiter:   auth.NewLimiter(o.RateLimit),
		logins:    auth.NewLoginLimiter(o.Processors, o.MemoryLimit),
		clients:   &clients{trusted: o.TrustedProxies, log: o.Logger},
		places:    newAdmission(),
		room:      newRequestRoom(o.MemoryLimit, o.MaxBody),
		requests:  newRequestIDs(),
		maxBody:   o.MaxBody,
		timeout:   o.Timeout,
		full:      o.Full,
		can:       o.Capabilities,
		cors:      newCORS(o.CORSOrigins),
		metrics:   newMetrics(o.Registerer),
		zones:     zones{log: o.Logger},
		sessions:  auth.NewSessions(o.Sessions, o.SessionLife),
		console:   console.NewChat(),
		jsonType:  []string{"application/json; charset=utf-8"},
		noStore:   []string{"no-store"},
		noSniff:   []string{"nosniff"},
	}
	a.feed = live.NewFeed(live.Options{
		Store: o.Feed, Directory: o.Directory, Sessions: o.Sessions, Now: o.Now, Logger: o.Logger,
		Registerer: o.Registerer, Timeout: o.Timeout, Buffer: o.FeedBuffer,
	})
	registerRoom(o.Registerer, a.room)
	a.routes = a.operations()
	a.zipped = zipped(a.answer)
	return a
}

// Feed is the live feed, which Close closes.
func (a *API) Feed() *live.Feed { return a.feed }

// Close ends the streams of the live feed: their clients come back to whoever answers then. Other
// requests are not touched.
func (a *API) Close() {
	a.feed.Close()
}

// call is one request of a known caller. Everything in it comes from the same snapshot of the
// directory.
type call struct {
	account *queue.Account // nil in an open operation
	key     queue.KeyHash  // what the caller showed
	session bool           // key is a session's
	client  client
	request string // id
	snap    *queue.Snapshot
	read    *navixy.Reader
	header  http.Header
	now     time.Time
	out     *response
	trail   *audit.Event // of an operation that has an action; it names the object
}

// operation is one action of a handler.
type operation struct {
	route   string // as metrics and logs name it
	run     func(context.Context, *call) error
	offline navixy.Code // the answer where the store fails
	open    bool        // needs no hash
	// goes on until the client leaves: neither the store's timeout nor a place among the running is
	// for it.
	stream bool
	action string // as the audit names it; empty: the audit has nothing of it

	succeeded func() prometheus.Observer
}

// routes are the operations by handler and action.
type routes map[string]map[string]*operation

func (a *API) operations() routes {
	on := func(route string, offline navixy.Code,
		run func(context.Context, *call) error,
	) *operation {
		return &operation{
			route: route, run: run, offline: offline,
			succeeded: a.metrics.succeeded(route),
		}
	}
	rs := routes{
		"tracker/chat": {
			"list":          on("tracker/chat/list", navixy.CodeDatabase, a.list),
			"send":          on("tracker/chat/send", navixy.CodeQueueService, a.send),
			"broadcast":     on("tracker/chat/broadcast", navixy.CodeQueueService, a.broadcast),
			"read":          on("tracker/chat/read", navixy.CodeDatabase, a.readOne),
			"cancel":        on("tracker/chat/cancel", navixy.CodeDatabase, a.cancel),
			"capabilities":  on("tracker/chat/capabilities", navixy.CodeDatabase, a.capabilities),
			"mark_read":     on("tracker/chat/mark_read", navixy.CodeDatabase, a.markRead),
			"mark_read_all": on("tracker/chat/mark_read_all", navixy.CodeDatabase, a.markReadAll),
		},
		"tracker/chat/updated": {"list": on("tracker/chat/updated/list", navixy.CodeDatabase,
			a.updatedList)},
		"tracker/chat/unread": {"count": on("tracker/chat/unread/count", navixy.CodeDatabase,
			a.unreadCount)},
		"tracker": {
			"list": on("tracker/list", navixy.CodeDatabase, a.trackerList),
			"read": on("tracker/read", navixy.CodeDatabase, a.trackerRead),

			"get_state":  on("tracker/get_state", navixy.CodeDatabase, a.trackerState),
			"get_states": on("tracker/get_states", navixy.CodeDatabase, a.trackerStates),
		},
		"tracker/group": {"list": on("tracker/group/list", navixy.CodeDatabase, a.groupList)},
		"employee":      {"list": on("employee/list", navixy.CodeDatabase, a.employeeList)},
		"user": {
			"get_info": on("user/get_info", navixy.CodeDatabase, a.userInfo),
			"auth":     on("user/auth", navixy.CodeDatabase, a.userAuth),
			"logout":   on("user/logout", navixy.CodeDatabase, a.userLogout),
		},
		"user/session": {"renew": on("user/session/renew", navixy.CodeDatabase, a.userRenew)},
	}
	rs["tracker/chat"]["events"] = on("tracker/chat/events", navixy.CodeDatabase, a.events)
	rs["tracker/chat"]["events"].stream = true
	rs["user"]["auth"].open = true
	rs["user"]["auth"].action = "user/auth"
	rs["user"]["logout"].action = "user/logout"
	rs["tracker/chat"]["cancel"].action = "message/cancel"
	return rs
}

// zones caches time zones, because loading one reads a file. Only names of the directory get here,
// so it is bounded by the zones that exist.
type zones struct {
	log    *zap.Logger
	loaded sync.Map // name -> *time.Location
}

// find returns the zone of that IANA name; UTC for an empty or unknown one, which the log then
// names once.
func (z *zones) find(name string) *time.Location {
	if l, ok := z.loaded.Load(name); ok {
		return l.(*time.Location)
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		z.log.Error("unknown time zone of an account, using UTC", zap.String("zone", name),
			zap.Error(err))
		l = time.UTC
	}
	z.loaded.Store(name, l)
	return l
}
