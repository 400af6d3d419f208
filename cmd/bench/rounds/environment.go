package rounds

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"trackchat/cmd/bench/process"
	"trackchat/cmd/bench/report"
)

// environment keeps where, when and with which versions the runs are done.
func (o *Options) environment(ctx context.Context) error {
	e := report.Environment{
		Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), CPU: cpuModel(),
		Cores: runtime.NumCPU(), Pinned: o.Pin, Versions: modules(),
		Devices: o.Devices, Send: o.Send.String(), Rate: o.Rate, KillRate: o.KillRate,
		DeafRate: o.DeafRate, Rounds: o.Rounds,
		Kills: o.Kills, Memory: o.MemoryRounds,
	}
	e.FileSystem = said(ctx, "stat", "-f", "-c", "%T", o.Out)
	e.Kernel = said(ctx, "uname", "-sr")
	e.Commit = said(ctx, "git", "-C", o.Root, "log", "-1", "--format=%h %s")
	e.Changed = said(ctx, "git", "-C", o.Root, "status", "--porcelain") != ""
	e.Versions = append(e.Versions, said(ctx, o.Redis, "--version"),
		said(ctx, o.Mosquitto, "-h"), said(ctx, o.NATSServer, "--version"))
	for _, s := range o.Stacks {
		e.Stacks = append(e.Stacks, report.Stack{
			Name: s.Name, Peer: s.Peer, Synced: s.Synced, Meaning: s.Meaning, Settings: s.Settings,
		})
	}
	b, err := json.MarshalIndent(e, "", "\t")
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	if err := os.WriteFile(filepath.Join(o.Out, EnvironmentFile), b, 0o600); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	return nil
}

// said is the first line that a command writes, or why there is none.
func said(ctx context.Context, args ...string) string {
	line, err := process.Output(ctx, args...)
	if err != nil {
		return err.Error()
	}
	return line
}

// cpuModel is what Linux calls the processor.
func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // without it the model is not known
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// modules are the versions of Go and of the modules that matter here.
func modules() []string {
	versions := []string{runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versions
	}
	matter := []string{
		"github.com/cockroachdb/pebble", "github.com/hibiken/asynq",
		"github.com/mochi-mqtt/server/v2", "github.com/nats-io/nats.go",
		"github.com/redis/go-redis/v9",
	}
	for _, m := range info.Deps {
		if slices.Contains(matter, m.Path) {
			versions = append(versions, strings.TrimPrefix(m.Path, "github.com/")+" "+m.Version)
		}
	}
	return versions
}
