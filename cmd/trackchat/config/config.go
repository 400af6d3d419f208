// Package config reads what an operator writes: the configuration and the directory file. Whatever
// is wrong is told at once, each problem with its place.
package config

import (
	"fmt"
	"os"
	"slices"
	"time"

	"trackchat/protocol/all"
)

// Config is the whole configuration. Names and defaults are a contract: configs/trackchat.yaml
// lists them, and others write scripts against them. Values of keys that are tagged secret are
// never shown.
type Config struct {
	Node      string    `yaml:"node"`
	Roles     []string  `yaml:"roles"`
	Store     Store     `yaml:"store"`
	API       API       `yaml:"api"`
	Admin     Admin     `yaml:"admin"`
	Gateway   Gateway   `yaml:"gateway"`
	Webhooks  Webhooks  `yaml:"webhooks"`
	Directory Directory `yaml:"directory"`
	Log       Log       `yaml:"log"`
}

// Values of Config.Roles, Store.Backend, Store.Durability and Log.Format.
const (
	RoleAPI     = "api"
	RoleGateway = "gateway"

	BackendEmbedded = "embedded"
	BackendRedis    = "redis"

	DurabilityAlways   = "always"
	DurabilityEverysec = "everysec"

	FormatConsole = "console"
	FormatJSON    = "json"
)

// Store says where messages are kept and how safely.
type Store struct {
	Backend         string `yaml:"backend"`
	Path            string `yaml:"path"`
	Redis           Redis  `yaml:"redis"`
	Durability      string `yaml:"durability"`
	AllowVolatile   bool   `yaml:"allow_volatile"`
	TrustDurability bool   `yaml:"trust_durability"` // of a Redis that does not tell its CONFIG
	// of the embedded store; 0: by the memory limit.
	Cache      Size     `yaml:"cache"`
	Retention  Duration `yaml:"retention"` // 0: for ever
	MaxPending int      `yaml:"max_pending"`
}

// Redis says how Redis is reached: several addresses are a Cluster, a master name makes them
// Sentinels.
type Redis struct {
	Addrs    []string `yaml:"addrs"`
	Username string   `yaml:"username"`
	Password string   `yaml:"password" secret:"true"`
	TLS      bool     `yaml:"tls"`
	Master   string   `yaml:"master"`
	CA       string   `yaml:"ca"`   // of a private authority; empty: the system's
	Cert     string   `yaml:"cert"` // shown to Redis
	Key      string   `yaml:"key"`
}

// API is the HTTP side for dispatchers.
type API struct {
	Listen      string   `yaml:"listen"`
	TLSCert     string   `yaml:"tls_cert"`
	TLSKey      string   `yaml:"tls_key"`
	RateLimit   float64  `yaml:"rate_limit"` // requests a second for each key; 0: off
	MaxBody     Size     `yaml:"max_body"`
	Timeout     Duration `yaml:"timeout"`
	SessionLife Duration `yaml:"session_life"`
	CORSOrigins []string `yaml:"cors_origins"`
	FeedBuffer  int      `yaml:"feed_buffer"` // events for each client

	// networks whose X-Forwarded-For and Forwarded are believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
}

// Admin is the listener for operators.
type Admin struct {
	Listen string `yaml:"listen"`
	Token  string `yaml:"token" secret:"true"`
}

// Gateway is the side towards trackers.
type Gateway struct {
	Listeners    []Listener `yaml:"listeners"`
	LoginTimeout Duration   `yaml:"login_timeout"`
	IdleTimeout  Duration   `yaml:"idle_timeout"`
	AckTimeout   []Duration `yaml:"ack_timeout"`
	RetryIdle    Duration   `yaml:"retry_idle"`
	MaxAttempts  int        `yaml:"max_attempts"`
	Repoll       Duration   `yaml:"repoll"`
	Limits       Limits     `yaml:"limits"`
}

// Listener is one port for one protocol.
type Listener struct {
	Protocol string `yaml:"protocol"`
	Listen   string `yaml:"listen"` // default: the protocol's port on all addresses
	TLSCert  string `yaml:"tls_cert"`
	TLSKey   string `yaml:"tls_key"`
	ClientCA string `yaml:"client_ca"`
	// networks whose PROXY header is believed.
	ProxyProtocol []string          `yaml:"proxy_protocol"`
	MaxConns      int               `yaml:"max_conns"` // 0: no bound of its own
	Settings      map[string]string `yaml:"settings"`

	Upstream *Upstream `yaml:"upstream"` // nil: this is the server of its devices itself
	// what devices send beside chat is lost without Upstream, and that is as it should be.
	DiscardPositions bool `yaml:"discard_positions"`
}

// Limits bounds what trackers can take; 0 switches a limit off.
type Limits struct {
	Unauthenticated int     `yaml:"unauthenticated"`
	PerIP           int     `yaml:"per_ip"`
	AcceptRate      float64 `yaml:"accept_rate"` // connections a second
	Unsent          Size    `yaml:"unsent"`      // of one connection
	FramesPerSecond int     `yaml:"frames_per_second"`
	TextsPerMinute  int     `yaml:"texts_per_minute"`
	SendBuffer      Size    `yaml:"send_buffer"` // of one socket, in the kernel
}

// Webhooks is about calls to the accounts' own servers.
type Webhooks struct {
	AllowPrivate bool     `yaml:"allow_private"`
	Timeout      Duration `yaml:"timeout"`
	RetryFor     Duration `yaml:"retry_for"`
}

// Directory names the file of accounts and trackers.
type Directory struct {
	File  string `yaml:"file"`
	Prune bool   `yaml:"prune"`
}

// Log is about the log.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Default returns the configuration of an empty file, except that Node is still empty.
func Default() *Config {
	return &Config{
		Roles: []string{RoleAPI, RoleGateway},
		Store: Store{
			Backend:    BackendEmbedded,
			Path:       "data",
			Redis:      Redis{Addrs: []string{"127.0.0.1:6379"}},
			Durability: DurabilityAlways,
			Retention:  Duration(90 * 24 * time.Hour),
			MaxPending: 1000,
		},
		API: API{
			Listen:      "127.0.0.1:8080",
			RateLimit:   50,
			MaxBody:     1 << 20,
			Timeout:     Duration(5 * time.Second),
			SessionLife: Duration(30 * 24 * time.Hour),
			CORSOrigins: []string{"*"},
			FeedBuffer:  1024,

			TrustedProxies: []string{},
		},
		Admin:    Admin{Listen: "127.0.0.1:8081"},
		Gateway:  defaultGateway(),
		Webhooks: Webhooks{Timeout: Duration(10 * time.Second), RetryFor: Duration(24 * time.Hour)},
		Log:      Log{Level: "info", Format: FormatConsole},
	}
}

func defaultGateway() Gateway {
	return Gateway{
		Listeners:    defaultListeners(),
		LoginTimeout: Duration(30 * time.Second),
		IdleTimeout:  Duration(15 * time.Minute),
		AckTimeout: []Duration{
			Duration(10 * time.Second), Duration(20 * time.Second),
			Duration(time.Minute),
		},
		RetryIdle:   Duration(10 * time.Minute),
		MaxAttempts: 5,
		Repoll:      Duration(time.Minute),
		Limits: Limits{
			Unauthenticated: 10_000,
			PerIP:           10_000,
			AcceptRate:      5000,
			Unsent:          64 << 10,
			FramesPerSecond: 1000,
			TextsPerMinute:  60,
			SendBuffer:      32 << 10,
		},
	}
}

// defaultListeners is every protocol that is built in, on its own port.
func defaultListeners() []Listener {
	protocols := all.Protocols()
	listeners := make([]Listener, len(protocols))
	for i, p := range protocols {
		listeners[i] = Listener{Protocol: p.Name, Listen: portAddress(p.Port)}
	}
	return listeners
}

func portAddress(port int) string { return fmt.Sprintf(":%d", port) }

// HasRole reports whether this process plays a role.
func (c *Config) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// Load reads the configuration: defaults, over them the file (none if its name is empty), over that
// the environment. What is wrong with the content is a *ConfigError that names every problem; other
// errors say that the file cannot be read.
func Load(file string, environ []string) (*Config, error) {
	var data []byte
	if file != "" {
		var err error
		if data, err = readLimited(file, maxConfigFile); err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
	}
	l := newLoader(environ)
	c := Default()
	l.file(data, c)
	l.environment(c)
	if c.Node == "" {
		name, err := os.Hostname()
		if err != nil {
			l.report("node", "empty, and this machine does not tell its name: %v", err)
		}
		c.Node = name
	}
	l.complete(c)
	l.check(c)
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}
