package queuetest

import (
	"os/exec"
	"syscall"
)

// DieWithParent has a child process killed when this one ends, also where no clean-up runs any
// more.
func DieWithParent(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
