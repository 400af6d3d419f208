package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"trackchat/cmd/trackchat/config"
	"trackchat/queue/sqlitestore"
)

// backup is the command of that name: it copies the embedded store into a file, also while a
// service runs on it. It returns the exit code.
func backup(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("trackchat backup", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "configuration `FILE`; none: the defaults")
	names, code := parseMixed(flags, args)
	if code >= 0 {
		return code
	}
	if len(names) != 1 {
		_, _ = fmt.Fprintf(stderr,
			"trackchat backup: one file to write is expected, %d are given\n", len(names))
		return 2
	}
	cfg, err := config.Load(*file, os.Environ())
	if err == nil {
		err = runBackup(ctx, cfg, names[0], stdout)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "trackchat backup: %v\n", err)
		return 1
	}
	return 0
}

// parseMixed parses flags that may stand before and after other arguments, and returns those. The
// code is -1 if there is something to do, else what to exit with.
func parseMixed(flags *flag.FlagSet, args []string) (rest []string, code int) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, flagExit(err)
		}
		if flags.NArg() == 0 {
			return rest, -1
		}
		rest = append(rest, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

func runBackup(ctx context.Context, cfg *config.Config, file string, stdout io.Writer) error {
	if cfg.Store.Backend != config.BackendEmbedded {
		return errors.New("only the embedded store is copied this way; of Redis copy its append-only directory or a snapshot (BGSAVE)")
	}
	if err := sqlitestore.Backup(ctx, cfg.Store.Path, file); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w; a backup overwrites nothing", err)
		}
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("looking at the backup: %w", err)
	}
	_, _ = fmt.Fprintf(stdout,
		"%s: %d bytes, checked and synced; to restore it, stop the service and put it into an empty store.path as chat.db\n", file, info.Size())
	return nil
}
