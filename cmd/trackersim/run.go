package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Exit codes.
const (
	exitOK = 0
	// no device could log in, the output could not be written, or nothing could be listened on.
	exitNobody  = 1
	exitMisused = 2
	// under load something was lost, delivered without an ack, duplicated or out of order.
	exitBroken = 3
)

const synopsis = `usage:
  trackersim --protocol NAME [flags]              play trackers
  trackersim directory --protocol NAME [flags]    write accounts and trackers for such a run
                                                  to standard output
  trackersim load --protocol NAME [flags]         put a service under load and tell what became
                                                  of every message
  trackersim upstream --protocol NAME [flags]     be the tracking server behind a gateway that
                                                  relays

flags:
`

// run is the whole command; it ends in order when ctx does.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return runFleet(ctx, args, stdout, stderr)
	}
	switch args[0] {
	case "directory":
		return runDirectory(args[1:], stdout, stderr)
	case "load":
		return runLoad(ctx, args[1:], stdout, stderr)
	case "upstream":
		return runUpstream(ctx, args[1:], stdout, stderr)
	}
	fs := flag.NewFlagSet("trackersim", flag.ContinueOnError)
	new(fleetFlags).register(fs)
	return misused(fs, fmt.Errorf("unknown command %q", args[0]), stderr)
}

// parse reads the flags; done says that the command is over, with the given exit code.
func parse(fs *flag.FlagSet, args []string, stdout, stderr io.Writer) (code int, done bool) {
	fs.SetOutput(io.Discard) // errors are shown once, by misused
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(fs, stdout)
		return exitOK, true
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err != nil {
		return misused(fs, err, stderr), true
	}
	return exitOK, false
}

func misused(fs *flag.FlagSet, err error, stderr io.Writer) int {
	fmt.Fprintf(stderr, "trackersim: %v\n", err)
	usage(fs, stderr)
	return exitMisused
}

func usage(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprint(w, synopsis)
	fs.VisitAll(func(f *flag.Flag) {
		value, help := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  %-32s %s", strings.TrimSpace("--"+f.Name+" "+value), help)
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "0s" {
			fmt.Fprintf(w, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}
