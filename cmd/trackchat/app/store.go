package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"trackchat/cmd/trackchat/config"
	"trackchat/queue"
	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"

	"go.uber.org/zap"
)

func (a *App) openStore(ctx context.Context) error {
	var err error
	if a.cfg.Store.Backend == config.BackendRedis {
		a.store, err = a.openRedis(ctx)
	} else {
		a.store, err = a.openEmbedded(ctx)
	}
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	a.onStop(func(context.Context) error { return a.store.Close() })
	// What must not be opened was refused. The rest, such as a disk that is nearly full, keeps
	// nobody from reading: the service starts and is not ready.
	if err := a.fitStore(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.log.Error("store check failed", zap.Error(err))
		a.ready.Store(&err)
	}
	return nil
}

func (a *App) openEmbedded(ctx context.Context) (queue.Store, error) {
	durability := sqlitestore.Always
	if a.cfg.Store.Durability == config.DurabilityEverysec {
		durability = sqlitestore.EverySecond
	}
	return sqlitestore.Open(ctx, sqlitestore.Options{
		Path: a.cfg.Store.Path, Now: time.Now, Durability: durability,
		MaxPending: a.cfg.Store.MaxPending, LeastFree: a.leastFree,
		CacheBytes: storeCache(a.cfg.Store.Cache, a.memory.total()),
		Logger:     a.log, Registerer: a.registry, OnFailure: a.storeFailed,
		Directory: &a.directory,
	})
}

// storeCache is how much memory the embedded store's cache may take: as configured, or by how much
// there is, 0 where that is not known. It lies outside what GOMEMLIMIT counts. More makes nothing
// faster: the system has the file in memory too.
func storeCache(configured config.Size, memory int64) int64 {
	const least, most, part = 4 << 20, 16 << 20, 16
	switch {
	case configured > 0:
		return int64(configured)
	case memory == 0:
		return most
	}
	return min(max(memory/part, least), most)
}

func (a *App) openRedis(ctx context.Context) (queue.Store, error) {
	o, err := RedisOptions(&a.cfg.Store)
	if err != nil {
		return nil, err
	}
	o.Logger, o.Registerer, o.OnFailure = a.log, a.registry, a.storeFailed
	o.Directory = &a.directory
	return redisstore.Open(ctx, o)
}

// RedisOptions is what the configuration says about Redis; an error is about files for TLS.
func RedisOptions(c *config.Store) (redisstore.Options, error) {
	o := redisstore.Options{
		Addrs: c.Redis.Addrs, Username: c.Redis.Username, Password: c.Redis.Password,
		Master:     c.Redis.Master,
		Durability: redisstore.Always, AllowVolatile: c.AllowVolatile,
		TrustDurability: c.TrustDurability, MaxPending: c.MaxPending, Now: time.Now,
	}
	if c.Durability == config.DurabilityEverysec {
		o.Durability = redisstore.EverySecond
	}
	var err error
	if c.Redis.TLS {
		o.TLS, err = redisTLS(&c.Redis)
	}
	return o, err
}

// redisTLS is how connections to Redis, its Sentinels and its Cluster are secured. The pair for
// client certificates is read for each connection, so that one that was renewed is shown.
func redisTLS(c *config.Redis) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tlsVersion}
	if c.CA != "" {
		var err error
		if conf.RootCAs, err = readAuthorities(c.CA); err != nil {
			return nil, fmt.Errorf("store.redis.ca: %w", err)
		}
	}
	if c.Cert == "" {
		return conf, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("store.redis.cert and key: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	conf.GetClientCertificate = load
	return conf, nil
}

// fitStore asks the store how it is.
func (a *App) fitStore(ctx context.Context) error {
	report, err := a.store.Check(ctx)
	if err != nil {
		return fmt.Errorf("checking the store: %w", err)
	}
	a.health.count(&report)
	for _, w := range report.Warnings {
		if a.health.news(w, time.Now()) {
			a.log.Warn("store", zap.String("warning", w))
		}
	}
	if len(report.Problems) > 0 {
		return fmt.Errorf("the store is not fit for use: %q", report.Problems)
	}
	return nil
}
