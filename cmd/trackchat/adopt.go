package main

import (
	"context"
	"io"
	"strings"
	"time"

	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"
)

// runAdopt accepts what the configured store holds although services refuse it, and says what that
// is; then it checks everything as runCheck does.
func runAdopt(ctx context.Context, cfg *Config, err error, stdout io.Writer) int {
	if err != nil {
		return runCheck(ctx, cfg, err, stdout)
	}
	r := &findings{out: stdout}
	if cfg.Store.Backend == BackendEmbedded {
		was, err := sqlitestore.Adopt(cfg.Store.Path, time.Now())
		switch {
		case err != nil:
			r.wrong("store %s: not adopted: %v", cfg.Store.Path, err)
		case was != nil:
			r.ok("store %s: adopted, although %v", cfg.Store.Path, was)
		default:
			r.ok("store %s: nothing had to be adopted", cfg.Store.Path)
		}
	} else {
		name := "redis " + strings.Join(cfg.Store.Redis.Addrs, ", ")
		o, err := redisOptions(&cfg.Store)
		was := ""
		if err == nil {
			was, err = redisstore.Adopt(ctx, o)
		}
		switch {
		case err != nil:
			r.wrong("store %s: not adopted: %v", name, err)
		case was != "":
			r.ok("store %s: adopted, although %s", name, was)
		default:
			r.ok("store %s: adopted; services that run take it as it is", name)
		}
	}
	if r.wrongs > 0 {
		return r.code()
	}
	return runCheck(ctx, cfg, nil, stdout)
}
