// Command bench measures trackchat beside what others would be put together of: the same generator,
// devices and checks for all. run.sh builds and calls it; README.md says what is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `usage: bench COMMAND [flags]

  run     start stacks, measure them in rounds, write the tables
  table   write the tables of runs again
  load    the generator with its devices, for one stack that runs
  front   the glue of one peer
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command runs one of the commands and returns the exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	commands := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"run": run, "table": table, "load": generate, "front": serve,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	switch err := commands[args[0]](ctx, args[1:], stdout, stderr); {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		return exitUsage
	default:
		fmt.Fprintf(stderr, "bench %s: %v\n", args[0], err)
		return exitFailed
	}
}
