package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// grace is how long a process may take to end when asked to.
const grace = 5 * time.Second

// Spec says how to start a process.
type Spec struct {
	Name string // for messages
	Args []string
	Env  []string // "KEY=value", besides the environment
	Core int      // that it is pinned to with taskset; negative: to none
	// Stdout takes its output; nil: it goes to the log.
	Stdout io.Writer
}

// Process is one that has been started.
type Process struct {
	Name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // valid then
}

// Start starts a process, whose output goes to log. It is killed when this process dies.
func Start(ctx context.Context, s Spec, log io.Writer) (*Process, error) {
	args := s.Args
	if s.Core >= 0 {
		args = append([]string{"taskset", "-c", strconv.Itoa(s.Core)}, args...)
	}
	ctx = context.WithoutCancel(ctx)                      // the caller ends it, in its own way
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // ours
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.Stdout != nil {
		cmd.Stdout = s.Stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &Process{Name: s.Name, cmd: cmd, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how it has ended, once Done is closed.
func (p *Process) Err() error { return p.err }

// Signal9 ends it and its children without a warning. It does not wait for that.
func (p *Process) Signal9() {
	select {
	case <-p.done: // its number may be somebody else's by now
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	}
}

// Stop asks it to end, kills it if it does not, and waits for that.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Signal9()
		<-p.done
	}
}

// Output runs a command and returns the first line that it writes, for versions.
func Output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // ours
	out, err := cmd.CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil && line == "" {
		return "", fmt.Errorf("%s: %w", args[0], err)
	}
	return strings.TrimSpace(line), nil
}
