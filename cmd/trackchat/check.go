package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue"
	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"
)

// check is the command of that name; it returns the exit code: 0, 1 if anything is wrong, 2 for a
// wrong command line.
func check(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("trackchat check", flag.ContinueOnError)
	fs.SetOutput(stderr)
	file := fs.String("config", "", "configuration `FILE`; none: the defaults")
	ready := fs.Bool("ready", false, "only ask the running service whether it is ready")
	adopt := fs.Bool("adopt", false,
		"accept what the store holds now as the store, although data was lost or exchanged")
	if err := fs.Parse(args); err != nil {
		return flagExit(err)
	}
	if fs.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "trackchat check: unexpected argument %q\n", fs.Arg(0))
		return 2
	}
	cfg, err := config.Load(*file, os.Environ())
	switch {
	case *ready && *adopt:
		_, _ = fmt.Fprintln(stderr, "trackchat check: --ready and --adopt exclude each other")
		return 2
	case *ready:
		return runReady(ctx, cfg, err, stdout)
	case *adopt:
		return runAdopt(ctx, cfg, err, stdout)
	}
	return runCheck(ctx, cfg, err, stdout)
}

// runCheck says on stdout everything that is wrong with a configuration, or with why there is none,
// its directory file, its store, its ports and its upstreams.
func runCheck(ctx context.Context, cfg *config.Config, err error, stdout io.Writer) int {
	r := &findings{out: stdout}
	if err != nil {
		r.wrongAll("configuration", err)
		return r.code()
	}
	r.ok("configuration")
	var trackers []queue.Tracker
	if cfg.Directory.File != "" {
		trackers = r.checkDirectory(cfg.Directory.File)
	}
	var running bool
	if cfg.Store.Backend == config.BackendEmbedded {
		running = r.checkStore(ctx, cfg.Store.Path)
	} else {
		r.checkRedis(ctx, &cfg.Store)
		running = isAlive(ctx, localAddress(cfg.Admin.Listen))
	}
	r.checkPorts(ctx, cfg, running)
	r.checkUpstreams(ctx, cfg, trackers)
	return r.code()
}

// findings writes what was found, a line each.
type findings struct {
	out    io.Writer
	wrongs int
}

func (r *findings) line(kind, format string, args ...any) {
	// nobody reads it, and the exit code says the same.
	_, _ = fmt.Fprintf(r.out, "%-8s"+format+"\n", append([]any{kind}, args...)...)
}

func (r *findings) ok(format string, args ...any) { r.line("ok", format, args...) }

func (r *findings) warn(format string, args ...any) { r.line("warning", format, args...) }

func (r *findings) wrong(format string, args ...any) {
	r.wrongs++
	r.line("wrong", format, args...)
}

// wrongAll says each problem of an error by itself.
func (r *findings) wrongAll(what string, err error) {
	var ce *config.Error
	if !errors.As(err, &ce) {
		r.wrong("%s: %v", what, err)
		return
	}
	for _, p := range ce.Problems {
		r.wrong("%s: %s", what, p)
	}
}

func (r *findings) code() int {
	if r.wrongs > 0 {
		r.line("", "%d wrong", r.wrongs)
		return 1
	}
	return 0
}

// checkDirectory returns the trackers of the file if nothing is wrong with it.
func (r *findings) checkDirectory(file string) []queue.Tracker {
	f, err := config.LoadDirectory(file)
	if err != nil {
		r.wrongAll("directory "+file, err)
		return nil
	}
	r.ok("directory %s: %d accounts, %d trackers", file, len(f.Accounts), len(f.Trackers))
	return f.Trackers
}

// checkStore looks at the embedded store and reports whether a service has it open.
func (r *findings) checkStore(ctx context.Context, dir string) (running bool) {
	before := r.wrongs
	running, err := sqlitestore.InUse(dir)
	if err != nil {
		r.wrong("store %s: %v", dir, err)
		return false
	}
	if err := canCreate(dir); err != nil {
		r.wrong("store %s: %v", dir, err)
		return running
	}
	report, err := sqlitestore.Inspect(ctx, dir, time.Now)
	if err != nil {
		r.wrong("store %s: %v", dir, err)
	}
	for _, p := range report.Problems {
		r.wrong("store %s: %s", dir, p)
	}
	for _, w := range report.Warnings {
		r.warn("store %s: %s", dir, w)
	}
	switch {
	case r.wrongs > before:
	case running:
		r.ok("store %s: sound, and in use by a running service", dir)
	default:
		r.ok("store %s", dir)
	}
	return running
}

// canCreate tries whether files can be created in dir or, where it does not exist yet, in the
// directory that it would be created in.
func canCreate(dir string) error {
	at, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory: %w", err)
	}
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a directory", at)
		}
		if err == nil {
			break
		}
		up := filepath.Dir(at)
		if !errors.Is(err, os.ErrNotExist) || up == at {
			return err
		}
		at = up
	}
	probe, err := os.MkdirTemp(at, ".trackchat-check-")
	if err != nil {
		return fmt.Errorf("nothing can be created in %s: %w", at, errors.Unwrap(err))
	}
	return os.Remove(probe)
}

// checkPorts tries to listen on every address; what a running service holds is expected to be in
// use.
func (r *findings) checkPorts(ctx context.Context, cfg *config.Config, running bool) {
	var lc net.ListenConfig
	for _, p := range config.Ports(cfg) {
		ln, err := lc.Listen(ctx, "tcp", p.Address)
		switch {
		case err == nil && running:
			err = ln.Close()
			r.warn("%s: %s (%s) is free, although a service runs: it was started with another configuration, or is just starting", p.Path, p.Address, p.What)
		case err == nil:
			err = ln.Close()
			r.ok("%s: %s (%s) is free", p.Path, p.Address, p.What)
		case errors.Is(err, syscall.EADDRINUSE) && running:
			err = nil
			r.ok("%s: %s (%s) is in use, as expected while a service runs on this store", p.Path,
				p.Address, p.What)
		case errors.Is(err, syscall.EADDRINUSE):
			err = nil
			r.wrong("%s: %s (%s) is in use by another program", p.Path, p.Address, p.What)
		case errors.Is(err, syscall.EACCES):
			err = nil
			r.wrong("%s: %s (%s) is not permitted to this user; ports below 1024 need CAP_NET_BIND_SERVICE", p.Path, p.Address, p.What)
		}
		if err != nil {
			r.wrong("%s: %s (%s): %s", p.Path, p.Address, p.What, strings.TrimPrefix(err.Error(),
				"listen "))
		}
	}
}

// checkRedis looks at Redis as a service would at its start, and writes nothing there.
func (r *findings) checkRedis(ctx context.Context, c *config.Store) {
	name := "redis " + strings.Join(c.Redis.Addrs, ", ")
	o, err := app.RedisOptions(c)
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
	var answer struct {
		Alive bool `json:"alive"`
	}
	status, err := ask(ctx, address, "/healthz", &answer)
	return err == nil && status == http.StatusOK && answer.Alive
}

// runAdopt accepts what the configured store holds although services refuse it, and says what that
// is; then it checks everything as runCheck does.
func runAdopt(ctx context.Context, cfg *config.Config, err error, stdout io.Writer) int {
	if err != nil {
		return runCheck(ctx, cfg, err, stdout)
	}
	r := &findings{out: stdout}
	if cfg.Store.Backend == config.BackendEmbedded {
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
		o, err := app.RedisOptions(&cfg.Store)
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

const (
	readyWithin = 2 * time.Second
	maxAnswer   = 64 << 10
)

// runReady asks the service that runs with this configuration whether it is ready: 0 if it says so
// within two seconds, else 1.
func runReady(ctx context.Context, cfg *config.Config, err error, stdout io.Writer) int {
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
	var answer struct {
		Problems []string `json:"problems"`
	}
	status, err := ask(ctx, address, "/readyz", &answer)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusOK:
		return nil, nil
	case len(answer.Problems) == 0:
		return []string{fmt.Sprintf("http://%s/readyz answers %d %s", address, status,
			http.StatusText(status))}, nil
	}
	for i, p := range answer.Problems {
		answer.Problems[i] = "not ready: " + strings.TrimSpace(p)
	}
	return answer.Problems, nil
}

// ask asks the service at its admin address, and leaves the answer empty where it is none in JSON.
func ask(ctx context.Context, address, path string, answer any) (status int, err error) {
	u := url.URL{Scheme: "http", Host: address, Path: path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return 0, err
	}
	// No proxy, whatever the environment says: the service is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			return 0, ue.Err // without the address, which the caller names
		}
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_ = json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(answer)
	return res.StatusCode, nil
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
