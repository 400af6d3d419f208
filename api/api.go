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

// Options configure an API. Store, Accounts, Sessions, Feed, Directory and Now are required.
type Options struct {
	Store       queue.Messages // has to return soon after its context is done
	Directory   *queue.Directory
	Accounts    queue.LiveDirectory // whose rows Directory holds
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
	accounts  queue.LiveDirectory
	now       func() time.Time
	log       *zap.Logger
	audit     *audit.Log
	limiter   *auth.Limiter
	sessions  *auth.Sessions
	logins    *auth.LoginLimiter
	clients   *clients
	places    admission
	room      *auth.FairShare // for requests in memory, in bytes
	exports   *heavy
	searches  *heavy
	// broadcasts that are kept, and readings of large ones
	broadcasts *heavy
	feed       *live.Feed
	requests   *requestIDs
	maxBody    int64
	timeout    time.Duration
	full       func() bool
	can        func(t *queue.Tracker) (Capabilities, bool)
	cors       *cors
	metrics    *metrics
	zones      zones
	routes     routes
	console    *console.Site
	zipped     http.Handler // answer, compressed
	bodies     sync.Pool    // *[]byte
	answers    sync.Pool    // *[]byte

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
		store:      o.Store,
		directory:  o.Directory,
		accounts:   o.Accounts,
		now:        o.Now,
		log:        o.Logger,
		audit:      o.Audit,
		limiter:    auth.NewLimiter(o.RateLimit),
		logins:     auth.NewLoginLimiter(o.Processors, o.MemoryLimit),
		clients:    &clients{trusted: o.TrustedProxies, log: o.Logger},
		places:     newAdmission(),
		room:       newRequestRoom(o.MemoryLimit, o.MaxBody),
		exports:    newHeavy(maxExports, maxAccountExports),
		searches:   newHeavy(maxSearches, maxAccountSearches),
		broadcasts: newHeavy(maxBroadcasting, maxAccountBroadcasting),
		requests:   newRequestIDs(),
		maxBody:    o.MaxBody,
		timeout:    o.Timeout,
		full:       o.Full,
		can:        o.Capabilities,
		cors:       newCORS(o.CORSOrigins),
		metrics:    newMetrics(o.Registerer),
		zones:      zones{log: o.Logger},
		sessions:   auth.NewSessions(o.Sessions, o.SessionLife),
		console:    console.NewChat(),
		jsonType:   []string{"application/json; charset=utf-8"},
		noStore:    []string{"no-store"},
		noSniff:    []string{"nosniff"},
	}
	a.feed = live.NewFeed(live.Options{
		Store: o.Feed, Directory: o.Directory, Sessions: o.Sessions, Now: o.Now, Logger: o.Logger,
		Registerer: o.Registerer, Timeout: o.Timeout, Buffer: o.FeedBuffer,
	})
	registerRoom(o.Registerer, a.room)
	registerExports(o.Registerer, a.exports)
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
	caller
	hash    queue.KeyHash // what the caller showed
	client  client
	request string // id
	framed  bool   // the client sees where an answer breaks off
	snap    *queue.Snapshot
	read    *navixy.Reader
	groups  map[int64]bool // ids of the account's groups; nil: not looked at yet
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
	need    queue.Role  // what the caller has to be
	// goes on for as long as the client takes: neither the store's timeout nor a place among the
	// running is for it.
	stream bool
	live   bool   // a stream of which each piece is sent at once
	action string // as the audit names it; empty: the audit has nothing of it

	succeeded func() prometheus.Observer
}

// routes are the operations by handler and action.
type routes map[string]map[string]*operation

func (a *API) operation(need queue.Role, route string, offline navixy.Code,
	run func(context.Context, *call) error,
) *operation {
	return &operation{
		route: route, run: run, offline: offline, need: need,
		succeeded: a.metrics.succeeded(route),
	}
}

func (a *API) operations() routes {
	on := a.operation
	const (
		views, writes = queue.RoleViewer, queue.RoleDispatcher
		database      = navixy.CodeDatabase
		service       = navixy.CodeQueueService
	)
	rs := routes{
		"tracker/chat": {
			"list":          on(views, "tracker/chat/list", database, a.list),
			"search":        on(views, "tracker/chat/search", database, a.search),
			"send":          on(writes, "tracker/chat/send", service, a.send),
			"broadcast":     on(writes, "tracker/chat/broadcast", service, a.broadcast),
			"read":          on(views, "tracker/chat/read", database, a.readOne),
			"cancel":        on(writes, "tracker/chat/cancel", database, a.cancel),
			"capabilities":  on(views, "tracker/chat/capabilities", database, a.capabilities),
			"mark_read":     on(writes, "tracker/chat/mark_read", database, a.markRead),
			"mark_read_all": on(writes, "tracker/chat/mark_read_all", database, a.markReadAll),
			"export":        on(views, "tracker/chat/export", database, a.export),
			"events":        on(views, "tracker/chat/events", database, a.events),
		},
		"tracker/chat/broadcast": {
			"list": on(views, "tracker/chat/broadcast/list", database, a.broadcastList),
			"read": on(views, "tracker/chat/broadcast/read", database, a.broadcastRead),
		},
		"tracker/chat/updated": {
			"list": on(views, "tracker/chat/updated/list", database, a.updatedList),
		},
		"tracker/chat/unread": {
			"count": on(views, "tracker/chat/unread/count", database, a.unreadCount),
		},
		"tracker/chat/last": {"list": on(views, "tracker/chat/last/list", database, a.lastList)},
		"tracker": {
			"list": on(views, "tracker/list", database, a.trackerList),
			"read": on(views, "tracker/read", database, a.trackerRead),

			"get_state":  on(views, "tracker/get_state", database, a.trackerState),
			"get_states": on(views, "tracker/get_states", database, a.trackerStates),
		},
		"tracker/group": {"list": on(views, "tracker/group/list", database, a.groupList)},
		"employee":      {"list": on(views, "employee/list", database, a.employeeList)},
		"user": {
			"get_info": on(views, "user/get_info", database, a.userInfo),
			"auth":     on(views, "user/auth", database, a.userAuth),
			"logout":   on(views, "user/logout", database, a.userLogout),
		},
		"user/password": {
			"change": on(views, "user/password/change", database, a.userPassword),
		},
		"user/session": {"renew": on(views, "user/session/renew", database, a.userRenew)},
	}
	rs["tracker/chat"]["events"].stream, rs["tracker/chat"]["events"].live = true, true
	rs["tracker/chat"]["export"].stream = true
	rs["user"]["auth"].open = true
	rs["user"]["auth"].action = "user/auth"
	rs["user/password"]["change"].action = "user/password"
	rs["user"]["logout"].action = "user/logout"
	rs["tracker/chat"]["cancel"].action = "message/cancel"
	a.manage(rs)
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
