package config

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"trackchat/protocol/all"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// report adds a problem about one key.
func (l *loader) report(path, format string, args ...any) {
	l.decoder.report(l.originOf(path), path, format, args...)
}

// originOf finds where a key's value came from; an element's is that of its list where nothing
// better is known.
func (l *loader) originOf(path string) origin {
	for p := path; p != ""; p = parentPath(p) {
		if o, ok := l.origins[p]; ok {
			return o
		}
	}
	return origin{}
}

// show quotes a value for a problem: as it was written, so that what ${NAME} stands for stays
// unseen.
func (l *loader) show(path, value string) string {
	if o := l.origins[path]; o.expanded {
		value = o.raw
	}
	return quote(value, false)
}

// between reports a number outside lo to hi.
func between[T cmp.Ordered](l *loader, path string, v, lo, hi T) {
	if v < lo || v > hi {
		l.report(path, "%v is outside %v to %v", v, lo, hi)
	}
}

func (l *loader) oneOf(path, value string, words ...string) {
	if !slices.Contains(words, value) {
		l.report(path, "%s is none of %s", l.show(path, value), strings.Join(words, ", "))
	}
}

// duration reports a duration outside lo to hi.
func (l *loader) duration(path string, v Duration, lo, hi time.Duration) {
	between(l, path, v, Duration(lo), Duration(hi))
}

// complete fills in what depends on other keys.
func (l *loader) complete(c *Config) {
	for i := range c.Gateway.Listeners {
		ln := &c.Gateway.Listeners[i]
		if p, ok := all.Find(ln.Protocol); ok && ln.Listen == "" {
			ln.Listen = portAddress(p.Port)
		}
	}
}

// check reports every value that makes no sense.
func (l *loader) check(c *Config) {
	l.checkNode(c)
	l.checkStore(c)
	l.checkAPI(c)
	l.checkAdmin(c)
	l.checkGateway(c)
	l.checkRest(c)
	l.checkAddresses(c)
}

func (l *loader) checkNode(c *Config) {
	const longest = 253 // of a host name
	if len(c.Node) > longest || strings.ContainsFunc(c.Node, notGraphic) {
		l.report("node", "%s is not a name of at most %d letters, digits and signs", l.show("node",
			c.Node), longest)
	}
	known := true
	for i, role := range c.Roles {
		path := fmt.Sprintf("roles[%d]", i)
		l.oneOf(path, role, RoleAPI, RoleGateway)
		if slices.Index(c.Roles, role) < i {
			l.report(path, "%s is given twice", l.show(path, role))
		}
		known = known && (role == RoleAPI || role == RoleGateway)
	}
	switch {
	case !known:
	case len(c.Roles) == 0:
		l.report("roles", "empty; api, gateway or both are expected")
	case c.Store.Backend == BackendEmbedded && (!c.HasRole(RoleAPI) || !c.HasRole(RoleGateway)):
		l.report("roles", "the embedded store needs api and gateway in one process")
	}
}

// notGraphic is true for everything but the visible characters of ASCII.
func notGraphic(r rune) bool { return r <= ' ' || r > '~' }

func (l *loader) checkStore(c *Config) {
	s := &c.Store
	l.oneOf("store.backend", s.Backend, BackendEmbedded, BackendRedis)
	if s.Backend == BackendEmbedded && s.Path == "" {
		l.report("store.path", "empty; the embedded store needs a directory")
	}
	l.oneOf("store.durability", s.Durability, DurabilityAlways, DurabilityEverysec)
	if s.Cache != 0 {
		between(l, "store.cache", s.Cache, 1<<20, 1<<30)
	}
	if s.Retention != 0 {
		l.duration("store.retention", s.Retention, time.Minute, 100*year)
	}
	between(l, "store.max_pending", s.MaxPending, 1, 1_000_000)
	if s.Backend == BackendRedis && len(s.Redis.Addrs) == 0 {
		l.report("store.redis.addrs", "empty; at least one host:port is expected")
	}
	for i, a := range s.Redis.Addrs {
		l.address(fmt.Sprintf("store.redis.addrs[%d]", i), a, dialAddress)
	}
	l.checkRedisTLS(&s.Redis)
}

func (l *loader) checkRedisTLS(r *Redis) {
	for key, value := range map[string]string{"ca": r.CA, "cert": r.Cert, "key": r.Key} {
		if value != "" {
			l.onlyWithTLS("store.redis."+key, r.TLS)
		}
	}
	l.keyPair("store.redis.cert", r.Cert, "store.redis.key", r.Key)
	if r.CA != "" {
		l.certificatesIn("store.redis.ca", r.CA)
	}
}

func (l *loader) checkAPI(c *Config) {
	a := &c.API
	l.address("api.listen", a.Listen, listenAddress)
	l.certificate("api.", a.TLSCert, a.TLSKey)
	between(l, "api.rate_limit", a.RateLimit, 0, 1_000_000)
	between(l, "api.max_body", a.MaxBody, 1<<10, 1<<30)
	// the server gives an answer a minute in all.
	l.duration("api.timeout", a.Timeout, 10*time.Millisecond, 50*time.Second)
	l.duration("api.session_life", a.SessionLife, time.Minute, 10*year)
	for i, o := range a.CORSOrigins {
		if path := fmt.Sprintf("api.cors_origins[%d]", i); !isOrigin(o) {
			l.report(path, `%s is neither "*" nor an origin such as https://chat.example.com`,
				l.show(path, o))
		}
	}
	between(l, "api.feed_buffer", a.FeedBuffer, 1, 1_000_000)
	l.networks("api.trusted_proxies", a.TrustedProxies)
}

// isOrigin accepts what a browser can send as Origin: scheme, host and port, nothing else.
func isOrigin(s string) bool {
	if s == "*" {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		s == u.Scheme+"://"+u.Host
}

func (l *loader) checkAdmin(c *Config) {
	l.address("admin.listen", c.Admin.Listen, listenAddress)
	if strings.ContainsFunc(c.Admin.Token, notGraphic) {
		l.report("admin.token",
			"the (hidden) value holds characters that a header cannot carry; letters, digits and signs without spaces are expected")
	}
}

func (l *loader) checkGateway(c *Config) {
	g := &c.Gateway
	if c.HasRole(RoleGateway) && len(g.Listeners) == 0 {
		l.report("gateway.listeners", "empty; leave the key out for one port per protocol")
	}
	for i := range g.Listeners {
		l.checkListener(fmt.Sprintf("gateway.listeners[%d].", i), &g.Listeners[i])
	}
	l.duration("gateway.login_timeout", g.LoginTimeout, 100*time.Millisecond, 10*time.Minute)
	l.duration("gateway.idle_timeout", g.IdleTimeout, time.Second, 7*day)
	if n := len(g.AckTimeout); n == 0 || n > 20 {
		l.report("gateway.ack_timeout", "%d durations where 1 to 20 are expected", n)
	}
	for i, d := range g.AckTimeout {
		l.duration(fmt.Sprintf("gateway.ack_timeout[%d]", i), d, 10*time.Millisecond, time.Hour)
	}
	l.duration("gateway.retry_idle", g.RetryIdle, 100*time.Millisecond, 7*day)
	between(l, "gateway.max_attempts", g.MaxAttempts, 1, 1000)
	l.duration("gateway.repoll", g.Repoll, 100*time.Millisecond, time.Hour)

	m := &g.Limits
	const most = 100_000_000
	between(l, "gateway.limits.unauthenticated", m.Unauthenticated, 0, most)
	between(l, "gateway.limits.per_ip", m.PerIP, 0, most)
	between(l, "gateway.limits.accept_rate", m.AcceptRate, 0, most)
	between(l, "gateway.limits.frames_per_second", m.FramesPerSecond, 0, most)
	between(l, "gateway.limits.texts_per_minute", m.TextsPerMinute, 0, most)
	l.buffer("gateway.limits.unsent", m.Unsent)
	l.buffer("gateway.limits.send_buffer", m.SendBuffer)
}

// buffer reports a bound that no text fits into; 0 switches it off.
func (l *loader) buffer(path string, v Size) {
	if v != 0 {
		between(l, path, v, 4<<10, 1<<30)
	}
}

func (l *loader) checkRest(c *Config) {
	l.duration("webhooks.timeout", c.Webhooks.Timeout, 100*time.Millisecond, 5*time.Minute)
	l.duration("webhooks.retry_for", c.Webhooks.RetryFor, 0, 30*day)
	if f := c.Directory.File; f != "" {
		l.readable("directory.file", f)
	}
	l.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	l.oneOf("log.format", c.Log.Format, FormatConsole, FormatJSON)
}

// readable reports a file that cannot be read.
func (l *loader) readable(path, file string) bool {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait
		l.report(path, "%s is not a regular file", l.show(path, file))
		return false
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(file); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		l.report(path, "%s cannot be read: %v", l.show(path, file), cause(err))
		return false
	}
	return true
}

// cause is why a file operation failed, without the name of the file: that is what the
// configuration says, which may hold a ${NAME}.
func cause(err error) error {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // package os returns it unwrapped
		return pe.Err
	}
	return err
}

func validPort(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil
}
