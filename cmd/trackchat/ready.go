package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	readyWithin = 2 * time.Second
	maxAnswer   = 64 << 10
)

// runReady asks the service that runs with this configuration whether it is ready: 0 if it says so
// within two seconds, else 1.
func runReady(ctx context.Context, cfg *Config, err error, stdout io.Writer) int {
	r := &findings{out: stdout}
	if err != nil {
		r.wrongAll("configuration", err)
		return r.code()
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	address := localAddress(cfg.Admin.Listen)
	problems, err := askReady(ctx, address)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		r.wrong("no service answers at %s: start it with trackchat serve, "+
			"or say where it is with --config FILE", address)
	case err != nil:
		r.wrong("no answer from %s: %v", address, err)
	case len(problems) > 0:
		for _, p := range problems {
			r.wrong("%s", p)
		}
	default:
		r.ok("ready")
		return 0
	}
	return 1
}

// askReady returns why the service is not ready, nothing if it is.
func askReady(ctx context.Context, address string) ([]string, error) {
	u := url.URL{Scheme: "http", Host: address, Path: "/readyz"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	// No proxy, whatever the environment says: the service is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			return nil, ue.Err // without the address, which the caller names
		}
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // read as far as it matters
	if res.StatusCode == http.StatusOK {
		return nil, nil
	}
	var answer struct {
		Problems []string `json:"problems"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer)
	if err != nil || len(answer.Problems) == 0 {
		return []string{fmt.Sprintf("%s answers %s", u.String(), res.Status)}, nil
	}
	for i, p := range answer.Problems {
		answer.Problems[i] = "not ready: " + strings.TrimSpace(p)
	}
	return answer.Problems, nil
}

// localAddress is where a program on this machine reaches a listening address.
func localAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
