package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
)

const (
	certificateEvery = 10 * time.Second // how often the files are looked at
	// before its end a certificate is warned of when it is read.
	certificateNotice = 14 * 24 * time.Hour
	tlsVersion        = uint16(tls.VersionTLS12)
)

// certificate is a key pair in two files, and the authorities in a third whose clients alone are
// let in; all are read again when one of them changes. Connections that there are keep what they
// began with.
type certificate struct {
	certFile, keyFile string
	caFile            string // empty: clients need no certificate
	current           atomic.Pointer[tls.Certificate]
	config            atomic.Pointer[tls.Config] // with the newest authorities

	mu    sync.Mutex // guards marks, and makes one reader at a time
	marks [3]fileMark
}

// fileMark is what a changed file shows of itself.
type fileMark struct {
	modified time.Time
	size     int64
}

func markOf(name string) fileMark {
	info, err := os.Stat(name)
	if err != nil {
		return fileMark{} // reading it tells
	}
	return fileMark{info.ModTime(), info.Size()}
}

// get is for tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// configFor is for tls.Config.GetConfigForClient.
func (c *certificate) configFor(*tls.ClientHelloInfo) (*tls.Config, error) {
	return c.config.Load(), nil
}

// refresh reads the files if one has changed since they were read last, in any case if always.
// After an error everything that was good stays in use, and is not tried again until the files
// change.
func (c *certificate) refresh(always bool) (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks := [3]fileMark{markOf(c.certFile), markOf(c.keyFile)}
	if c.caFile != "" {
		marks[2] = markOf(c.caFile)
	}
	if marks == c.marks && !always {
		return false, nil
	}
	c.marks = marks // from before the reading: what changes meanwhile is seen the next time
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, fmt.Errorf("reading certificate %s and key %s: %w", c.certFile, c.keyFile,
			err)
	}
	conf := &tls.Config{GetCertificate: c.get, MinVersion: tlsVersion}
	if c.caFile != "" {
		if conf.ClientCAs, err = readAuthorities(c.caFile); err != nil {
			return false, fmt.Errorf("client_ca: %w", err)
		}
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.current.Store(&pair)
	c.config.Store(conf)
	return true, nil
}

func readAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// certificates are those of all listeners.
type certificates struct {
	log     *zap.Logger
	expires prometheus.Gauge
	failed  prometheus.Counter
	every   time.Duration // how often watch looks

	mu        sync.Mutex
	list      []*certificate
	upstreams map[int]*upstreamTLS // by listener
}

func newCertificates(log *zap.Logger, reg prometheus.Registerer) *certificates {
	f := promauto.With(reg)
	return &certificates{
		log: log, every: certificateEvery, upstreams: map[int]*upstreamTLS{},
		expires: f.NewGauge(prometheus.GaugeOpts{
			Name: "trackchat_certificate_expires_seconds",
			Help: "Unix time at which the first of the TLS certificates in use ends, 0 without any.",
		}),
		failed: f.NewCounter(prometheus.CounterOpts{
			Name: "trackchat_certificate_errors_total",
			Help: "Times changed certificate files could not be used; the certificate before stays in use.",
		}),
	}
}

// config reads a key pair, and authorities for client certificates where caFile is not empty, and
// returns a configuration that always shows their newest state.
func (cs *certificates) config(certFile, keyFile, caFile string) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, caFile: caFile}
	if _, err := c.refresh(true); err != nil {
		return nil, err
	}
	cs.mu.Lock()
	cs.list = append(cs.list, c)
	cs.mu.Unlock()
	cs.tell(c)
	conf := &tls.Config{GetCertificate: c.get, MinVersion: tlsVersion}
	if caFile != "" {
		conf.GetConfigForClient = c.configFor
	}
	return conf, nil
}

// refresh reads what has changed, or everything if always.
func (cs *certificates) refresh(always bool) error {
	cs.mu.Lock()
	list, upstreams := cs.list, slices.Collect(maps.Values(cs.upstreams))
	cs.mu.Unlock()
	var errs []error
	for _, u := range upstreams {
		changed, err := u.refresh(always)
		if err != nil {
			cs.failed.Inc()
			errs = append(errs, fmt.Errorf("the authorities before stay in use: %w", err))
		}
		if changed {
			cs.log.Info("authorities read", zap.String("file", u.upstream.CA))
		}
	}
	for _, c := range list {
		changed, err := c.refresh(always)
		if err != nil {
			cs.failed.Inc()
			errs = append(errs, fmt.Errorf("the certificate before stays in use: %w", err))
		}
		if changed {
			cs.log.Info("certificate read", zap.String("file", c.certFile), zap.Time("expires",
				c.current.Load().Leaf.NotAfter))
			cs.tell(c)
		}
	}
	return errors.Join(errs...)
}

// tell warns of a certificate that is about to end and brings the figure up to date.
func (cs *certificates) tell(c *certificate) {
	if end := c.current.Load().Leaf.NotAfter; time.Until(end) < certificateNotice {
		cs.log.Warn("certificate ends soon", zap.String("file", c.certFile), zap.Time("expires",
			end))
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	first := int64(0)
	for _, c := range cs.list {
		if end := c.current.Load().Leaf.NotAfter.Unix(); first == 0 || end < first {
			first = end
		}
	}
	cs.expires.Set(float64(first))
}

// startCertificates has the files of certificates looked after.
func (a *App) startCertificates(ctx context.Context) error {
	a.meanwhile(ctx, a.certs.watch)
	return nil
}

// watch looks at the files now and then until ctx ends.
func (cs *certificates) watch(ctx context.Context) {
	every(ctx, cs.every, func(context.Context) {
		if err := cs.refresh(false); err != nil {
			cs.log.Error("certificate not replaced", zap.Error(err))
		}
	})
}
