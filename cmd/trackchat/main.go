// Command trackchat delivers chat messages to GPS trackers: an HTTP API in front, long TCP sessions
// with the devices behind, and a durable queue between them.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	_ "time/tzdata" // accounts have time zones, containers often have none
)

const usage = `usage:
  trackchat serve [--config FILE] [--demo]    run the service
  trackchat check [--config FILE] [--ready]   say everything that is wrong with a configuration, its
                                              store and its ports; --ready asks a running service
  trackchat check --adopt [--config FILE]     accept what the store holds now, although services
                                              refuse it because data was lost or exchanged
  trackchat backup FILE [--config FILE]       copy the embedded store, also while the service runs
  trackchat migrate --from STORE --to CONFIG  take the embedded store of a stopped service (its
                                              directory, or a backup) over to Redis
` + adminUsage + `  trackchat version
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it; it returns the exit code: 0, 1 for a failure, 2 for a
// wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	switch command, rest := args[0], args[1:]; command {
	case "serve":
		return serve(ctx, rest, stdout, stderr)
	case "check":
		return check(ctx, rest, stdout, stderr)
	case "backup":
		return backup(ctx, rest, stdout, stderr)
	case "migrate":
		return migrate(ctx, rest, stdout, stderr)
	case "tracker", "account", "user", "key":
		return administer(ctx, command, rest, stdout, stderr)
	case "version", "--version", "-v":
		_, _ = io.WriteString(stdout, version())
		return 0
	case "help", "--help", "-h":
		_, _ = io.WriteString(stdout, usage)
		return 0
	default:
		_, _ = fmt.Fprintf(stderr, "trackchat: unknown command %q\n%s", command, usage)
		return 2
	}
}

// version says on one line what is running: the module's version, the revision it was built from as
// far as the build knew it, and the Go version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return describeBuild(info) + "\n"
}

func describeBuild(info *debug.BuildInfo) string {
	values := make(map[string]string, len(info.Settings))
	for _, s := range info.Settings {
		values[s.Key] = s.Value
	}
	var source []string
	if revision := values["vcs.revision"]; revision != "" {
		source = append(source, "revision "+revision)
	}
	if at := values["vcs.time"]; at != "" {
		source = append(source, at)
	}
	if values["vcs.modified"] == "true" {
		source = append(source, "modified")
	}
	line := "trackchat " + cmp.Or(info.Main.Version, "(unknown version)")
	if len(source) > 0 {
		line += " (" + strings.Join(source, ", ") + ")"
	}
	return fmt.Sprintf("%s %s %s/%s", line, cmp.Or(info.GoVersion, runtime.Version()), runtime.GOOS,
		runtime.GOARCH)
}
