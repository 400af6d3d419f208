package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"trackchat/queue/redisstore"
)

// checkRedis looks at Redis as a service would at its start, and writes nothing there.
func (r *findings) checkRedis(ctx context.Context, c *Store) {
	name := "redis " + strings.Join(c.Redis.Addrs, ", ")
	o, err := redisOptions(c)
	if err != nil {
		r.wrong("store %s: %v", name, err)
		return
	}
	report, err := redisstore.Inspect(ctx, o)
	if err != nil {
		r.wrong("store %s: %v", name, err)
	}
	for _, p := range report.Problems {
		r.wrong("store redis %s", p)
	}
	for _, w := range report.Warnings {
		r.warn("store redis %s", w)
	}
	if err == nil && len(report.Problems) == 0 {
		r.ok("store %s", name)
	}
}

// isAlive reports whether a trackchat answers at the admin address, so that ports in use are no
// surprise.
func isAlive(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	u := url.URL{Scheme: "http", Host: address, Path: "/healthz"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return false
	}
	// no proxy: it is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Alive bool `json:"alive"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer)
	return err == nil && res.StatusCode == http.StatusOK && answer.Alive
}
