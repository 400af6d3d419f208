package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"trackchat/cmd/trackchat/config"
)

// UpstreamTLS is how a connection to address, that of an upstream or of a tracker's own one, is
// secured; nil: it is not. An error is about the file of authorities.
func UpstreamTLS(u *config.Upstream, address string) (*tls.Config, error) {
	if !u.TLS {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tlsVersion, ServerName: serverName(u, address)}
	if u.CA != "" {
		var err error
		if conf.RootCAs, err = readAuthorities(u.CA); err != nil {
			return nil, fmt.Errorf("upstream.ca: %w", err)
		}
	}
	return conf, nil
}

// serverName is whose certificate is expected of the upstream at address.
func serverName(u *config.Upstream, address string) string {
	if u.ServerName != "" {
		return u.ServerName
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address // it cannot be dialled either
	}
	return host
}

// upstreamTLS secures connections to the upstreams of one listener's devices; its file of
// authorities is read again when it changes. Connections that there are keep what they began with.
type upstreamTLS struct {
	upstream *config.Upstream
	current  atomic.Pointer[tls.Config] // for its own address, with the newest authorities

	mu   sync.Mutex // guards mark, and makes one reader at a time
	mark fileMark
}

// config is for one connection to address.
func (u *upstreamTLS) config(address string) *tls.Config {
	conf := u.current.Load()
	if address == u.upstream.Address {
		return conf
	}
	conf = conf.Clone()
	conf.ServerName = serverName(u.upstream, address)
	return conf
}

// refresh reads the file if it has changed since it was read last, in any case if always. After an
// error the authorities before stay in use, and are not tried again until the file changes.
func (u *upstreamTLS) refresh(always bool) (changed bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.upstream.CA == "" && u.current.Load() != nil {
		return false, nil
	}
	mark := markOf(u.upstream.CA)
	if mark == u.mark && !always {
		return false, nil
	}
	u.mark = mark // from before the reading: what changes meanwhile is seen the next time
	conf, err := UpstreamTLS(u.upstream, u.upstream.Address)
	if err != nil {
		return false, err
	}
	u.current.Store(conf)
	return true, nil
}

// upstream has the authorities of a listener's upstream looked after, instead of those that it had
// before, and returns how a connection to an address is secured: nil where none is.
func (cs *certificates) upstream(listener int,
	c *config.Upstream,
) (func(address string) *tls.Config, error) {
	var u *upstreamTLS
	if c != nil && c.TLS {
		u = &upstreamTLS{upstream: c}
		if _, err := u.refresh(true); err != nil {
			return nil, err
		}
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if u == nil {
		delete(cs.upstreams, listener)
		return nil, nil
	}
	cs.upstreams[listener] = u
	return u.config, nil
}
