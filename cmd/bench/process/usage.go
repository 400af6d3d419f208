// Package process starts the processes of a stack, ends them, and asks the kernel (Linux) what they
// have used.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for what it tells programs.
const ticksPerSecond = 100

// Usage is what processes have used together.
type Usage struct {
	CPU time.Duration // user and system
	RSS int64         // resident memory in bytes
}

// UsageOf adds up what processes have used; an error where one of them is gone.
func UsageOf(pids []int) (u Usage, err error) {
	for _, pid := range pids {
		one, err := usageOf(pid)
		if err != nil {
			return u, fmt.Errorf("process %d: %w", pid, err)
		}
		u.CPU += one.CPU
		u.RSS += one.RSS
	}
	return u, nil
}

func usageOf(pid int) (u Usage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name may hold anything
	// user and system time, its own and that of children which have ended
	const first, last = 11, 14
	if len(fields) <= last {
		return u, errors.New("stat is cut off")
	}
	for _, f := range fields[first : last+1] {
		ticks, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return u, err
	}
	for line := range bytes.Lines(status) {
		if words := bytes.Fields(line); len(words) > 1 && string(words[0]) == "VmRSS:" {
			kb, err := strconv.ParseInt(string(words[1]), 10, 64)
			if err != nil {
				return u, err
			}
			u.RSS = kb << 10
		}
	}
	return u, nil
}

// Own is the CPU time of this process.
func Own() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// RaiseDescriptors lets this process and those that it starts open as many files as the system
// admits.
func RaiseDescriptors() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	return nil
}
